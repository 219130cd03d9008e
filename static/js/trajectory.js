// A trajectory's page: the turn that the address names is open, and keys go from turn to turn.
(() => {
  "use strict";
  const turns = () => [...document.querySelectorAll("li.turn[id]")];
  const here = () => turns().find((turn) => `#${turn.id}` === location.hash);
  const point = (id, turn) => {
    const link = document.getElementById(id);
    if (link && turn) link.setAttribute("href", `#${turn.id}`);
  };
  const settle = () => {
    const all = turns();
    const at = all.indexOf(here());
    here()?.querySelector("details.turn-open")?.setAttribute("open", "");
    point("turn-next", all[Math.min(at + 1, all.length - 1)]);
    point("turn-before", all[Math.max(at - 1, 0)]);
  };
  window.addEventListener("hashchange", settle);
  settle();
  here()?.scrollIntoView();

  const opener = document.getElementById("open-all");
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", () => {
      const inline = [...document.querySelectorAll("details.turn-open:not([hx-get])")];
      const open = inline.some((each) => !each.open);
      inline.forEach((each) => (each.open = open));
      opener.textContent = open ? "Close all" : "Open all";
    });
  }
  const copy = document.querySelector("[data-copy-here]");
  if (copy) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(location.href);
      document.getElementById("status").textContent = "Copied.";
    });
  }
})();
