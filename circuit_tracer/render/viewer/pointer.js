// The pointer: what is under it, dragging the view, clicks that select and pin, the wheel that zooms.

const NEAR = 13;

// The node at a place of the plot, by its mark or its label; -1 for none.
function nodeAt(plot, x, y) {
  const { graph, place } = plot;
  let best = -1, least = NEAR;
  for (let row = 0; row < graph.n; row++) {
    if (!place.shown[row]) continue;
    const dx = Math.abs(plot.sx(place.x[row]) - x);
    const kind = graph.kind[row];
    if (kind === KIND.EMBEDDING || kind === KIND.LOGIT) {
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

function listenToPointer(plot) {
  const canvas = plot.over;
  let drag = null;
  const local = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    plot.app.activate(plot);
    const [x, y] = local(event);
    drag = { x, y, far: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = local(event);
    if (drag && (drag.far || Math.hypot(x - drag.x, y - drag.y) > 4)) {
      drag.far = true;
      plot.pan(x - drag.x, y - drag.y);
      [drag.x, drag.y] = [x, y];
      return;
    }
    plot.app.hover(plot, nodeAt(plot, x, y), event);
  });
  canvas.addEventListener("pointerup", (event) => {
    const [x, y] = local(event);
    const click = drag && !drag.far;
    drag = null;
    if (!click) return;
    const row = nodeAt(plot, x, y);
    if (event.shiftKey && row >= 0) plot.app.togglePin(plot, row);
    else plot.app.select(plot, row);
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => plot.app.hover(plot, -1, null));
  canvas.addEventListener("dblclick", (event) => {
    const row = nodeAt(plot, ...local(event));
    if (row >= 0) {
      plot.app.select(plot, row, true); // the second click let it go
      plot.app.togglePin(plot, row);
    } else {
      plot.fit();
      plot.paint();
    }
  });
  canvas.addEventListener("wheel", (event) => {
    if (document.body.classList.contains("stacked") && !event.ctrlKey) return;
    event.preventDefault();
    plot.zoom(Math.exp(-event.deltaY * 0.0016), ...local(event));
  }, { passive: false });
}
