// Peek: the row in use is the one that `o` opens, and what is open closes by the same link.
(() => {
  "use strict";
  document.addEventListener("focusin", (event) => {
    const own = event.target.closest?.("table.trajectories tr")?.querySelector("a.peek");
    const now = document.querySelector("a.peek[data-key]");
    if (!own || !now || own === now) return;
    ["data-key", "aria-keyshortcuts", "data-key-name"].forEach((name) => {
      own.setAttribute(name, now.getAttribute(name));
      now.removeAttribute(name);
    });
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.peek");
    const below = link?.closest("tr").nextElementSibling;
    if (!below?.classList.contains("peek-row")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    below.remove();
  }, true);
})();
