// Draws every chart of the page from the JSON inside its figure, and keeps one focus step for all.
(() => {
  "use strict";
  const { columns, drawnAs, layer, bands, whiskers, isStack, token, ticked, write } = window.HoneChart;
  const WHOLE = [1, 10, 100, 1000, 10000, 100000].flatMap((ten) => [ten, 2 * ten, 5 * ten]);
  const shown = new Map();
  const exact = (line) => (line?.raw?.length ? line.raw : line?.values);

  const options = (held, box) => {
    const { chart } = held;
    const axis = { stroke: token("text-3"), grid: { stroke: token("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: box.clientWidth, height: 200, legend: { show: false }, bands: bands(chart),
      hooks: { setCursor: [() => tell(held)], setSelect: [(plot) => zoom(held, plot)], draw: [whiskers(held)] },
      cursor: { sync: { key: "page", scales: ["x", null] }, y: false, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      scales: {
        x: { time: false, range: (plot, low, high) => [(held.chart.from ?? low ?? 0) - 0.5, (held.chart.to ?? high ?? 0) + 0.5] },
        y: chart.log ? { distr: 3 } : { range: (plot, low, high) => [held.chart.low ?? low ?? 0, held.chart.high ?? (high > 0 ? high * 1.05 : 1)] },
      },
      axes: [{ ...axis, size: 28, incrs: WHOLE, values: (plot, ticks) => ticks.map((v) => write("count", v)) },
        { ...axis, size: 64, ...(chart.unit === "count" && !chart.log ? { incrs: WHOLE } : {}), values: (plot, ticks) => ticks.map((v) => (v == null ? "" : ticked(chart.unit, v))) }],
      series: [{}, ...(isStack(chart) ? [...chart.series].reverse().map(layer) : chart.series.flatMap(drawnAs))],
    };
  };
  // What was pointed at last stays: its link can be reached.
  const tell = (held) => {
    const at = held.plot?.cursor.idx;
    if (at == null) return;
    held.step = held.chart.steps[at];
    const link = held.figure.querySelector("[data-step]");
    const list = held.figure.closest("[data-trajectories]")?.dataset.trajectories;
    if (link) link.textContent = `step ${write("count", held.step)}`;
    if (link && list) link.href = `${list}?step=${held.step}`;
    held.figure.querySelectorAll("[data-value]").forEach((cell, i) => (cell.textContent = write(held.chart.unit, exact(held.chart.series[i])?.[at])));
  };
  const zoom = (held, plot) => {
    const { left, width } = plot.select;
    const detail = [left, left + width].map((edge) => Math.max(0, Math.round(plot.posToVal(edge, "x"))));
    if (width >= 8) held.figure.dispatchEvent(new CustomEvent("chart-zoom", { bubbles: true, detail }));
  };
  const draw = (figure, chart) => {
    const box = figure.querySelector(".plot-box");
    const before = shown.get(figure);
    figure.hidden &&= !chart.series.some((line) => line.values.some((value) => value != null));
    if (figure.hidden || !chart.steps.length) return;
    before?.plot.destroy();
    box.replaceChildren();
    const held = { figure, chart, step: before?.step };
    shown.set(figure, held);
    held.plot = new uPlot(options(held, box), columns(chart), box);
    figure.closest("[data-charts]")?.setAttribute("data-points", chart.steps.length);
  };
  const all = () => document.querySelectorAll("figure.chart").forEach((figure) => {
    const chart = shown.get(figure)?.chart ?? JSON.parse(figure.querySelector("script")?.textContent ?? "null");
    if (chart) draw(figure, chart);
  });
  const fit = () => shown.forEach(({ plot }) => plot.setSize({ width: plot.root.parentElement.clientWidth, height: 200 }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  const begin = () => {
    shown.forEach(({ plot }, figure) => figure.isConnected || (plot.destroy(), shown.delete(figure)));
    all();
    document.querySelectorAll("[data-charts]").forEach((panel) => new ResizeObserver(fit).observe(panel));
  };
  window.HoneCharts = { shown, draw, all, begin };
  begin();
})();
