// The route diagram: pinned nodes and groups as boxes one can drag, from the tokens at which their
// routes begin to the targets at which they end. Before anything is pinned, the strongest routes.
//
// The diagram has its place from the start: a pin changes what it shows, and moves nothing else.

const SMALLEST = 0.75;
const DIAGRAM_EDGE = 5;
const STACKED = 4;

class Diagram {
  constructor(app) {
    this.app = app;
    this.drawer = byId("drawer");
    this.canvas = byId("diagram");
    this.scroll = this.canvas.parentElement;
    this.moved = new WeakMap();
    for (const plot of app.plots) this.moved.set(plot, takenPositions(plot, plot.graph.positions));
    // A finger on a box drags it; beside boxes it scrolls. (touch-action is not for parts of an SVG.)
    this.canvas.addEventListener("touchstart", (event) => event.target.closest(".box") && event.preventDefault(), { passive: false });
    byId("fold").addEventListener("click", () => this.fold());
    new ResizeObserver(() => {
      this.pane = null;
      this.draw();
    }).observe(this.scroll);
  }

  fold() {
    const isFolded = this.drawer.classList.toggle("folded");
    byId("fold").setAttribute("aria-expanded", String(!isFolded));
  }

  draw() {
    const plot = this.app.active;
    this.layOut(plot);
    const focused = document.activeElement?.dataset?.key;
    const lines = this.drawnEdges().map((edge) => this.line(edge));
    const boxes = this.nodes.map((node) => this.box(node));
    this.canvas.replaceChildren(...lines, ...this.shares().map((share) => this.shareText(share)), ...boxes);
    const { width, height } = this.size, edge = DIAGRAM_EDGE;
    this.canvas.setAttribute("width", (width + 2 * edge) * this.scale);
    this.canvas.setAttribute("height", (height + 2 * edge) * this.scale);
    this.canvas.setAttribute("viewBox", [-edge, -edge, width + 2 * edge, height + 2 * edge].join(" "));
    this.drawer.classList.toggle("preview", this.isPreview);
    byId("diagram-title").textContent = "Route diagram" + (this.app.plots.length > 1 ? " of graph " + "AB"[plot.index] : "");
    byId("diagram-hint").textContent = !this.nodes.length ? "Pin nodes to draw what goes between them."
      : this.isPreview ? "The strongest routes. Pin nodes to draw your own." : "";
    if (focused) boxes.find((box) => box.dataset.key === focused)?.focus({ preventScroll: true });
  }

  // Another selection: what is drawn stays, one box is marked.
  mark() {
    if (this.app.active !== this.plot) return this.draw();
    const boxes = this.canvas.querySelectorAll(".box");
    this.nodes.forEach((node, i) => boxes[i].classList.toggle("on", node.rows.includes(this.plot.selected)));
  }

  // What stands where, drawn or not: as large as the page has room for, else smaller, at last to be scrolled.
  layOut(plot) {
    this.plot = plot;
    this.isPreview = !plot.pinned.size;
    const pins = this.isPreview ? diagramNodes(plot, previewRows(plot.graph)) : diagramNodes(plot);
    Object.assign(this, withEnds(plot.graph, pins));
    // Asked for once a size: asking makes the browser lay the page out.
    this.pane ??= {
      width: Math.max(280, this.scroll.clientWidth - 2 * DIAGRAM_EDGE - 1),
      height: Math.max(120, this.scroll.clientHeight - 2 * DIAGRAM_EDGE - 1),
    };
    const room = this.pane;
    const needed = putBoxes(this.nodes, this.edges, room);
    this.scale = Math.max(SMALLEST, Math.min(1, room.width / needed.width, room.height / needed.height));
    this.room = { width: room.width / this.scale, height: room.height / this.scale };
    this.size = this.scale < 1 ? putBoxes(this.nodes, this.edges, this.room) : needed;
    for (const node of this.nodes) {
      const corner = this.movedOf(plot).get(node.key);
      if (!corner) continue;
      this.putCorner(node, corner);
      this.size.width = Math.max(this.size.width, node.x + node.width / 2);
      this.size.height = Math.max(this.size.height, node.y + DIAGRAM_BOX / 2);
    }
  }

  // Where users put boxes: upper left corners in thousandths of the drawing, by the boxes' keys.
  movedOf(plot) {
    return this.moved.get(plot);
  }

  cornerOf(node) {
    return [
      (1000 * (node.x - node.width / 2)) / this.room.width,
      (1000 * (node.y - DIAGRAM_BOX / 2)) / this.room.height,
    ];
  }

  putCorner(node, [x, y]) {
    node.x = (x * this.room.width) / 1000 + node.width / 2;
    node.y = (y * this.room.height) / 1000 + DIAGRAM_BOX / 2;
    node.isMoved = true;
  }

  curvesOf(edge) {
    return linkCurves(this.nodes[edge.source], this.nodes[edge.target], edge.bends);
  }

  // Strong ones on top.
  drawnEdges() {
    return this.edges.slice(0, 400).reverse();
  }

  shares() {
    return sharePlaces(this.nodes, this.edges, (edge) => this.curvesOf(edge));
  }

  strokeOf(edge) {
    if (edge.isIndirect) return { width: 1.5, alpha: 0.9, dash: [1.5, 4] };
    const width = edgeWidth(edge.share), alpha = 0.25 + 0.65 * Math.min(1, Math.abs(edge.share) * 3);
    return { width, alpha, dash: edge.share < 0 ? dashOf(width) : null };
  }

  line(edge) {
    const { width, alpha, dash } = this.strokeOf(edge);
    const words = edge.isIndirect ? "through nodes that are not pinned" : signedPercent(edge.share);
    return svg(edge.isIndirect ? "path.link.indirect" : edge.share < 0 ? "path.link.negative" : "path.link.positive", {
      d: linkData(this.curvesOf(edge)), "stroke-width": round2(width), "stroke-opacity": round2(alpha),
      "stroke-dasharray": dash && dash.map(round2).join(" "),
    }, svg("title", {}, this.nodes[edge.source].name + " \u2192 " + this.nodes[edge.target].name + ": " + words));
  }

  shareText({ edge, words, x, y }) {
    return svg(edge.share < 0 ? "text.link-share.negative" : "text.link-share.positive",
      { x: round2(x), y: round2(y), "text-anchor": "middle" }, words);
  }

  box(node) {
    const { app, plot } = this;
    const isOn = node.rows.includes(plot.selected);
    const classes = ["box", node.group ? "grouped" : KIND_WORDS[node.kind], isOn ? "on" : "", node.isEnd ? "end" : ""].filter(Boolean).join(" ");
    const element = svg("g", { class: classes, tabindex: 0, role: "button", "aria-label": node.name + (node.group ? ", group of " + node.rows.length : ""), "data-key": node.key, transform: "translate(" + round2(node.x) + " " + round2(node.y) + ")" },
      node.group ? svg("rect.stacked-under", { x: -node.width / 2 + STACKED, y: -DIAGRAM_BOX / 2 - STACKED, width: node.width, height: DIAGRAM_BOX, rx: 8 }) : null,
      svg("rect", { x: -node.width / 2, y: -DIAGRAM_BOX / 2, width: node.width, height: DIAGRAM_BOX, rx: 8 }),
      svg("text", { y: 4, "text-anchor": "middle" }, cutTo(node.name, 12, node.width - 18)),
      svg("title", {}, node.rows.map((row) => plot.graph.name[row] + " " + titleOf(plot.graph, row)).join("\n")));
    element.addEventListener("pointerdown", (event) => this.drag(event, element, node));
    element.addEventListener("keydown", (event) => this.key(event, node));
    return element;
  }

  // Enter and Space select, Shift with an arrow moves.
  key(event, node) {
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (event.key === "Enter" || event.key === " ") this.app.select(this.plot, node.rows[0], true);
    else if (step && event.shiftKey) this.moveTo(node, node.x + step[0], node.y + step[1]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveTo(node, x, y) {
    node.x = Math.max(node.width / 2, x);
    node.y = Math.max(DIAGRAM_BOX / 2, y);
    this.movedOf(this.plot).set(node.key, this.cornerOf(node));
    this.draw();
  }

  // A box that was dropped on another: both are one group, where the other stood.
  join(node, under) {
    const moved = this.movedOf(this.plot), rows = [...under.rows, ...node.rows].sort((a, b) => a - b);
    if (moved.has(under.key)) moved.set(rows.join(" "), moved.get(under.key));
    this.app.group(this.plot, rows, under.group ? under.name : node.group ? node.name : "");
  }

  drag(event, element, node) {
    if (event.button) return;
    event.preventDefault();
    element.focus({ preventScroll: true });
    const { scale } = this, start = [event.clientX, event.clientY], from = [node.x, node.y];
    let far = false;
    element.setPointerCapture(event.pointerId);
    const move = (next) => {
      if (next.pointerId !== event.pointerId) return;
      far = far || Math.hypot(next.clientX - start[0], next.clientY - start[1]) > 4;
      if (!far) return;
      node.isMoved = true;
      node.x = Math.min(this.size.width - node.width / 2, Math.max(node.width / 2, from[0] + (next.clientX - start[0]) / scale));
      node.y = Math.max(DIAGRAM_BOX / 2, from[1] + (next.clientY - start[1]) / scale);
      element.setAttribute("transform", "translate(" + round2(node.x) + " " + round2(node.y) + ")");
      const lines = this.canvas.querySelectorAll("path.link");
      this.drawnEdges().forEach((edge, i) => {
        if (this.nodes[edge.source] === node || this.nodes[edge.target] === node) {
          lines[i].setAttribute("d", linkData(this.curvesOf(edge)));
        }
      });
    };
    const dragging = new AbortController(), { signal } = dragging;
    const up = (last) => {
      if (last.pointerId !== event.pointerId) return;
      dragging.abort();
      if (!far) return this.app.select(this.plot, node.rows[0], true);
      const under = this.nodes.find((one) => one !== node && Math.abs(one.x - node.x) < one.width / 2 && Math.abs(one.y - node.y) < DIAGRAM_BOX / 2);
      if (under && !under.isEnd && !node.isEnd && !this.isPreview) return this.join(node, under);
      this.moveTo(node, node.x, node.y);
    };
    element.addEventListener("pointermove", move, { signal });
    element.addEventListener("pointerup", up, { signal });
    element.addEventListener("pointercancel", () => { dragging.abort(); this.draw(); }, { signal });
  }
}
