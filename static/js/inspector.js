// The inspector reads one token at a time from the JSON beside the strip; arrow keys move it.
(() => {
  "use strict";
  const MINUS = "\u2212";
  const figure = (value, sign) => value === null || value === undefined ? "–" : `${sign && value >= 0 ? "+" : ""}${value.toFixed(2)}`.replace("-", MINUS);
  const box = () => document.getElementById("inspector");
  const data = () => JSON.parse(document.getElementById("token-data").textContent);
  const show = (at) => {
    const inspector = box();
    const tokens = data();
    const token = tokens[Math.min(Math.max(at - tokens[0].at, 0), tokens.length - 1)];
    inspector.dataset.focus = token.at;
    inspector.querySelector("output").textContent =
      `token ${token.at} “${token.text}” · id ${token.id} · logprob ${figure(token.logprob)} · entropy ${figure(token.entropy)} · ratio ${figure(token.ratio)} · A ${figure(token.advantage, true)} · ${token.kind}`;
    document.querySelector(".tok.in-focus")?.classList.remove("in-focus");
    const runs = [...document.querySelectorAll(".strip .tok")];
    const run = runs.findLast((each) => Number(each.id.slice(1)) <= token.at);
    run?.classList.add("in-focus");
    const query = `?view=tokens&turn=${inspector.dataset.turn}&token=${token.at}&colour=${inspector.dataset.colour}`;
    history.replaceState(history.state, "", query);
  };
  document.addEventListener("keydown", (event) => {
    const inspector = event.target.closest?.("#inspector");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!inspector || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(Number(inspector.dataset.focus) + step * (event.shiftKey ? 10 : 1));
  });
  document.addEventListener("click", (event) => {
    const token = event.target.closest?.(".strip .tok");
    if (!token) return;
    box().focus();
    show(Number(token.id.slice(1)));
  });
  if (new URLSearchParams(location.search).has("token")) show(Number(box()?.dataset.focus));
})();
