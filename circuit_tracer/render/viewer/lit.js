// What is lit up: a node with its inputs and outputs, a route, or what a search found.

const MOST_BADGES = 14;
const MOST_LIT = 250;
const MOST_CARRIED = 40;

function litNode(plot, row) {
  const { graph, app } = plot;
  const lit = { rows: new Set([row]), strong: new Set([row]), edges: [], badges: new Map(), bold: false };
  const take = (edges, end) => {
    let badges = 0;
    for (const edge of edges) {
      const other = end[edge];
      if (!plot.place.shown[other] || badges >= MOST_LIT) continue;
      lit.edges.push(edge);
      lit.rows.add(other);
      if (badges++ < MOST_BADGES) lit.badges.set(other, shareOf(graph, edge));
    }
  };
  if (app.links !== "outputs") take(byShare(graph, edgesInto(graph, row)), graph.source);
  if (app.links !== "inputs") take(byShare(graph, edgesOutOf(graph, row)), graph.target);
  return lit;
}

// A node's own inputs are strongest first already; its outputs are ranked by what they are there.
function byShare(graph, edges) {
  return Array.from(edges).sort((a, b) => Math.abs(shareOf(graph, b)) - Math.abs(shareOf(graph, a)) || a - b);
}

function litRoute(plot, route) {
  const lit = { rows: new Set(route.rows), strong: new Set(), edges: [], badges: new Map(), bold: true };
  for (let i = 1; i < route.rows.length; i++) {
    const edge = edgeBetween(plot.graph, route.rows[i - 1], route.rows[i]);
    if (edge < 0) continue;
    lit.edges.push(edge);
    lit.badges.set(route.rows[i - 1], shareOf(plot.graph, edge));
  }
  return lit;
}

// The edges in view that a head carries most influence along, and how much of what it carries in
// view starts where.
function litHead(plot, name) {
  const { graph, place } = plot, { heads } = graph, found = [];
  for (const i of heads.byName.get(name) ?? []) {
    const edge = heads.edge[i], target = graph.target[edge];
    if (!place.shown[graph.source[edge]] || !place.shown[target]) continue;
    found.push({ edge, flow: Math.abs(heads.loading[i]) * graph.passedOn[target] });
  }
  const whole = found.reduce((sum, one) => sum + one.flow, 0);
  found.sort((a, b) => b.flow - a.flow || a.edge - b.edge);
  const lit = { rows: new Set(), strong: new Set(), edges: [], badges: new Map(), bold: false, unsigned: true };
  for (const { edge } of found.slice(0, MOST_CARRIED)) {
    lit.edges.push(edge);
    lit.rows.add(graph.source[edge]).add(graph.target[edge]);
    lit.badges.set(graph.source[edge], 0);
  }
  for (const { edge, flow } of found) {
    const source = graph.source[edge];
    if (lit.badges.has(source)) lit.badges.set(source, lit.badges.get(source) + flow / whole);
  }
  return lit;
}

function litMatches(plot, rows) {
  const strong = new Set(rows.slice(0, 40));
  return { rows: new Set(rows), strong, edges: [], badges: new Map(), bold: false };
}

function paintOverlay(plot, pen, lit) {
  if (lit) paintLit(plot, pen, lit);
  paintNoteMarks(plot, pen);
  for (const row of plot.pinned) ring(plot, pen, row, plot.colors.pin, 2.5);
  if (plot.selected >= 0) ring(plot, pen, plot.selected, plot.colors.accent, 4);
}
