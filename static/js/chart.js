// How one chart is drawn with uPlot. Colours are names of style-sheet tokens, read at drawing time.
(() => {
  "use strict";
  const THIN = "\u202f";
  const formats = {
    reward: (v) => v.toFixed(3),
    signed: (v) => (v < 0 ? "" : "+") + v.toFixed(2),
    decimal: (v) => v.toFixed(1),
    small: (v) => (v ? v.toExponential(1) : "0"),
    share: (v) => (100 * v).toFixed(v && Math.abs(v) < 0.1 ? 1 : 0) + THIN + "%",
    count: (v) => Math.round(v).toLocaleString("en").replaceAll(",", THIN),
    seconds: (v) => (Math.abs(v) < 1 ? (1000 * v).toFixed(0) + THIN + "ms" : v.toFixed(v < 10 ? 1 : 0) + THIN + "s"),
  };
  const write = (unit, value) => (value == null ? "–" : formats[unit](value).replace("-", "−"));
  const ticked = (unit, value) => (unit === "reward" ? value.toFixed(2).replace("-", "−") : write(unit, value));
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const isStack = (chart) => chart.kind === "stack";
  const known = (values) => values.filter((value) => value != null).length;

  // A stack is drawn from its full height down, so that each layer covers the ones behind it.
  const stacked = (series) => {
    const sums = [];
    series.forEach((line, at) => sums.push(line.values.map((v, i) => (at ? sums[at - 1][i] : 0) + (v || 0))));
    return sums.reverse();
  };
  // Beside a line stand its raw values (where it is smoothed) and the two edges of its band.
  const behind = (line) => [line.raw, ...(line.dots ? [] : [line.low, line.high])].filter((values) => values?.length);
  const columns = (chart) => [
    chart.steps, ...(isStack(chart) ? stacked(chart.series) : chart.series.flatMap((line) => [line.values, ...behind(line)])),
  ];
  const drawnAs = (line) => {
    const colour = token(line.colour);
    const faint = { stroke: `${colour}55`, width: 1, points: { show: false } };
    const points = { show: line.dots || known(line.values) < 2, size: 7, fill: colour, stroke: colour };
    const main = { label: line.label, stroke: colour, width: line.dots ? 0 : 2, dash: line.dashed ? [6, 4] : undefined, points };
    return [main, ...behind(line).map((values) => (values === line.raw ? faint : { ...faint, width: 0 }))];
  };
  const layer = (line) => ({ label: line.label, fill: token(line.colour), width: 0, paths: uPlot.paths.bars({ size: [0.95, 60] }), points: { show: false } });
  const bands = (chart) => {
    let at = 1;
    return isStack(chart) ? [] : chart.series.flatMap((line) => {
      const count = behind(line).length;
      at += 1 + count;
      return !line.dots && line.high?.length ? [{ series: [at - 1, at - 2], fill: `${token(line.colour)}2e` }] : [];
    });
  };
  const whiskers = (held) => (plot) => held.chart.series.filter((line) => line.dots && line.high?.length).forEach((line) => {
    plot.ctx.strokeStyle = token(line.colour);
    plot.ctx.lineWidth = 1.5 * devicePixelRatio;
    plot.ctx.beginPath();
    held.chart.steps.forEach((step, i) => {
      if (line.low[i] == null) return;
      [["moveTo", line.low[i]], ["lineTo", line.high[i]]].forEach(([act, value]) => plot.ctx[act](plot.valToPos(step, "x", true), plot.valToPos(value, "y", true)));
    });
    plot.ctx.stroke();
  });
  window.HoneChart = { columns, drawnAs, layer, bands, whiskers, isStack, token, ticked, write };
})();
