// What is lit up: a node with its inputs and outputs, a route, or what a search found.

const MOST_BADGES = 14;
const MOST_LIT = 250;

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

function litMatches(plot, rows) {
  const strong = new Set(rows.slice(0, 40));
  return { rows: new Set(rows), strong, edges: [], badges: new Map(), bold: false };
}

function paintOverlay(plot, pen, lit) {
  if (lit) paintLit(plot, pen, lit);
  for (const row of plot.pinned) ring(plot, pen, row, plot.colors.pin, 2.5);
  if (plot.selected >= 0) ring(plot, pen, plot.selected, plot.colors.accent, 4);
}
