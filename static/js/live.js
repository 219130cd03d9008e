// Manners of what moves: a hidden tab asks for nothing, silence and refusals are said, work shows.
(() => {
  "use strict";
  const stopped = new URLSearchParams(location.search).get("live") === "0";
  const clock = () => new Date().toLocaleTimeString("en-GB");
  const polls = (element) => (element.getAttribute("hx-trigger") || "").includes("every");
  let failures = 0;
  let answered = clock();

  const say = (text, again) => {
    document.getElementById("live-note")?.remove();
    if (!text) return;
    const line = Object.assign(document.createElement("p"), { id: "live-note", className: "note note-warn" });
    line.append(text);
    if (again) line.append(" ", Object.assign(document.createElement("button"), { className: "btn btn-plain", type: "button", textContent: "Try again", onclick: again }));
    document.getElementById("status")?.append(line);
  };

  // Pages that ask at the same pace fall into step, since the server answers those of a crowd one
  // after the other; each page has a pace of its own, so that they do not all come at once.
  const pace = 0.85 + 0.3 * Math.random();
  document.addEventListener("htmx:beforeProcessNode", ({ target }) => {
    if (!polls(target)) return;
    const own = (_, number, unit) => `every ${Math.round(number * (unit === "s" ? 1000 : 1) * pace)}ms`;
    target.setAttribute("hx-trigger", target.getAttribute("hx-trigger").replace(/every ([\d.]+)(m?s)/, own));
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (polls(event.detail.elt) && (stopped || document.hidden)) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!polls(event.detail.elt)) return;
    if (event.detail.successful) {
      if (failures >= 3) say("");
      [failures, answered] = [0, clock()];
    } else if (++failures >= 3) say(`No answer since ${answered}. Trying again.`);
  });

  // What fails leaves the old content, and says above it what happened and how to go on.
  const failed = (event) => {
    const { elt, target, xhr, requestConfig } = event.detail;
    if (polls(elt)) return;
    const id = xhr?.getResponseHeader("X-Request-Id");
    const why = xhr?.status ? `The server refused this (${xhr.status}${id ? `, request ${id}` : ""}).` : "No answer from the server.";
    const kept = requestConfig?.verb === "get" ? "What stands here is as of before." : "Nothing was changed.";
    say(`${why} ${kept}`, () => (say(""), window.htmx.ajax(requestConfig.verb, requestConfig.path, { source: elt, target })));
  };
  document.addEventListener("htmx:responseError", failed);
  document.addEventListener("htmx:sendError", failed);

  // A panel that is fetched for more than 300 ms carries a bar; the poller never does.
  const timers = new WeakMap();
  const done = (event) => {
    clearTimeout(timers.get(event.detail.target));
    event.detail.target?.removeAttribute("aria-busy");
  };
  document.addEventListener("htmx:beforeSend", ({ detail: { elt, target } }) => {
    if (!polls(elt)) timers.set(target, setTimeout(() => target.setAttribute("aria-busy", "true"), 300));
  });
  ["htmx:beforeSwap", "htmx:sendError", "htmx:sendAbort", "htmx:timeout", "htmx:responseError"].forEach((name) => document.addEventListener(name, done));

  const toggle = document.getElementById("live-switch");
  const show = () => toggle && (toggle.hidden = !document.querySelector("[hx-trigger*='every']"));
  if (toggle && stopped) [toggle.textContent, toggle.href] = ["Paused · go live", location.pathname + location.search.replace(/[?&]live=0/, "").replace(/^&/, "?")];
  else if (toggle) toggle.href = `${location.pathname}${location.search}${location.search ? "&" : "?"}live=0`;
  document.addEventListener("htmx:afterSettle", show);
  show();
})();
