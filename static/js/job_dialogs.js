// The question before pausing, resuming and cancelling is a dialog where there is one, and else a page.
(() => {
  "use strict";
  const dialogOf = (opener) => document.getElementById(opener.dataset.opens);
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    const closer = event.target.closest("[data-closes]");
    if (opener && dialogOf(opener)?.showModal) dialogOf(opener).showModal();
    else if (closer?.closest("dialog")) closer.closest("dialog").close();
    else return;
    event.preventDefault();
  });
})();
