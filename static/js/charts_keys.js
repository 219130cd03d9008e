// The focus step of a page's charts: arrow keys, the address, and zoom as an address of its own.
(() => {
  "use strict";
  if (!window.HoneCharts) return;
  const { shown } = window.HoneCharts;
  const address = () => new URL(location.href);
  const held = (element) => shown.get(element?.closest("figure.chart")) ?? shown.values().next().value;
  const nearest = (steps, wanted) => {
    let best = 0;
    steps.forEach((step, at) => { if (Math.abs(step - wanted) < Math.abs(steps[best] - wanted)) best = at; });
    return best;
  };
  // Synced charts follow; the address keeps the step, so that a reload or a bookmark shows it again.
  const focus = (chart, at) => {
    const steps = chart.plot.data[0];
    const step = steps[Math.min(Math.max(at, 0), steps.length - 1)];
    chart.plot.setCursor({ left: chart.plot.valToPos(step, "x"), top: 10 }, true, true);
    const to = address();
    to.searchParams.set("step", step);
    history.replaceState(history.state, "", to);
    document.dispatchEvent(new CustomEvent("chart-step", { detail: step }));
  };

  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const box = event.target.closest?.(".plot-box");
    if (!box && event.target !== document.body && event.target.id !== "main") return;
    const chart = held(box);
    if (!chart) return;
    const last = chart.plot.data[0].length - 1;
    if (event.key === "Enter" && box) {
      const link = chart.figure.querySelector("[data-step][href]");
      if (link) location.assign(link.href);
    } else if (event.key in moves && (box || event.key.startsWith("Arrow"))) {
      event.preventDefault();
      const from = chart.step == null ? last + 1 : nearest(chart.plot.data[0], chart.step);
      focus(chart, from + moves[event.key] * (event.shiftKey ? 10 : 1));
    }
  });
  document.addEventListener("chart-zoom", (event) => {
    const to = address();
    ["from", "to"].forEach((name, i) => to.searchParams.set(name, event.detail[i]));
    location.assign(to);
  });

  const wanted = address().searchParams.get("step");
  const first = shown.values().next().value;
  if (/^\d{1,9}$/.test(wanted ?? "") && first) focus(first, nearest(first.plot.data[0], Number(wanted)));
})();
