// One graph on its canvases: what is shown, where the view is, when what is painted.
//
// Three canvases lie over each other: edges, nodes with labels, and what is lit up. Lighting up a
// node repaints the last alone. Many edges are drawn a part a frame, the strongest first; while the
// view of a large graph moves, the finished pictures are moved, and drawn again when it rests. While
// its nodes become more or fewer, they are laid out in one frame and painted in the next, and labels
// and all but the strongest edges are left for when it rests.

const SETTLE = 110;
const EDGES_A_FRAME = 2500;
const EDGES_WHILE_MOVING = 120;
const LARGE = 400;

class Plot {
  constructor(app, graph, host, index) {
    Object.assign(this, { app, graph, host, index });
    this.under = h("canvas.under", { "aria-hidden": "true" });
    this.base = h("canvas.base", { "aria-hidden": "true" });
    this.over = h("canvas.over", {
      tabindex: 0, role: "application",
      "aria-label": "Attribution graph of " + graph.prompt + ". Arrow keys go from node to node.",
    });
    host.append(this.under, this.base, this.over);
    graph.strongestToken = graph.tokenInfluence;
    this.selected = -1;
    this.hovered = -1;
    this.pinned = new Set(graph.pins);
    this.groups = graph.groups.map((group) => ({ name: group.name, rows: new Set(group.rows) }));
    this.forced = new Set(this.pinned);
    this.route = null;
    this.head = null;
    this.matches = null;
    this.labels = [];
    this.threshold = startingThreshold(graph, host.clientWidth < 700 ? 30 : 64);
    this.edgePower = null;
    listenToPointer(this);
    new ResizeObserver(() => this.resize()).observe(host);
    this.resize();
  }

  // -- what is shown
  isVisible(row) {
    return isBox(this.graph, row) || this.forced.has(row) || this.graph.cumulative[row] <= this.threshold + 1e-9;
  }

  // Where everything stands, laid out when it is first asked for after `isDue` was set.
  get place() {
    if (this.isDue && !this.isUnpainted) this.relayout();
    return this.laidOut;
  }

  relayout() {
    const { graph } = this, { source, target } = graph;
    this.isDue = false;
    this.isUnpainted = true;
    const rows = [];
    for (let row = 0; row < graph.n; row++) if (this.isVisible(row)) rows.push(row);
    const place = layOut(graph, rows, { width: this.width, height: this.height });
    const { shown } = place, between = (this.between ??= new Uint32Array(graph.m));
    let count = 0;
    for (let edge = 0; edge < graph.m; edge++) {
      if (shown[source[edge]] && shown[target[edge]]) between[count++] = edge;
    }
    this.laidOut = Object.assign(place, {
      nodes: rows.length, inner: rows.filter((row) => !isBox(graph, row)).length,
      between: between.subarray(0, count), strongest: (count && flowOf(graph, between[0])) || 1e-30,
    });
    this.fit();
    this.paint();
  }

  // The slider goes by powers from one edge to all; untouched, it stands at two or three a node.
  get edgeLimit() {
    const { between, nodes } = this.place, all = Math.max(between.length, 1);
    const usual = Math.min(all, Math.max(40, Math.min(2.5 * nodes, 2500)));
    return Math.round(this.edgePower === null ? usual : Math.pow(all, this.edgePower));
  }

  get power() {
    const all = this.place.between.length;
    return all > 1 ? Math.log(Math.max(this.edgeLimit, 1)) / Math.log(all) : 1;
  }

  reveal(rows) {
    let changed = false;
    for (const row of rows) {
      if (this.isVisible(row)) continue;
      this.forced.add(row);
      changed = true;
    }
    if (changed) this.relayout();
  }

  isOwn(row) {
    return this.graph.counterpart ? this.graph.counterpart[row] < 0 : false;
  }

  // -- view
  sx(x) { return x * this.k + this.tx; }
  sy(y) { return y * this.k + this.ty; }
  get markScale() { return Math.min(1.5, Math.max(0.4, Math.sqrt(this.k * this.place.density))); }

  top(row) {
    return this.sy(this.place.y[row]) - (isBox(this.graph, row) ? BOX / 2 : this.place.half[row] * this.markScale);
  }

  // Half the width of a token's or target's box: tokens widen as one zooms in, up to their words.
  boxHalf(row) {
    const half = this.place.half[row];
    if (this.graph.kind[row] === KIND.LOGIT) return half;
    if (this.place.turned) return Math.min(half * this.k, 8);
    const words = widthOf(this.graph.tokens[this.graph.position[row]], BOX_SIZE) / 2 + 8;
    return Math.max(half * Math.min(this.k, 1), Math.min(half * this.k, words));
  }

  bottom(row) {
    return this.sy(this.place.y[row]) + (isBox(this.graph, row) ? BOX / 2 : this.place.half[row] * this.markScale);
  }

  fit() {
    this.k = 1;
    this.tx = this.ty = 0;
    this.host.classList.remove("zoomed");
  }

  // The zoom, and the place of the graph in the middle of the view as parts of its width and height:
  // the same part of the graph in a window of any size.
  get framing() {
    return [this.k, (this.width / 2 - this.tx) / (this.k * this.width), (this.height / 2 - this.ty) / (this.k * this.height)];
  }

  set framing([k, x, y]) {
    this.k = k;
    this.tx = this.width / 2 - x * k * this.width;
    this.ty = this.height / 2 - y * k * this.height;
    this.host.classList.toggle("zoomed", k > 1.01);
    this.paint();
  }

  // On a narrow screen the page is longer than the window: one finger, or the wheel, scrolls it as
  // long as the whole graph is in view.
  get scrollsPage() {
    return document.body.classList.contains("stacked") && !this.host.classList.contains("zoomed");
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const k = Math.min(40, Math.max(0.7, this.k * factor));
    this.tx = x - ((x - this.tx) * k) / this.k;
    this.ty = y - ((y - this.ty) * k) / this.k;
    this.k = k;
    this.host.classList.toggle("zoomed", k > 1.01);
    this.moved();
  }

  pan(dx, dy) {
    const left = 80 - this.place.width * this.k, up = 80 - this.place.height * this.k;
    this.tx = Math.min(this.width - 80, Math.max(left, this.tx + dx));
    this.ty = Math.min(this.height - 80, Math.max(up, this.ty + dy));
    this.moved();
  }

  moved() {
    this.moving = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.moving = false;
      this.paint();
    }, SETTLE);
    this.paint();
  }

  centreOn(row) {
    const x = this.sx(this.place.x[row]), y = this.sy(this.place.y[row]);
    const dx = Math.max(0, GUTTER - x) + Math.min(0, this.width - 16 - x);
    const dy = Math.max(0, 16 - y) + Math.min(0, this.height - 16 - y);
    if (!dx && !dy) return;
    this.tx += dx + 60 * Math.sign(dx);
    this.ty += dy + 40 * Math.sign(dy);
    this.paint();
  }

  // -- painting
  resize() {
    const box = this.host.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const framing = this.place && this.framing;
    this.width = Math.round(box.width);
    this.height = Math.round(box.height);
    const density = window.devicePixelRatio || 1;
    for (const canvas of [this.under, this.base, this.over]) {
      canvas.width = Math.round(this.width * density);
      canvas.height = Math.round(this.height * density);
    }
    this.recolor();
    this.relayout();
    if (framing) this.framing = framing;
  }

  recolor() {
    this.colors = themeColors();
    if (this.place) this.paint();
  }

  paint() {
    this.stale = true;
    this.paintOver();
  }

  paintOver() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.waiting = 0;
    const wasDue = this.isDue && !this.isUnpainted;
    if (this.isLight && wasDue) return; // laid out just now
    if (this.stale && this.isLight && this.painted?.place === this.place) this.shift();
    else if (this.stale) this.repaint();
    else if (this.edgesLeft < this.edgeLimit && !this.moving) this.paintMoreEdges();
    const lit = this.lit();
    this.under.style.opacity = this.base.style.opacity = lit ? "0.3" : "1";
    paintOverlay(this, this.pen(this.over), lit);
    this.app.painted(this);
    this.isUnpainted = false;
  }

  // A large graph that moves: what takes long is left for when it rests.
  get isLight() {
    return this.moving && this.place.nodes + this.edgeLimit > LARGE;
  }

  repaint() {
    const { place, k, tx, ty, isLight } = this; // `place` first: laying out changes the others
    this.stale = false;
    this.painted = { place, k, tx, ty };
    this.under.style.transform = this.base.style.transform = "";
    paintGround(this, this.pen(this.under));
    this.edgesLeft = 0;
    this.paintMoreEdges(!isLight);
    paintNodes(this, this.pen(this.base), !isLight);
  }

  paintMoreEdges(isWhole = true) {
    const end = Math.min(this.edgesLeft + (isWhole ? EDGES_A_FRAME : EDGES_WHILE_MOVING), this.edgeLimit);
    paintEdges(this, new CanvasPen(this.under.getContext("2d")), this.edgesLeft, end, isWhole);
    this.edgesLeft = end;
    if (isWhole && end < this.edgeLimit) this.paintOver();
  }

  // The finished pictures, moved to where the view is now.
  shift() {
    const scale = this.k / this.painted.k;
    const x = this.tx - this.painted.tx * scale, y = this.ty - this.painted.ty * scale;
    const transform = "translate(" + x + "px," + y + "px) scale(" + scale + ")";
    this.under.style.transform = this.base.style.transform = transform;
  }

  pen(canvas) {
    const context = canvas.getContext("2d");
    const density = window.devicePixelRatio || 1;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    return new CanvasPen(context);
  }

  lit() {
    if (this.hovered < 0 && this.route) return litRoute(this, this.route);
    if (this.hovered < 0 && this.head) return litHead(this, this.head);
    const row = this.hovered >= 0 ? this.hovered : this.selected;
    if (row >= 0) return litNode(this, row);
    return this.matches ? litMatches(this, this.matches) : null;
  }
}

// The share of influence at which so many features and errors are shown; all, if there are few more.
function startingThreshold(graph, most) {
  const { ranked, cumulative } = graph;
  if (ranked.length <= most * 1.4) return ranked.length ? cumulative[ranked[ranked.length - 1]] : 1;
  return cumulative[ranked[most - 1]];
}
