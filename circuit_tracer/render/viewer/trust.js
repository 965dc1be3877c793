// The panel's tab on how far to believe the graph: verdict, scores, tests by intervention.

const VERDICT_MARKS = { "+": "speaks for it", "~": "keep in mind", "-": "speaks against it" };
const FROZEN = { all: "both frozen", attention: "attention frozen", nothing: "nothing frozen" };

function trustTab(app) {
  const { graph } = app.active, trust = graph.trust;
  const parts = [];
  if (trust) {
    parts.push(h("p.verdict", { "data-level": trust.level }, trust.headline));
    parts.push(h("ul.reasons", {}, trust.reasons.map((reason) =>
      h("li", { "data-mark": reason.mark, title: VERDICT_MARKS[reason.mark] || "" }, prose(reason.text)))));
  } else {
    parts.push(...missing(graph, "This graph has not been tested by intervention. This does it", (folder) => "circuit-tracer trust " + folder));
  }
  parts.push(h("h3", {}, "Scores of the whole graph"));
  parts.push(scoreList(graph.scores));
  if (trust && trust.indirect.length) parts.push(indirectChart(trust.indirect));
  if (trust && trust.sufficiency.length) parts.push(sufficiencyChart(trust.sufficiency));
  if (trust && trust.distance.length) parts.push(distanceChart(trust.distance));
  if (app.comparison) parts.push(h("h3", {}, "The two graphs"), scoreList(app.comparison.figures));
  return parts;
}

function scoreList(scores) {
  return h("dl.scores", {}, scores.map(({ name, value, meaning }) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd.meaning", {}, meaning))));
}

const CHART = { width: 320, height: 150, left: 34, right: 10, top: 10, bottom: 26 };

function chart(title, note, xLabels, ticks, marks) {
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const across = CHART.width - CHART.left - CHART.right, up = CHART.height - CHART.top - CHART.bottom;
  const x = (share) => CHART.left + across * share;
  const y = (value) => CHART.top + up * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
  return h("figure.chart", {}, h("figcaption", {}, h("b", {}, title), h("span", {}, note)),
    svg("svg", { viewBox: "0 0 " + CHART.width + " " + CHART.height, role: "img", "aria-label": title },
      ticks.map((tick) => [
        svg("line.grid", { x1: CHART.left, x2: CHART.width - CHART.right, y1: y(tick), y2: y(tick) }),
        svg("text.tick", { x: CHART.left - 5, y: y(tick) + 3.5, "text-anchor": "end" }, String(tick)),
      ]),
      xLabels.map(([share, words]) =>
        svg("text.tick", { x: x(share), y: CHART.height - 8, "text-anchor": "middle" }, words)),
      marks(x, y)));
}

// A line through the points that were measured.
function polyline(isDashed, points) {
  const known = points.filter(([, y]) => Number.isFinite(y));
  return svg(isDashed ? "polyline.curve.dashed" : "polyline.curve", { points: known.map(([x, y]) => at(x, y)).join(" ") });
}

function indirectChart(effects) {
  const place = (i) => (i + 0.5) / effects.length;
  return chart("Indirect effects: predicted against measured", "Spearman over ablated features, 95 % of bootstrap draws; frozen: attention and norms (both), attention, nothing",
    effects.map((effect, i) => [place(i), FROZEN[effect.frozen] || effect.frozen]), [-0.5, 0, 0.5, 1],
    (x, y) => effects.filter((effect) => Number.isFinite(effect.value ?? NaN)).map((effect) => {
      const i = effects.indexOf(effect);
      return [
        Number.isFinite(effect.low ?? NaN) ? svg("line.whisker", { x1: x(place(i)), x2: x(place(i)), y1: y(effect.low), y2: y(effect.high) }) : null,
        svg("circle.point", { cx: x(place(i)), cy: y(effect.value), r: 4 }),
        svg("text.value", { x: x(place(i)) + 8, y: y(effect.value) + 4 }, effect.value.toFixed(2)),
      ];
    }));
}

function sufficiencyChart(points) {
  const place = (i) => (points.length > 1 ? i / (points.length - 1) : 0.5) * 0.92 + 0.04;
  const end = points[points.length - 1];
  return chart("What stays of the target", "kept features alone (solid), without them (dashed), by node threshold",
    points.map((point, i) => [place(i), String(point.threshold)]), [0, 0.5, 1],
    (x, y) => [
      polyline(false, points.map((point, i) => [x(place(i)), y(point.sufficiency ?? NaN)])),
      polyline(true, points.map((point, i) => [x(place(i)), y(point.necessity ?? NaN)])),
      Number.isFinite(end.sufficiency ?? NaN)
        ? svg("text.value", { x: x(place(points.length - 1)), y: y(end.sufficiency) + 14, "text-anchor": "end" }, percent(end.sufficiency))
        : null,
    ]);
}

function distanceChart(curves) {
  const last = Math.max(...curves.flatMap((curve) => curve.points.map((point) => point.layers)));
  const place = (layers) => (last > 1 ? (layers - 1) / (last - 1) : 0.5) * 0.92 + 0.04;
  const labels = Array.from({ length: last }, (_, i) => i + 1).filter((i) => last < 12 || i % 4 === 1);
  return chart("Cosine of predicted and measured response", "by layers between cause and effect: attention and norms frozen (solid), nothing frozen (dashed)",
    labels.map((i) => [place(i), String(i)]), [0, 0.5, 1],
    (x, y) => curves.filter((curve) => curve.frozen !== "attention").map((curve) =>
      polyline(curve.frozen === "nothing", curve.points.map((point) => [x(place(point.layers)), y(point.cosine ?? NaN)]))));
}
