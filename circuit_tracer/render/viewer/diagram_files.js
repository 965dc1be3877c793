// The route diagram as a file, SVG or PNG: cut to what is drawn, in the colours of paper.

const FILE_EDGE = 3;
const PNG_SCALE = 3;

// What is drawn, from the outermost stroke on one side to that on the other.
function diagramExtent(diagram, shares) {
  const xs = [], ys = [];
  const take = (x, y, half, high) => {
    xs.push(x - half, x + half);
    ys.push(y - high, y + high);
  };
  for (const node of diagram.nodes) {
    take(node.x, node.y, node.width / 2 + 1, DIAGRAM_BOX / 2 + 1);
    if (node.group) take(node.x + STACKED, node.y - STACKED, node.width / 2 + 1, DIAGRAM_BOX / 2 + 1);
  }
  for (const edge of diagram.drawnEdges()) for (const [x, y] of pointsOn(diagram.curvesOf(edge))) take(x, y, 1, 1);
  for (const { x, y, half } of shares) take(x, y - 4, half, 8);
  if (!xs.length) return { x: 0, y: 0, width: 1, height: 1 };
  const x = Math.min(...xs) - FILE_EDGE, y = Math.min(...ys) - FILE_EDGE;
  return { x, y, width: Math.max(...xs) + FILE_EDGE - x, height: Math.max(...ys) + FILE_EDGE - y };
}

function paintDiagram(diagram, pen, colors, { x, y, width, height }, shares) {
  pen.box(x, y, width, height, { fill: colors.paper });
  for (const edge of diagram.drawnEdges()) {
    const stroke = edge.isIndirect ? colors.quiet : edge.share < 0 ? colors.negative : colors.positive;
    pen.path(linkData(diagram.curvesOf(edge)), { stroke, ...diagram.strokeOf(edge) });
  }
  for (const { edge, words, x, y } of shares) {
    pen.text(words, x, y, { size: 11, align: "center", bold: true, fill: edge.share < 0 ? colors.negativeInk : colors.positiveInk, halo: colors.paper });
  }
  for (const node of diagram.nodes) paintDiagramBox(pen, node, colors);
}

function paintDiagramBox(pen, node, colors) {
  const { x, y, width, kind, group } = node, left = x - width / 2, top = y - DIAGRAM_BOX / 2;
  const edge = { [KIND.EMBEDDING]: colors.tokenEdge, [KIND.ERROR]: colors.errorEdge, [KIND.FEATURE]: colors.featureEdge, [KIND.LOGIT]: colors.target }[kind];
  const outline = { stroke: edge, width: group ? 1.8 : 1, radius: 8, dash: kind === KIND.ERROR ? [3, 2] : null };
  const fill = { [KIND.EMBEDDING]: colors.token, [KIND.LOGIT]: colors.target }[kind] ?? colors.paper;
  if (group) pen.box(left + STACKED, top - STACKED, width, DIAGRAM_BOX, { ...outline, fill: colors.stripe });
  pen.box(left, top, width, DIAGRAM_BOX, { ...outline, fill });
  const ink = { [KIND.EMBEDDING]: colors.tokenInk(1), [KIND.LOGIT]: colors.targetInk }[kind] ?? colors.ink;
  pen.text(cutTo(node.name, 12, width - 18), x, y + 4, { size: 12, align: "center", bold: Boolean(group), fill: ink });
}

function diagramSvg(diagram, theme = null) {
  const pen = new SvgPen(), shares = diagram.shares(), extent = diagramExtent(diagram, shares);
  paintDiagram(diagram, pen, themeColors(theme), extent, shares);
  return svgDocument(extent.width, extent.height, pen.parts, "Route diagram: " + diagram.plot.graph.prompt, extent);
}

function diagramPng(diagram, theme, take) {
  const shares = diagram.shares(), extent = diagramExtent(diagram, shares);
  const canvas = h("canvas", { width: Math.ceil(extent.width * PNG_SCALE), height: Math.ceil(extent.height * PNG_SCALE) });
  const context = canvas.getContext("2d");
  context.setTransform(PNG_SCALE, 0, 0, PNG_SCALE, -extent.x * PNG_SCALE, -extent.y * PNG_SCALE);
  paintDiagram(diagram, new CanvasPen(context), themeColors(theme), extent, shares);
  canvas.toBlob(take, "image/png");
}
