// The question before cancelling is a dialog where there is one, and else a page of its own.
(() => {
  "use strict";
  const dialog = document.getElementById("cancel-dialog");
  if (!dialog?.showModal) return;
  document.addEventListener("click", (event) => {
    if (event.target.closest("#cancel-open")) dialog.showModal();
    else if (event.target.closest("#cancel-close")) dialog.close();
    else return;
    event.preventDefault();
  });
})();
