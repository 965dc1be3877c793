// What the plot looks like: stripes, edges, marks, labels, and on top what is lit up.
//
// Only what is in view is drawn: edges strongest first and no more than asked for.

const EDGE_STEPS = 4;

function dashOf(width) {
  return [4 + width, 2.5 + 0.5 * width];
}

function edgeWidth(share) {
  return 0.7 + 4 * Math.min(Math.abs(share), 1);
}

function paintNodes(plot, pen, isLabelled = true) {
  const rooms = isLabelled ? new Rooms() : null;
  paintMarks(plot, pen, rooms);
  plot.labels = isLabelled ? paintLabels(plot, pen, rooms) : [];
  paintAxes(plot, pen);
}

function paintGround(plot, pen) {
  const { place, width, height, colors } = plot;
  pen.box(0, 0, width, height, { fill: colors.paper });
  place.bands.forEach((band, i) => {
    if (i % 2) return;
    pen.box(0, plot.sy(band.top), width, (band.bottom - band.top) * plot.k, { fill: colors.stripe });
  });
  const rules = [];
  for (const column of place.columns.slice(1)) {
    const x = plot.sx(column.left);
    if (x > 0 && x < width) rules.push(x, Math.max(0, plot.sy(place.head)), x, Math.min(height, plot.sy(place.floor)));
  }
  if (place.columns.length * 12 < width) pen.lines(rules, { stroke: colors.rule, width: 0.7, dash: [1, 3] });
}

// Some of the edges, in a few steps of width and strength, one path a step: strong ones on top. While the
// view moves in one step, since each path takes time.
function paintEdges(plot, pen, first, end, isWhole = true) {
  const { graph, place, colors } = plot;
  const steps = new Map();
  const thin = Math.min(1, Math.pow(1500 / Math.max(plot.edgeLimit, 1), 0.4));
  for (let i = first; i < Math.min(end, place.between.length); i++) {
    const edge = place.between[i], source = graph.source[edge], target = graph.target[edge];
    const x0 = plot.sx(place.x[source]), x1 = plot.sx(place.x[target]);
    const y0 = plot.top(source), y1 = plot.bottom(target);
    if (Math.max(x0, x1) < 0 || Math.min(x0, x1) > plot.width || y1 > plot.height || y0 < 0) continue;
    const strength = Math.pow(flowOf(graph, edge) / place.strongest, 0.6);
    const level = Math.min(EDGE_STEPS - 1, Math.floor(strength * EDGE_STEPS));
    const share = Math.min(EDGE_STEPS - 1, Math.floor(Math.abs(shareOf(graph, edge)) * 2 * EDGE_STEPS));
    const key = (isWhole ? level * EDGE_STEPS + share : 2 * EDGE_STEPS) * 2 + (graph.weight[edge] < 0 ? 1 : 0);
    let points = steps.get(key);
    if (!points) steps.set(key, (points = []));
    points.push(x0, y0, x1, y1);
  }
  for (const key of [...steps.keys()].sort((a, b) => a - b)) {
    const negative = key & 1, share = (key >> 1) % EDGE_STEPS, level = (key >> 1) / EDGE_STEPS | 0;
    const width = edgeWidth((share + 0.5) / (2 * EDGE_STEPS));
    pen.curves(steps.get(key), {
      stroke: negative ? colors.negative : colors.positive,
      width, alpha: (0.16 + 0.6 * ((level + 0.5) / EDGE_STEPS)) * thin,
      dash: negative && isWhole ? dashOf(width) : null,
    });
  }
}

function markSize(plot, row) {
  return plot.place.half[row] * plot.markScale;
}

// Discs, diamonds and boxes of the given rows (all that are shown, by default); without rooms for
// labels a sketch of them.
function paintMarks(plot, pen, rooms, rows = null) {
  const { graph, place, colors } = plot;
  const groups = { full: [], hollow: [], own: [], diamonds: [] };
  const put = (row) => {
    if (!place.shown[row]) return;
    const x = plot.sx(place.x[row]), y = plot.sy(place.y[row]);
    if (x < -200 || x > plot.width + 200 || y < -40 || y > plot.height + 40) return;
    if (isBox(graph, row)) return paintBox(plot, pen, row, rooms);
    const r = markSize(plot, row);
    if (rooms) rooms.take(x - r - 1, y - r - 1, x + r + 1, y + r + 1);
    const group = graph.kind[row] === KIND.ERROR ? "diamonds" : plot.isOwn(row) ? "own" : graph.expanded[row] ? "full" : "hollow";
    groups[group].push(x, y, r);
  };
  if (rows) rows.forEach(put);
  else for (let row = 0; row < graph.n; row++) put(row);
  if (!rooms) {
    pen.squares(groups.diamonds, colors.error);
    for (const group of ["hollow", "own", "full"]) pen.squares(groups[group], colors.feature);
    return;
  }
  const edge = { stroke: colors.featureEdge, width: 1 };
  pen.diamonds(groups.diamonds, { fill: colors.error, stroke: colors.errorEdge, width: 1 });
  pen.discs(groups.hollow, { fill: colors.paper, stroke: colors.featureEdge, width: 1.6 });
  pen.discs(groups.full, { fill: colors.feature, ...edge });
  pen.discs(groups.own, { fill: colors.paper, ...edge });
  pen.halves(groups.own, plot.index === 1, { fill: colors.feature });
}

function paintBox(plot, pen, row, rooms) {
  const { graph, place, colors } = plot;
  const isTarget = graph.kind[row] === KIND.LOGIT;
  const half = plot.boxHalf(row);
  const x = plot.sx(place.x[row]), y = plot.sy(place.y[row]);
  const high = place.turned && !isTarget ? 12 : BOX;
  const top = plot.top(row);
  if (rooms) rooms.take(x - half - 2, top - 2, x + half + 2, top + high + 2);
  if (isTarget) {
    pen.box(x - half, top, 2 * half, high, { fill: colors.target, radius: 5 });
    const words = cutTo(targetText(graph, graph.targetOf.get(row)), BOX_SIZE, 2 * half - 10);
    pen.text(words, x, top + 16.5, { size: BOX_SIZE, bold: true, fill: colors.targetInk, align: "center" });
    return;
  }
  const shade = Math.sqrt(graph.strongestToken > 0 ? graph.influence[row] / graph.strongestToken : 0);
  if (place.turned && !rooms) return pen.box(x - half, top, 2 * half, high, { fill: colors.token, alpha: TOKEN_LEAST + (1 - TOKEN_LEAST) * shade });
  pen.box(x - half, top, 2 * half, high, { fill: colors.paper, radius: 4 });
  pen.box(x - half, top, 2 * half, high, { fill: colors.token, alpha: TOKEN_LEAST + (1 - TOKEN_LEAST) * shade, radius: 4 });
  pen.box(x - half, top, 2 * half, high, { stroke: colors.tokenEdge, width: 1, radius: 4 });
  const token = graph.tokens[graph.position[row]];
  if (place.turned) {
    if (spelledOut(plot).has(graph.position[row])) {
      const words = cutTo(token, 11, 58);
      pen.text(words, x + 4, top + 18, { size: 11, fill: colors.ink, align: "right", turn: -90 });
    }
    return;
  }
  const words = cutTo(token, BOX_SIZE, 2 * half - 6);
  pen.text(words, x, top + 16.5, { size: BOX_SIZE, fill: colors.tokenInk(shade), align: "center" });
}

// Layers at the left and, where the tokens are out of view, their words at the bottom.
function paintAxes(plot, pen) {
  const { place, colors, height, width, graph } = plot;
  let last = Infinity;
  pen.box(0, 0, GUTTER - 8, height, { fill: colors.paper, alpha: 0.78 });
  for (const band of place.bands) {
    const y = plot.sy(band.middle);
    if (y < 8 || y > height - 8 || Math.abs(last - y) < 13) continue;
    last = y;
    pen.text("L" + band.layer, 6, y + 4, { size: 11, fill: colors.quiet });
  }
  if (plot.sy(place.floor) < height - 20) return;
  pen.box(0, height - 20, width, 20, { fill: colors.paper, alpha: 0.94 });
  let end = -Infinity;
  for (const column of place.columns) {
    const x = plot.sx(column.centre);
    const words = cutTo(graph.tokens[column.position], 11, Math.max(24, (column.right - column.left) * plot.k));
    const half = widthOf(words, 11) / 2;
    if (x - half < end + 6 || x + half < 0 || x - half > width) continue;
    end = x + half;
    pen.text(words, x, height - 6, { size: 11, fill: colors.ink, align: "center" });
  }
}

// What is lit up: edges in full strength, their ends ringed, the strongest with their shares.
function paintLit(plot, pen, lit) {
  const { graph, place, colors } = plot;
  for (const edge of lit.edges) {
    const source = graph.source[edge], target = graph.target[edge];
    if (!place.shown[source] || !place.shown[target]) continue;
    const negative = graph.weight[edge] < 0, width = edgeWidth(shareOf(graph, edge)) + (lit.bold ? 1.2 : 0.3);
    pen.curves(
      [plot.sx(place.x[source]), plot.top(source), plot.sx(place.x[target]), plot.bottom(target)],
      { stroke: negative ? colors.negative : colors.positive, width, alpha: 0.9, dash: negative ? dashOf(width) : null },
    );
  }
  const rows = [...lit.rows];
  const rooms = new Rooms();
  for (const row of lit.strong) ring(plot, pen, row, colors.accent, 3);
  paintMarks(plot, pen, rooms, rows);
  const ranked = rows.sort((a, b) => (lit.strong.has(b) - lit.strong.has(a)) || Math.abs(lit.badges.get(b) ?? 0) - Math.abs(lit.badges.get(a) ?? 0));
  for (const row of ranked) litWords(plot, pen, rooms, row, lit);
}

function litWords(plot, pen, rooms, row, lit) {
  const { graph, place, colors } = plot;
  const kind = graph.kind[row], badge = lit.badges.get(row);
  const x = plot.sx(place.x[row]), y = plot.sy(place.y[row]);
  const share = badge === undefined ? "" : lit.unsigned ? percent(badge) : signedPercent(badge);
  const words = isBox(graph, row) ? "" : cutTo(calledOf(graph, row), LABEL_SIZE, 170);
  const gap = share && words ? 5 : 0;
  const width = widthOf(share, LABEL_SIZE, true) + gap + widthOf(words, LABEL_SIZE);
  if (!width) return;
  const away = markSize(plot, row) + (lit.strong.has(row) ? 8 : 5);
  const spots = isBox(graph, row)
    ? [[x - width / 2, kind === KIND.LOGIT ? plot.bottom(row) + 9 : plot.top(row) - 9]]
    : [[x + away, y], [x - away - width, y]];
  for (const [left, middle] of spots) {
    if (left < 0 || left + width > plot.width || !rooms.isFree(left, middle - 6, left + width, middle + 6)) continue;
    rooms.take(left - 2, middle - 6, left + width + 2, middle + 6);
    pen.box(left - 3, middle - 8, width + 6, 16, { fill: colors.paper, alpha: 0.9, radius: 4 });
    const color = badge < 0 ? colors.negativeInk : colors.positiveInk;
    if (share) pen.text(share, left, middle + 3.8, { size: LABEL_SIZE, bold: true, fill: color });
    if (words) {
      const from = left + width - widthOf(words, LABEL_SIZE);
      pen.text(words, from, middle + 3.8, { size: LABEL_SIZE, fill: colors.ink });
    }
    return;
  }
}

function ring(plot, pen, row, color, gap) {
  const { graph, place } = plot;
  const x = plot.sx(place.x[row]), y = plot.sy(place.y[row]), kind = graph.kind[row];
  if (!place.shown[row]) return;
  if (isBox(graph, row)) {
    const half = plot.boxHalf(row), high = place.turned && kind === KIND.EMBEDDING ? 12 : BOX;
    pen.box(x - half - gap, plot.top(row) - gap, 2 * (half + gap), high + 2 * gap, { stroke: color, width: 2, radius: 7 });
  } else pen.discs([x, y, markSize(plot, row) + gap], { stroke: color, width: 2 });
}
