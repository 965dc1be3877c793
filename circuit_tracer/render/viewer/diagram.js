// The route diagram: pinned nodes and groups as boxes one can drag, with what goes between them.

const STEP = 46;
const DIAGRAM_BOX = 28;
const MOST_SHARES = 40;

class Diagram {
  constructor(app) {
    this.app = app;
    this.drawer = byId("drawer");
    this.canvas = byId("diagram");
    this.moved = new WeakMap();
    for (const plot of app.plots) this.moved.set(plot, takenPositions(plot, plot.graph.positions));
    // A finger on a box drags it; beside boxes it scrolls. (touch-action is not for parts of an SVG.)
    this.canvas.addEventListener("touchstart", (event) => event.target.closest(".box") && event.preventDefault(), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.drawer);
  }

  draw() {
    const plot = this.app.active;
    this.drawer.hidden = plot.pinned.size === 0;
    if (this.drawer.hidden) return;
    this.layOut(plot);
    const focused = document.activeElement?.dataset?.key;
    const lines = this.drawnEdges().map((edge) => this.line(edge));
    const labels = this.shareLabels();
    const boxes = this.nodes.map((node) => this.box(node));
    this.canvas.replaceChildren(...lines, ...labels, ...boxes);
    this.canvas.setAttribute("width", this.size.width);
    this.canvas.setAttribute("height", this.size.height);
    this.canvas.setAttribute("viewBox", "0 0 " + this.size.width + " " + this.size.height);
    byId("diagram-title").textContent = "Route diagram" + (this.app.plots.length > 1 ? " of graph " + "AB"[plot.index] : "");
    if (focused) boxes.find((box) => box.dataset.key === focused)?.focus();
  }

  // What stands where, drawn or not.
  layOut(plot) {
    this.plot = plot;
    this.nodes = diagramNodes(plot);
    this.edges = diagramEdges(plot.graph, this.nodes);
    this.room = { width: Math.max(280, this.drawer.clientWidth - 24), height: Math.max(120, this.drawer.clientHeight - 52) };
    this.put();
  }

  // Levels by layer from the bottom up; on a level from left to right by token, side by side.
  put() {
    const levels = [...new Set(this.nodes.map((node) => Math.round(node.layer * 2) / 2))].sort((a, b) => b - a);
    const fitting = (this.room.height - DIAGRAM_BOX - 10) / Math.max(levels.length - 1, 1);
    const gap = Math.min(Math.max(fitting, STEP), 110);
    const moved = this.movedOf(this.plot);
    let width = this.room.width;
    for (const node of this.nodes) node.width = Math.min(widthOf(node.name, 12, Boolean(node.group)) + 26, 220);
    levels.forEach((level, i) => {
      const here = this.nodes.filter((node) => Math.round(node.layer * 2) / 2 === level);
      here.sort((a, b) => a.position - b.position || a.rows[0] - b.rows[0]);
      const whole = here.reduce((sum, node) => sum + node.width + 16, -16);
      const last = Math.max(this.plot.graph.tokens.length - 1, 1);
      let end = 4;
      here.forEach((node, j) => {
        const left = here.slice(j).reduce((sum, one) => sum + one.width + 16, -16);
        const wanted = node.width / 2 + (node.position / last) * (this.room.width - node.width);
        node.x = Math.max(end + node.width / 2, Math.min(wanted, Math.max(this.room.width - left, 0) + node.width / 2 - 4));
        node.y = DIAGRAM_BOX / 2 + 4 + i * gap;
        end = node.x + node.width / 2 + 16;
      });
      width = Math.max(width, whole + 8);
    });
    for (const node of this.nodes) {
      const corner = moved.get(node.key);
      if (corner) this.putCorner(node, corner);
      width = Math.max(width, node.x + node.width / 2 + 4);
    }
    this.size = { width, height: Math.max(...this.nodes.map((node) => node.y)) + DIAGRAM_BOX / 2 + 6 };
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
  }

  curve(edge) {
    const from = this.nodes[edge.source], to = this.nodes[edge.target];
    const y0 = from.y - DIAGRAM_BOX / 2, y1 = to.y + DIAGRAM_BOX / 2;
    const pull = Math.max(14, Math.abs(y0 - y1) * 0.4);
    return [from.x, y0, from.x, y0 - pull, to.x, y1 + pull, to.x, y1];
  }

  // Strong ones on top.
  drawnEdges() {
    return this.edges.slice(0, 400).reverse();
  }

  strokeOf(edge) {
    const width = edgeWidth(edge.share), alpha = 0.25 + 0.65 * Math.min(1, Math.abs(edge.share) * 3);
    return { width, alpha, dash: edge.share < 0 ? dashOf(width) : null };
  }

  line(edge) {
    const { width, alpha, dash } = this.strokeOf(edge);
    return svg(edge.share < 0 ? "path.link.negative" : "path.link.positive", {
      d: bezierData(this.curve(edge)), "stroke-width": round2(width), "stroke-opacity": round2(alpha),
      "stroke-dasharray": dash && dash.map(round2).join(" "),
    }, svg("title", {}, this.nodes[edge.source].name + " \u2192 " + this.nodes[edge.target].name + ": " + signedPercent(edge.share)));
  }

  // Shares on the strongest edges, each where nothing else stands.
  shareLabels() {
    const rooms = new Rooms(), labels = [];
    for (const node of this.nodes) {
      rooms.take(node.x - node.width / 2, node.y - DIAGRAM_BOX / 2, node.x + node.width / 2, node.y + DIAGRAM_BOX / 2);
    }
    for (const edge of this.edges.slice(0, MOST_SHARES)) {
      const words = signedPercent(edge.share), half = widthOf(words, 11) / 2 + 2;
      const [x0, y0, x1, y1, x2, y2, x3, y3] = this.curve(edge);
      for (const t of [0.5, 0.62, 0.38, 0.74, 0.26]) {
        const s = 1 - t;
        const x = s * s * s * x0 + 3 * s * s * t * x1 + 3 * s * t * t * x2 + t * t * t * x3;
        const y = s * s * s * y0 + 3 * s * s * t * y1 + 3 * s * t * t * y2 + t * t * t * y3;
        if (!rooms.isFree(x - half, y - 7, x + half, y + 7)) continue;
        rooms.take(x - half, y - 7, x + half, y + 7);
        labels.push(svg(edge.share < 0 ? "text.link-share.negative" : "text.link-share.positive",
          { x: round2(x), y: round2(y + 4), "text-anchor": "middle" }, words));
        break;
      }
    }
    return labels;
  }

  box(node) {
    const { app, plot } = this;
    const isOn = node.rows.includes(plot.selected);
    const classes = ["box", node.group ? "grouped" : KIND_WORDS[node.kind], isOn ? "on" : ""].filter(Boolean).join(" ");
    const element = svg("g", { class: classes, tabindex: 0, role: "button", "aria-label": node.name + (node.group ? ", group of " + node.rows.length : ""), "data-key": node.key, transform: "translate(" + round2(node.x) + " " + round2(node.y) + ")" },
      node.group ? svg("rect.stacked-under", { x: -node.width / 2 + 4, y: -DIAGRAM_BOX / 2 - 4, width: node.width, height: DIAGRAM_BOX, rx: 8 }) : null,
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
    node.y = Math.max(DIAGRAM_BOX / 2 + 2, y);
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
    const scale = this.size.width / this.canvas.getBoundingClientRect().width;
    const start = [event.clientX, event.clientY], from = [node.x, node.y];
    let far = false;
    element.setPointerCapture(event.pointerId);
    const move = (next) => {
      if (next.pointerId !== event.pointerId) return;
      far = far || Math.hypot(next.clientX - start[0], next.clientY - start[1]) > 4;
      if (!far) return;
      node.x = Math.min(this.size.width - 10, Math.max(10, from[0] + (next.clientX - start[0]) * scale));
      node.y = Math.max(DIAGRAM_BOX / 2 + 2, from[1] + (next.clientY - start[1]) * scale);
      element.setAttribute("transform", "translate(" + round2(node.x) + " " + round2(node.y) + ")");
      const lines = this.canvas.querySelectorAll("path.link");
      this.drawnEdges().forEach((edge, i) => {
        if (this.nodes[edge.source] === node || this.nodes[edge.target] === node) {
          lines[i].setAttribute("d", bezierData(this.curve(edge)));
        }
      });
    };
    const end = () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", cancel);
    };
    const cancel = () => {
      end();
      this.draw();
    };
    const up = (last) => {
      if (last.pointerId !== event.pointerId) return;
      end();
      if (!far) return this.app.select(this.plot, node.rows[0], true);
      const under = this.nodes.find((one) => one !== node && Math.abs(one.x - node.x) < one.width / 2 && Math.abs(one.y - node.y) < DIAGRAM_BOX / 2);
      if (under) return this.join(node, under);
      this.moveTo(node, node.x, node.y);
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", cancel);
  }
}
