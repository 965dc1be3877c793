// The panel's tab with the strongest routes; a click lights one up in the plot.

function routesTab(app) {
  const plot = app.active, { graph } = plot;
  const parts = [
    h("p.hint", {}, "A route runs from a token through features to what the model says. Its share is of all routes to that target; with a minus, it pushes the target down."),
  ];
  if (!graph.routes.length) parts.push(h("p.hint", {}, "No route from a token to a target was kept; a higher edge threshold keeps more."));
  for (const target of graph.targets) {
    const routes = graph.routes.filter((route) => route.rows[route.rows.length - 1] === target.row);
    if (!routes.length) continue;
    parts.push(h("h3.target", {}, sign(KIND.LOGIT), " ", target.token, h("small", {}, targetFigure(target))));
    parts.push(h("ol.routes", {}, routes.map((route) => routeItem(app, plot, route))));
  }
  return parts;
}

function targetFigure(target) {
  return target.value ? target.value + " " + figureOf(target.logit) : percent(target.probability);
}

// A feature's id, an error's layer, unless the label says it.
function idBefore(graph, row) {
  const id = graph.kind[row] === KIND.FEATURE ? idOf(graph, row) : "L" + graph.layer[row];
  const isSaid = graph.kind[row] === KIND.EMBEDDING || titleOf(graph, row).startsWith(id);
  return isSaid ? null : h("i", {}, id);
}

function routeItem(app, plot, route) {
  const { graph } = plot, isOn = plot.route === route;
  const steps = route.rows.slice(0, -1).map((row, i) => [
    i ? h("span.arrow", {}, "\u2192") : null,
    h("span.step", { title: subtitleOf(graph, row) }, idBefore(graph, row), titleOf(graph, row)),
  ]);
  if (route.rows.length === 2) steps.push(h("span.arrow", {}, "\u2192"), h("span.direct", {}, "directly"));
  return h(isOn ? "li.on" : "li", {},
    h("button.go", { onclick: () => app.showRoute(plot, isOn ? null : route), "aria-pressed": String(isOn) },
      h("span.share", { class: route.sign < 0 ? "share down" : "share up" }, signedPercent(route.sign * route.share)),
      h("span.steps", {}, steps)),
    isOn ? h("button.pin", { onclick: () => app.pinAll(plot, route.rows) }, "Pin this route") : null);
}
