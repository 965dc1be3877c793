// `sg_pos`: where the boxes of the route diagram stand, as Anthropic's viewer and Neuronpedia write
// and read it (anthropics/attribution-graphs-frontend, attribution_graph/init-cg-subgraph.js,
// `_exportSubgraphPos` and `dagrefy`): "x y x y ...", the upper left corner of each box in
// thousandths of the drawing's width and height, whole numbers.
//
// Their order is an odd one, and kept: pins in no group by layer (targets and then tokens last),
// then groups; all that sorted by the characters of the `feature` numbers of a box's nodes, each
// box's characters sorted first and joined by commas.

const FARTHEST = 4000;

// A node's `feature` in the exchange form: two numbers as one for features (Cantor's pairing).
function exchangeFeature(graph, row) {
  const kind = graph.kind[row], layer = graph.layer[row], feature = graph.feature[row];
  if (kind === KIND.FEATURE) return ((layer + feature) * (layer + feature + 1)) / 2 + feature;
  if (kind === KIND.EMBEDDING) return graph.position[row];
  return kind === KIND.LOGIT ? graph.targetOf.get(row).vocabularyId : feature;
}

// The boxes in that order.
function inTheirOrder(graph, boxes) {
  const key = (box) =>
    Array.from(box.rows.map((row) => exchangeFeature(graph, row)).join(" ")).sort().join();
  const level = (box) => {
    if (box.group) return graph.nLayers + 2;
    const kind = graph.kind[box.rows[0]];
    return kind === KIND.EMBEDDING ? graph.nLayers + 1 : kind === KIND.LOGIT ? graph.nLayers : graph.layer[box.rows[0]];
  };
  const keyed = boxes.map((box) => ({ box, key: key(box), level: level(box) }));
  keyed.sort((a, b) => a.level - b.level || (a.box.group ? 0 : a.box.rows[0] - b.box.rows[0]));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map(({ box }) => box);
}

// The corners of all boxes; nothing where none was moved.
function positionsText(diagram, plot) {
  if (!diagramNodes(plot).some((box) => diagram.movedOf(plot).has(box.key))) return "";
  diagram.layOut(plot);
  return inTheirOrder(plot.graph, diagram.nodes.filter((box) => !box.isEnd)).flatMap((box) => diagram.cornerOf(box).map(Math.round)).join(" ");
}

// Each box's corner by its key; none where the text is not one pair a box.
function takenPositions(plot, text) {
  const boxes = inTheirOrder(plot.graph, diagramNodes(plot)), found = new Map();
  const figures = typeof text === "string" && text.trim() ? text.trim().split(/\s+/).map(Number) : [];
  if (figures.length !== 2 * boxes.length || !figures.every((one) => Math.abs(one) <= FARTHEST)) return found;
  boxes.forEach((box, i) => found.set(box.key, figures.slice(2 * i, 2 * i + 2).map((one) => Math.max(0, one))));
  return found;
}
