// Decodes the inlined graph: base64 columns to typed arrays, and who is joined to whom.
//
// Edges come strongest first (by the influence that flows along them), so every list of a node's
// edges is strongest first, too, and "the strongest so many" is the front of the table.

const KIND = { EMBEDDING: 0, FEATURE: 1, ERROR: 2, LOGIT: 3 };
const KIND_WORDS = ["token", "feature", "error", "target"];
const TYPES = {
  u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  f4: Float32Array, f8: Float64Array,
};

function decodedColumn([type, text]) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new TYPES[type](bytes.buffer);
}

function decodedColumns(table) {
  const columns = {};
  for (const name of Object.keys(table)) columns[name] = decodedColumn(table[name]);
  return columns;
}

// Lists of edges by one of their ends: those of node i are list[start[i] .. start[i + 1]].
function listsByNode(ends, n) {
  const start = new Uint32Array(n + 1);
  for (let e = 0; e < ends.length; e++) start[ends[e] + 1]++;
  for (let i = 0; i < n; i++) start[i + 1] += start[i];
  const next = start.slice(0, n);
  const list = new Uint32Array(ends.length);
  for (let e = 0; e < ends.length; e++) list[next[ends[e]]++] = e;
  return { start, list };
}

// Words that are read from the right, set off from what stands beside them (Unicode's isolates), so
// that a percentage or an arrow after them stays after them. Labels: each side of their arrow.
function isolated(text) {
  if (!/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(text)) return text;
  return text.split(" \u2192 ").map((part) => "\u2068" + part + "\u2069").join(" \u2192 ");
}

function openGraph(record) {
  const graph = { ...record, ...decodedColumns(record.nodes), ...decodedColumns(record.edges) };
  graph.tokens = record.tokens.map(isolated);
  graph.ownLabel = record.label.map(isolated);
  graph.ownNames = new Map(record.named.map((row) => [row, record.label[row]]));
  graph.targets = record.targets.map((target) => ({ ...target, token: isolated(target.token) }));
  graph.n = graph.kind.length;
  putTexts(graph, [], record.notes);
  graph.m = graph.source.length;
  graph.into = listsByNode(graph.target, graph.n);
  graph.outOf = listsByNode(graph.source, graph.n);
  graph.ranked = [...graph.kind.keys()].filter((row) => !isBox(graph, row));
  graph.ranked.sort((a, b) => graph.cumulative[a] - graph.cumulative[b] || a - b);
  graph.rankedTokens = [...graph.kind.keys()].filter((row) => graph.kind[row] === KIND.EMBEDDING);
  graph.rankedTokens.sort((a, b) => graph.influence[b] - graph.influence[a] || a - b);
  graph.largest = graph.ranked.reduce((most, row) => Math.max(most, graph.influence[row]), 0);
  graph.strongestFlow = graph.m ? flowOf(graph, 0) : 0;
  graph.targetOf = new Map(graph.targets.map((target) => [target.row, target]));
  graph.cardOf = new Map((graph.cards?.list ?? []).map((card) => [card.layer + "/" + card.feature, card]));
  if (graph.heads) {
    Object.assign(graph.heads, decodedColumns(graph.heads.columns));
    graph.heads.byEdge = listsByNode(graph.heads.edge, graph.m);
    graph.heads.byName = new Map();
    graph.heads.edge.forEach((_, i) => {
      const name = headName(graph.heads, i);
      if (!graph.heads.byName.has(name)) graph.heads.byName.set(name, []);
      graph.heads.byName.get(name).push(i);
    });
  }
  return graph;
}

// Whether a node is drawn as a box with its text: tokens and targets, not features and errors.
function isBox(graph, row) {
  return graph.kind[row] === KIND.EMBEDDING || graph.kind[row] === KIND.LOGIT;
}

// Signed part of what goes into the edge's target.
function shareOf(graph, edge) {
  const whole = graph.total[graph.target[edge]];
  return whole > 0 ? graph.weight[edge] / whole : 0;
}

// Influence on the targets that flows along the edge.
function flowOf(graph, edge) {
  return Math.abs(graph.weight[edge]) * graph.passedOn[graph.target[edge]];
}

function edgesInto(graph, row) {
  return graph.into.list.subarray(graph.into.start[row], graph.into.start[row + 1]);
}

function edgesOutOf(graph, row) {
  return graph.outOf.list.subarray(graph.outOf.start[row], graph.outOf.start[row + 1]);
}

function edgeBetween(graph, source, target) {
  for (const edge of edgesInto(graph, target)) if (graph.source[edge] === source) return edge;
  return -1;
}

function cardFor(graph, row) {
  return graph.cardOf.get(graph.layer[row] + "/" + graph.feature[row]);
}

function headName(heads, i) {
  return "L" + heads.layer[i] + ".H" + heads.head[i];
}

// The attention heads that carry an edge: [{name, key, query, loading, share}], strongest first.
function headsOf(graph, edge) {
  const heads = graph.heads;
  if (!heads) return [];
  const found = [];
  for (const i of heads.byEdge.list.subarray(heads.byEdge.start[edge], heads.byEdge.start[edge + 1])) {
    found.push({
      name: headName(heads, i),
      key: heads.key[i],
      query: heads.query[i],
      loading: heads.loading[i],
      share: graph.weight[edge] ? heads.loading[i] / graph.weight[edge] : 0,
    });
  }
  return found.sort((a, b) => Math.abs(b.loading) - Math.abs(a.loading));
}
