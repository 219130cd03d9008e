// Small manners of every page: menus close, refusals get the focus, text can be copied.
(() => {
  "use strict";
  const menus = () => document.querySelectorAll("details.menu[open], details.ask[open]");
  document.addEventListener("click", (event) => {
    menus().forEach((menu) => menu.contains(event.target) || menu.removeAttribute("open"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus().forEach((menu) => {
      menu.removeAttribute("open");
      if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    });
  });

  // A refused form is read from its list of errors on.
  document.getElementById("errors")?.focus();

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    document.getElementById("status").textContent = "Copied.";
  });

  // A form is sent once; a page that comes back from the history is usable again.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.defaultPrevented) return;
    const button = event.submitter;
    if (button) setTimeout(() => (button.disabled = true));
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button[disabled]").forEach((button) => (button.disabled = false));
  });
})();
