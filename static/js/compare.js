// One crosshair for all charts of the page: pointing at a place writes each job's value there.
(() => {
  "use strict";
  const source = document.getElementById("compare-places");
  const panel = document.getElementById("compare-charts");
  if (!source || !panel) return;
  const WIDTH = 1000;
  const THIN = "\u202f";
  const formats = {
    reward: (v) => v.toFixed(3),
    decimal: (v) => v.toFixed(1),
    share: (v) => (100 * v).toFixed(v && Math.abs(v) < 0.1 ? 1 : 0) + THIN + "%",
    count: (v) => Math.round(v).toLocaleString("en").replaceAll(",", THIN),
  };
  const write = (unit, value) => (value == null ? "–" : formats[unit](value).replace("-", "−"));
  const places = JSON.parse(source.textContent);
  const drawn = [...panel.querySelectorAll("figure")]
    .filter((figure) => figure.querySelector(".plot"))
    .map((figure) => ({ figure, chart: JSON.parse(figure.querySelector("script").textContent) }));
  const last = places.length - 1;
  let at = last;

  // Evaluations are rare: between two of them the older one still holds.
  const newest = (values) => {
    for (let i = at; i >= 0; i -= 1) if (values[i] != null) return values[i];
    return null;
  };
  const cross = (plot) => {
    const line = plot.querySelector(".cross") ?? document.createElementNS(plot.namespaceURI, "path");
    line.setAttribute("class", "cross");
    line.setAttribute("d", `M${((WIDTH * at) / Math.max(last, 1)).toFixed(1)} 0V200`);
    plot.append(line);
  };
  const show = (place) => {
    at = Math.min(Math.max(place, 0), last);
    drawn.forEach(({ chart, figure }) => {
      cross(figure.querySelector(".plot"));
      figure.querySelector("[data-step]").textContent = places[at];
      figure.querySelectorAll("[data-value]").forEach((cell, i) => (cell.textContent = write(chart.unit, newest(chart.series[i].values))));
    });
  };
  drawn.forEach(({ figure }) => {
    const box = figure.querySelector(".plot-box");
    const point = (event) => {
      const area = box.getBoundingClientRect();
      show(Math.round((last * (event.clientX - area.left)) / area.width));
    };
    box.addEventListener("pointermove", point);
    box.addEventListener("pointerdown", point);
    box.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const end = { Home: 0, End: last }[event.key];
      if (move === undefined && end === undefined) return;
      event.preventDefault();
      show(end ?? at + move * (event.shiftKey ? 10 : 1));
    });
  });
})();
