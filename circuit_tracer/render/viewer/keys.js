// The keyboard: arrows from node to node, Enter pins, / searches, Escape lets go, ? explains.

const KEYS = [
  ["← → ↑ ↓", "to the next node in that direction"],
  ["I, O", "to the strongest input, output"],
  ["Enter", "pin the node, or unpin it"],
  ["R, N", "rename the node, write a note on it"],
  ["G", "group all pins that are in no group yet"],
  ["[ ]", "fewer or more nodes by influence"],
  ["+ − 0", "zoom in, out, fit"],
  ["/", "search"],
  ["Esc", "let go: selection, route, search"],
  ["1 \u2026 5", "the panel's tabs"],
  ["?", "this list"],
];

// The next node: nearest in the arrow's direction, what lies off the axis counting double.
function neighbour(plot, dx, dy) {
  const { graph, place } = plot;
  if (plot.selected < 0 || !place.shown[plot.selected]) return firstNode(plot);
  const x0 = place.x[plot.selected], y0 = place.y[plot.selected];
  let best = -1, least = Infinity;
  for (let row = 0; row < graph.n; row++) {
    if (!place.shown[row] || row === plot.selected) continue;
    const along = (place.x[row] - x0) * dx + (place.y[row] - y0) * dy;
    const across = Math.abs((place.x[row] - x0) * dy) + Math.abs((place.y[row] - y0) * dx);
    if (along <= 0.5 || across > 3 * along) continue;
    const distance = along + 2 * across;
    if (distance < least) [best, least] = [row, distance];
  }
  return best >= 0 ? best : plot.selected;
}

function firstNode(plot) {
  return plot.graph.targets.length ? plot.graph.targets[0].row : plot.graph.ranked[0] ?? 0;
}

function strongestLink(plot, way) {
  const { graph, selected } = plot;
  if (selected < 0) return firstNode(plot);
  const edges = byShare(graph, way === "in" ? edgesInto(graph, selected) : edgesOutOf(graph, selected));
  return edges.length ? (way === "in" ? graph.source : graph.target)[edges[0]] : selected;
}

function listenToKeys(app) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return; // an input method's own keys
    if (byId("help").open) return; // Escape closes it, and nothing else moves
    const inField = event.target.matches("input, textarea, select");
    if (event.key === "Escape") {
      if (inField) event.target.blur();
      app.letGo();
      return;
    }
    if (inField && event.target.type !== "range") return;
    const isButton = event.target.matches("button, summary, [role=button]");
    if (act(app, event.key, isButton, inField)) event.preventDefault();
  });
}

function act(app, key, isButton, isSlider) {
  const plot = app.active;
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (arrows[key] && !isSlider) {
    app.select(plot, neighbour(plot, ...arrows[key]), true);
    return true;
  }
  if (key === "Enter" && !isButton && plot.selected >= 0) {
    app.togglePin(plot, plot.selected);
    return true;
  }
  const actions = {
    "/": () => byId("search").focus(),
    "?": () => byId("help").showModal(),
    "+": () => plot.zoom(1.3), "=": () => plot.zoom(1.3), "-": () => plot.zoom(1 / 1.3),
    0: () => { plot.fit(); plot.paint(); },
    "[": () => app.nudge(-1), "]": () => app.nudge(1),
    i: () => app.select(plot, strongestLink(plot, "in"), true),
    o: () => app.select(plot, strongestLink(plot, "out"), true),
    g: () => app.groupLoose(plot),
    r: () => editSelected(app, "name"), n: () => editSelected(app, "note"),
    1: () => app.showTab("routes"), 2: () => app.showTab("node"), 3: () => app.showTab("pins"), 4: () => app.showTab("trust"), 5: () => app.showTab("heads"),
  };
  const action = actions[key] || actions[key.toLowerCase()];
  if (!action) return false;
  action();
  return true;
}
