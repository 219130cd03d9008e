// Draws one chart with uPlot. Colours are names of style-sheet tokens, read at drawing time.
(() => {
  "use strict";
  const THIN = "\u202f";
  const absent = "–";
  const formats = {
    reward: (v) => v.toFixed(3),
    decimal: (v) => v.toFixed(1),
    small: (v) => (v ? v.toExponential(1) : "0"),
    share: (v) => (100 * v).toFixed(v && Math.abs(v) < 0.1 ? 1 : 0) + THIN + "%",
    count: (v) => Math.round(v).toLocaleString("en").replaceAll(",", THIN),
    seconds: (v) => v.toFixed(v < 10 ? 1 : 0) + THIN + "s",
  };
  const write = (unit, value) => (value == null ? absent : formats[unit](value).replace("-", "−"));
  const ticked = (unit, value) => (unit === "reward" ? value.toFixed(2).replace("-", "−") : write(unit, value));
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // A stack is drawn from its full height down, so that each layer covers the ones behind it.
  const stacked = (series) => {
    const sums = [];
    series.forEach((line, at) => sums.push(line.values.map((v, i) => (at ? sums[at - 1][i] : 0) + (v || 0))));
    return sums.reverse();
  };
  const columns = (chart) => [
    chart.steps,
    ...(chart.kind === "line" ? chart.series.map((line) => line.values) : stacked(chart.series)),
  ];

  const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
  const lineSeries = (line) => {
    const colour = token(line.colour);
    return {
      label: line.label, stroke: colour, width: 2, spanGaps: true,
      dash: line.dashed ? [6, 4] : undefined,
      points: { show: line.dots || line.values.filter((v) => v != null).length < 2, size: 7, fill: colour, stroke: colour },
    };
  };
  const layerSeries = (line) => ({
    label: line.label, fill: token(line.colour), width: 0,
    paths: uPlot.paths.bars({ size: [0.9, 60] }), points: { show: false },
  });

  const options = (chart, box, hooks) => {
        const axis = { stroke: token("text-3"), grid: { stroke: token("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: box.clientWidth, height: 200, legend: { show: false }, hooks,
      cursor: { sync: { key: "job" }, y: false, drag: { x: true, y: false } },
      scales: { x: { time: false, range: (u, low, high) => [(low ?? 0) - 0.5, (high ?? 0) + 0.5] }, y: { range: (u, low, high) => [chart.low ?? low ?? 0, chart.high ?? (high > 0 ? high * 1.05 : 1)] } },
      axes: [
        { ...axis, size: 28, incrs: WHOLE },
        { ...axis, size: 64, ...(chart.unit === "count" ? { incrs: WHOLE } : {}), values: (u, ticks) => ticks.map((v) => ticked(chart.unit, v)) },
      ],
      series: [{}, ...(chart.kind !== "line" ? [...chart.series].reverse().map(layerSeries) : chart.series.map(lineSeries))],
    };
  };
  window.HoneChart = { columns, options, write };
})();
