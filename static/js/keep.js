// A panel that fetches itself keeps what is open and scrolled, and waits while it is pointed at.
(() => {
  "use strict";
  const panel = () => document.querySelector("[data-keeps]");
  const named = (details) => `${details.closest("[id]")?.id} ${details.querySelector("summary")?.textContent}`;
  const boxes = () => [...(panel()?.querySelectorAll(".table-wrap[aria-label]") ?? [])];
  const held = () => {
    const chosen = document.getSelection();
    const selects = chosen && !chosen.isCollapsed && panel()?.contains(chosen.anchorNode);
    return selects || panel()?.querySelector("figure.chart:hover, .plot-box:focus");
  };
  let kept = null;
  let later = 0;

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt !== panel() || !held()) return;
    event.preventDefault();
    clearTimeout(later);
    // After the throttle of 3 s, within which an event would be dropped.
    later = setTimeout(() => window.htmx.trigger(document.body, "job-step"), 3500);
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== panel()) return;
    kept = {
      open: new Map([...panel().querySelectorAll("details")].map((each) => [named(each), each.open])),
      scrolled: new Map(boxes().map((box) => [box.getAttribute("aria-label"), [box.scrollLeft, box.scrollTop]])),
    };
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (!kept) return;
    panel()?.querySelectorAll("details").forEach((each) => (each.open = kept.open.get(named(each)) ?? each.open));
    window.HoneCharts?.begin();
    boxes().forEach((box) => {
      const [left, top] = kept.scrolled.get(box.getAttribute("aria-label")) ?? [0, 0];
      box.scrollTo({ left, top, behavior: "instant" });
    });
    kept = null;
  });
})();
