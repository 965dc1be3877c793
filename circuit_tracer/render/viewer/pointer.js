// The pointer: what is under it, dragging the view, clicks that select and pin, the wheel that zooms,
// two fingers that zoom around their middle. A trackpad's pinch comes as a wheel with Ctrl.

const NEAR = 13;
const NEAR_FINGER = 22;
const STILL = { mouse: 4, pen: 6, touch: 9 };
const PINCH = 0.01;
const WHEEL = 0.0016;
const WHEEL_UNITS = [1, 16, 400];

// The node at a place of the plot, by its mark or its label; -1 for none.
function nodeAt(plot, x, y, near = NEAR) {
  const { graph, place } = plot;
  let best = -1, least = near;
  for (let row = 0; row < graph.n; row++) {
    if (!place.shown[row]) continue;
    const dx = Math.abs(plot.sx(place.x[row]) - x);
    const kind = graph.kind[row];
    if (isBox(graph, row)) {
      const half = plot.boxHalf(row);
      const foot = kind === KIND.EMBEDDING && place.turned ? 66 : 0;
      if (dx <= half + 1 && y >= plot.top(row) && y <= plot.bottom(row) + foot) return row;
      continue;
    }
    if (dx > least) continue;
    const distance = Math.hypot(dx, plot.sy(place.y[row]) - y) - place.half[row] * plot.markScale * 0.5;
    if (distance < least) [best, least] = [row, distance];
  }
  if (best >= 0) return best;
  const label = plot.labels.find((one) => x >= one.x - 3 && x <= one.x + one.width && Math.abs(y - one.y) < 8);
  return label ? label.row : -1;
}

// The fingers (or the mouse) on a plot: where each is, and since when it only drags.
class Fingers {
  constructor(plot) {
    this.plot = plot;
    this.at = new Map();
    this.far = false;
  }

  down(id, place) {
    if (!this.at.size) this.far = false;
    this.at.set(id, place);
    this.start = place;
    if (this.at.size > 1) this.far = true; // what was a pinch ends in no click
  }

  // Whether the view moved with it.
  move(id, place, still) {
    if (!this.at.has(id)) return false;
    this.far = this.far || Math.hypot(place[0] - this.start[0], place[1] - this.start[1]) > still;
    if (!this.far) return false;
    const before = this.span();
    this.at.set(id, place);
    const now = this.span();
    const isPages = this.at.size === 1 && still === STILL.touch && this.plot.scrollsPage;
    this.plot.pan(now.x - before.x, isPages ? 0 : now.y - before.y);
    if (before.apart > 0 && now.apart > 0) this.plot.zoom(now.apart / before.apart, now.x, now.y);
    return true;
  }

  // Whether that was a click; `false` while another finger is still down.
  up(id) {
    return this.at.delete(id) && !this.at.size && !this.far;
  }

  // The middle of the first two fingers and how far they are apart; 0 for one.
  span() {
    const [[x0, y0], [x1, y1]] = [...this.at.values(), ...this.at.values()];
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, apart: this.at.size > 1 ? Math.hypot(x1 - x0, y1 - y0) : 0 };
  }
}

function listenToPointer(plot) {
  const canvas = plot.over, fingers = new Fingers(plot);
  const local = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const near = (event) => (event.pointerType === "touch" ? NEAR_FINGER : NEAR);
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    plot.app.activate(plot);
    fingers.down(event.pointerId, local(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (fingers.move(event.pointerId, local(event), STILL[event.pointerType] ?? STILL.mouse)) return;
    if (event.pointerType !== "touch") plot.app.hover(plot, nodeAt(plot, ...local(event)), event);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!fingers.up(event.pointerId)) return;
    const row = nodeAt(plot, ...local(event), near(event));
    if (event.shiftKey && row >= 0) plot.app.togglePin(plot, row);
    else plot.app.select(plot, row);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.up(event.pointerId));
  canvas.addEventListener("pointerleave", () => plot.app.hover(plot, -1, null));
  // Where one finger scrolls the page, two are still the plot's.
  for (const kind of ["touchstart", "touchmove"]) {
    canvas.addEventListener(kind, (event) => event.touches.length > 1 && event.cancelable && event.preventDefault(), { passive: false });
  }
  canvas.addEventListener("dblclick", (event) => {
    const row = nodeAt(plot, ...local(event));
    if (row >= 0) {
      if (plot.selected !== row) plot.app.select(plot, row); // the second click let it go
      plot.app.togglePin(plot, row);
    } else {
      plot.fit();
      plot.paint();
    }
  });
  canvas.addEventListener("wheel", (event) => {
    if (plot.scrollsPage && !event.ctrlKey) return;
    event.preventDefault();
    const turned = event.deltaY * (WHEEL_UNITS[event.deltaMode] ?? 1);
    const by = event.ctrlKey ? PINCH * Math.min(40, Math.max(-40, turned)) : WHEEL * turned;
    plot.zoom(Math.exp(-by), ...local(event));
  }, { passive: false });
}
