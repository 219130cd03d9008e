// Newer steps join the charts as they are committed; a pointer over a chart holds them still.
(() => {
  "use strict";
  const panel = document.querySelector("[data-series]");
  if (!panel || !window.HoneCharts) return;
  const { shown, draw } = window.HoneCharts;
  const figures = () => [...panel.querySelectorAll("figure.chart")];
  const still = () => matchMedia("(hover: hover)").matches && panel.matches(":hover");
  const tells = (chart) => chart.series.some((line) => line.values.some((value) => value != null));

  // Of a long job a point is many steps, and the newest one grows: it is replaced.
  const join = (old, fresh) => {
    const add = (before, newer) => (before ?? []).slice(0, fresh.keep).concat(newer ?? []);
    const grown = (line, newer) => Object.fromEntries(["values", "low", "high", "raw"].map((name) => [name, add(line[name], newer[name])]));
    return { ...fresh, steps: add(old.steps, fresh.steps), series: old.series.map((line, i) => ({ ...line, ...grown(line, fresh.series[i]) })) };
  };
  const lists = (line) => ["low", "high", "raw"].map((name) => (line[name] ?? []).length > 0).join();
  const alike = (old, fresh) => labels(old) === labels(fresh) && old.series.every((line, i) => lists(line) === lists(fresh.series[i]));
  const follows = (old, fresh) => !fresh.steps.length || ([0, 1].includes(old.steps.length - fresh.keep) && alike(old, fresh));
  const labels = (chart) => chart.series.map((line) => line.label).join("\n");
  const load = async (after) => {
    const address = new URL(panel.dataset.series, location.href);
    address.search = location.search;
    if (after != null) address.searchParams.set("after", after);
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    return answer.ok && !answer.redirected ? answer.json() : null;
  };
  // Where lines came or went, or points became larger, the page takes all charts anew.
  // So it does where another half-life smooths them.
  let half = null;
  const show = (answer) => {
    half = answer.half;
    figures().forEach((figure) => {
      const fresh = answer.charts.find((chart) => figure.id === `chart-${chart.key}`);
      const old = shown.get(figure)?.chart;
      if (fresh) draw(figure, answer.whole || !old ? fresh : join(old, fresh));
    });
  };
  const fits = (answer) => answer.whole || ((half ?? answer.half) === answer.half && figures().every((figure) => {
    const fresh = answer.charts.find((chart) => figure.id === `chart-${chart.key}`);
    const old = shown.get(figure)?.chart;
    return !fresh || (old ? follows(old, fresh) : !tells(fresh));
  }));
  // Many points are left out of the page: its picture stands until they are here.
  if (figures().some((figure) => !figure.hidden && !figure.querySelector("script"))) load().then((answer) => answer && show(answer));
  let busy = false;
  let due = false;
  const grow = async () => {
    due = true;
    if (busy || still()) return;
    busy = true;
    due = false;
    try {
      const newest = Math.max(-1, ...[...shown.values()].map(({ chart }) => chart.steps.at(-1) ?? -1));
      const answer = await load(newest);
      const fitting = answer && !fits(answer) ? await load() : answer;
      if (fitting) show(fitting);
    } finally {
      busy = false;
    }
    if (due) grow();
  };
  panel.addEventListener("pointerleave", () => due && grow());
  document.body.addEventListener("job-step", grow);
})();
