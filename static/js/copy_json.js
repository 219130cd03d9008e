// "Copy as JSON" copies what its link leads to; without scripts it is that link.
(() => {
  "use strict";
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-copy-from]");
    if (!link || event.ctrlKey || event.metaKey || !navigator.clipboard) return;
    event.preventDefault();
    const status = document.getElementById("status");
    try {
      const answer = await fetch(link.href, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      await navigator.clipboard.writeText(await answer.text());
      status.textContent = "Copied.";
    } catch {
      location.assign(link.href);
    }
  });
})();
