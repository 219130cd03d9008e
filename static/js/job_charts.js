// The charts of a job, drawn from the JSON in the page; `job_charts_live.js` feeds them.
(() => {
  "use strict";
  const source = document.getElementById("chart-data");
  const panel = document.getElementById("charts");
  if (!source || !panel) return;
  const { columns, options, write } = window.HoneChart;
  const drawn = new Map();
  const state = { charts: JSON.parse(source.textContent) };

  // What was pointed at last stays, so that its link can be reached.
  const show = (figure, chart, at) => {
    if (at == null) return;
    const link = figure.querySelector("[data-step]");
    link.textContent = `step ${chart.steps[at]}`;
    link.href = `${panel.dataset.trajectories}?step=${chart.steps[at]}`;
    figure.querySelectorAll("[data-value]").forEach((cell, i) => {
      cell.textContent = chart.series[i] ? write(chart.unit, chart.series[i].values[at]) : "";
    });
  };
  const entry = (line) => {
    const item = document.createElement("li");
    const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
    [["width", 14], ["height", 10], ["aria-hidden", "true"]].forEach(([name, value]) => swatch.setAttribute(name, value));
    stroke.setAttribute("d", "M0 5h14");
    stroke.setAttribute("class", `stroke-${line.colour}${line.dashed ? " dashed" : ""}`);
    swatch.append(stroke);
    const value = document.createElement("output");
    value.dataset.value = "";
    item.append(swatch, ` ${line.label} `, value);
    return item;
  };
  const draw = (chart) => {
    const figure = document.getElementById(`chart-${chart.key}`);
    if (!figure || !chart.series.some((line) => line.values.some((value) => value != null))) return;
    const box = figure.querySelector(".plot-box");
    const legend = figure.querySelector(".legend");
    figure.hidden = false;
    drawn.get(chart.key)?.destroy();
    box.replaceChildren();
    if (legend.children.length !== chart.series.length) legend.replaceChildren(...chart.series.map(entry));
    const moved = (plot) => show(figure, chart, plot.cursor.idx);
    drawn.set(chart.key, new uPlot(options(chart, box, { setCursor: [moved] }), columns(chart), box));
  };
  const all = () => {
    state.charts.forEach(draw);
    panel.dataset.points = String(state.charts[0]?.steps.length ?? 0);
  };
  const fit = () => drawn.forEach((plot) => plot.setSize({ width: plot.root.parentElement.clientWidth, height: 200 }));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  new ResizeObserver(fit).observe(panel);
  window.HoneJobCharts = { panel, state, drawn, all };
  all();
})();
