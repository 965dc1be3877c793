// Where routes through the pins begin and end: the tokens and targets that the diagram adds by itself.
//
// A box that no route through the boxes reaches from a token gets the tokens that feed it most, one from
// which none reaches a target the targets it feeds most. Where only nodes that are not pinned lie
// between, the strongest way through them is a dotted line. Errors have no inputs: they are beginnings.

const MOST_ENDS = 3;
const PREVIEWED_ROUTES = 4;

// The given boxes with those at their ends, and the dotted lines between them.
function withEnds(graph, nodes) {
  const edges = diagramEdges(graph, nodes), all = [...nodes], lines = [];
  const boxOf = (row) => {
    let box = all.findIndex((node) => node.rows.includes(row));
    if (box < 0) box = all.push({ ...boxOfRows(graph, [row]), isEnd: true }) - 1;
    return box;
  };
  // Adds the ends of a box; whether it has one.
  const complete = (i, kind, list, end, ways) => {
    const node = nodes[i], strengths = new Map();
    for (const row of node.rows) {
      for (const edge of list(graph, row)) {
        const other = end[edge];
        if (graph.kind[other] === kind) strengths.set(other, (strengths.get(other) || 0) + Math.abs(shareOf(graph, edge)));
      }
    }
    const ranked = [...strengths].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    for (const [row] of ranked.filter(([, one]) => one >= ranked[0][1] / 2).slice(0, MOST_ENDS)) boxOf(row);
    if (ranked.length) return true;
    const best = node.rows.reduce((a, b) => (ways.strength[b] > ways.strength[a] ? b : a));
    if (!(ways.strength[best] > 0)) return false;
    const far = boxOf(ways.end[best]), ends = kind === KIND.LOGIT ? { source: i, target: far } : { source: far, target: i };
    lines.push({ ...ends, share: 0, weight: 0, isIndirect: true });
    return true;
  };
  const byLayer = [...nodes.keys()].sort((a, b) => nodes[a].layer - nodes[b].layer), fed = new Set(), feeding = new Set();
  for (const i of byLayer) {
    const isFed = nodes[i].isToken || edges.some((edge) => edge.target === i && fed.has(edge.source));
    if (isFed || complete(i, KIND.EMBEDDING, edgesInto, graph.source, waysFrom(graph))) fed.add(i);
  }
  for (const i of byLayer.reverse()) {
    const isFeeding = nodes[i].isTarget || edges.some((edge) => edge.source === i && feeding.has(edge.target));
    if (isFeeding || complete(i, KIND.LOGIT, edgesOutOf, graph.target, waysTo(graph))) feeding.add(i);
  }
  return { nodes: all, edges: [...diagramEdges(graph, all), ...lines] };
}

// The strongest way from a token to each node, by the product of shares along it, and where it begins.
function waysFrom(graph) {
  return (graph.fromTokens ??= strongestWays(graph, KIND.EMBEDDING, 1, graph.into, graph.source));
}

function waysTo(graph) {
  return (graph.toTargets ??= strongestWays(graph, KIND.LOGIT, -1, graph.outOf, graph.target));
}

function strongestWays(graph, kind, direction, { start, list }, other) {
  const strength = new Float64Array(graph.n), end = new Int32Array(graph.n).fill(-1);
  const rows = [...graph.kind.keys()].sort((a, b) => direction * (graph.layer[a] - graph.layer[b]));
  for (const row of rows) {
    if (graph.kind[row] === kind) [strength[row], end[row]] = [1, row];
    for (let i = start[row]; i < start[row + 1]; i++) {
      const far = other[list[i]], found = strength[far] && strength[far] * Math.abs(shareOf(graph, list[i]));
      if (found > strength[row]) [strength[row], end[row]] = [found, end[far]];
    }
  }
  return { strength, end };
}

// What is drawn before anything is pinned: the strongest routes of more than one step, by target.
function previewRows(graph) {
  const rows = new Set();
  for (const target of graph.targets.slice(0, 2)) {
    const routes = graph.routes.filter((route) => route.rows[route.rows.length - 1] === target.row);
    const longer = routes.filter((route) => route.rows.length > 2);
    for (const route of (longer.length ? longer : routes).slice(0, PREVIEWED_ROUTES)) for (const row of route.rows) rows.add(row);
  }
  return rows;
}
