// What is folded away is fetched when it is opened, not with every step.
(() => {
  "use strict";
  const SLOW = "[hx-trigger*='opened']";
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt } = event.detail;
    if (elt.matches(SLOW) && elt.closest("details:not([open])")) event.preventDefault();
  });
  document.addEventListener("toggle", ({ target }) => {
    if (target.open) target.querySelectorAll(SLOW).forEach((panel) => window.htmx.trigger(panel, "opened"));
  }, true);
})();
