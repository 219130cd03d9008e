// Polling manners: a hidden tab asks for nothing, and after three failures the page says so.
(() => {
  "use strict";
  const STOP = new URLSearchParams(location.search).get("live") === "0";
  let failures = 0;
  const polls = (element) => (element.getAttribute("hx-trigger") || "").includes("every");
  const clock = () => new Date().toLocaleTimeString("en-GB");
  const say = (text) => {
    const status = document.getElementById("status");
    const line = document.getElementById("live-note") ?? Object.assign(document.createElement("p"), { id: "live-note", className: "note note-warn" });
    line.textContent = text;
    if (text) status?.append(line);
    else line.remove();
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (polls(event.detail.elt) && (STOP || document.hidden)) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!polls(event.detail.elt)) return;
    const answered = event.detail.successful;
    failures = answered ? 0 : failures + 1;
    if (answered) say("");
    else if (failures === 3) say(`No answer since ${clock()}. Trying again.`);
  });

  // An action of htmx that fails keeps the old content and says what happened above it.
  const failed = (event) => {
    if (polls(event.detail.elt)) return;
    const code = event.detail.xhr?.status;
    say(code ? `The server refused this (${code}). Nothing was changed; reload the page and try again.` : "No answer from the server. Nothing was changed; try again.");
  };
  document.addEventListener("htmx:responseError", failed);
  document.addEventListener("htmx:sendError", failed);

  const busy = (on) => (event) => event.detail.target?.setAttribute("aria-busy", String(on));
  document.addEventListener("htmx:beforeSend", (event) => polls(event.detail.elt) || busy(true)(event));
  document.addEventListener("htmx:afterOnLoad", busy(false));
  document.addEventListener("htmx:sendError", busy(false));
})();
