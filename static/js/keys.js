// Shortcuts click or focus what is already on the page: `data-key="g j"` on a link, button or field.
(() => {
  "use strict";
  const dialog = document.getElementById("keys-dialog");
  const opener = document.getElementById("keys-open");
  const list = document.getElementById("keys-list");
  let prefix = "";
  let timer = 0;

  const shown = (element) => element.getClientRects().length > 0;
  const bound = () => [...document.querySelectorAll("[data-key]")].filter(shown);
  const describe = (element) => (element.dataset.keyName || element.textContent || element.ariaLabel || "").trim();
  const row = (key, text) => {
    const term = document.createElement("dt");
    key.split(" ").forEach((part) => {
      const cap = document.createElement("kbd");
      cap.textContent = part;
      term.append(cap, " ");
    });
    const meaning = document.createElement("dd");
    meaning.textContent = text;
    list.append(term, meaning);
  };
  const help = () => {
    const fixed = 4;
    while (list.children.length > fixed) list.lastChild.remove();
    bound().forEach((element) => row(element.dataset.key, describe(element)));
    dialog.showModal();
  };

  const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]");
  const press = (element, event) => {
    event.preventDefault();
    if (element.matches("input, textarea, select")) element.focus();
    else element.click();
  };
  document.addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    const sender = sends && event.target.closest?.("form")?.querySelector("[data-ctrl-enter]");
    if (sender) return press(sender, event);
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || dialog?.open) return undefined;
    if (event.key === "?") return help();
    const pressed = (prefix ? `${prefix} ` : "") + event.key;
    const found = bound().find((element) => element.dataset.key === pressed);
    clearTimeout(timer);
    prefix = bound().some((element) => element.dataset.key.startsWith(`${pressed} `)) ? pressed : "";
    timer = setTimeout(() => (prefix = ""), 1500);
    return found ? press(found, event) : undefined;
  });
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", help);
  }
})();
