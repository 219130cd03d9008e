// Leaving asks first while a form marked data-unsaved holds what is not saved; sending it does not.
(() => {
  "use strict";
  const form = document.querySelector("form[data-unsaved]");
  if (!form) return;
  const typed = () => new URLSearchParams(new FormData(form)).toString();
  const before = typed();
  let sent = false;
  form.addEventListener("submit", () => (sent = true));
  addEventListener("pageshow", () => (sent = false));
  addEventListener("beforeunload", (event) => {
    if (!sent && (form.dataset.unsaved === "yes" || typed() !== before)) event.preventDefault();
  });
})();
