// Newer steps join the charts of a job as they are committed; arrow keys move the crosshair.
(() => {
  "use strict";
  if (!window.HoneJobCharts) return;
  const { panel, state, drawn, all } = window.HoneJobCharts;

  const join = (old, fresh) => ({
    ...old,
    low: Math.min(old.low ?? Infinity, fresh.low ?? Infinity),
    high: old.high == null ? null : Math.max(old.high, fresh.high),
    steps: old.steps.concat(fresh.steps),
    series: old.series.map((line, i) => ({ ...line, values: line.values.concat(fresh.series[i].values) })),
  });
  const labels = (chart) => chart.series.map((line) => line.label).join("\n");
  const load = async (after) => {
    const answer = await fetch(`${panel.dataset.series}?after=${after}`, { headers: { Accept: "application/json" } });
    return answer.ok && !answer.redirected ? (await answer.json()).charts : null;
  };
  const newest = () => Math.max(-1, ...state.charts.flatMap((chart) => chart.steps.slice(-1)));
  const grown = async () => {
    const fresh = await load(newest());
    if (!fresh) return null;
    const same = fresh.every((chart, i) => labels(state.charts[i]) === labels(chart));
    return same ? state.charts.map((chart, i) => join(chart, fresh[i])) : load(-1);
  };
  let busy = false;
  let again = false;
  const grow = async () => {
    again = busy;
    if (busy) return;
    busy = true;
    try {
      state.charts = (await grown()) ?? state.charts;
      all();
    } finally {
      busy = false;
    }
    if (again) grow();
  };

  panel.addEventListener("keydown", (event) => {
    const figure = event.target.closest(".plot-box")?.closest("figure");
    const plot = figure && drawn.get(figure.id.slice("chart-".length));
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!plot || (!move && event.key !== "Enter")) return;
    const steps = plot.data[0];
    const at = Math.min(Math.max((plot.cursor.idx ?? steps.length) + (move ?? 0) * (event.shiftKey ? 10 : 1), 0), steps.length - 1);
    event.preventDefault();
    if (move) plot.setCursor({ left: plot.valToPos(steps[at], "x"), top: 0 });
    else location.assign(`${panel.dataset.trajectories}?step=${steps[at]}`);
  });
  document.body.addEventListener("job-step", grow);
})();
