// Edges of the route diagram as curves from box to box, and the places of the shares on them.

const MOST_SHARES = 40;
const SAMPLES = 14;
const CELL = 8;
const CELLS_ACROSS = 1 << 16;

// Bezier segments of eight numbers each. Boxes that users moved have left their column, and with it the bends.
function linkCurves(from, to, bends) {
  const points = [[from.x + from.width / 2, from.y]];
  if (!from.isMoved && !to.isMoved) for (const { left, right, y } of bends) points.push([left, y], [right, y]);
  points.push([to.x - to.width / 2, to.y]);
  return points.slice(1).map(([x1, y1], i) => {
    const [x0, y0] = points[i], pull = Math.max(18, 0.45 * Math.abs(x1 - x0));
    return [x0, y0, x0 + pull, y0, x1 - pull, y1, x1, y1];
  });
}

function linkData(curves) {
  return curves.map(bezierData).join("");
}

function pointsOn(curves) {
  return curves.flatMap(([x0, y0, x1, y1, x2, y2, x3, y3]) =>
    Array.from({ length: SAMPLES }, (_, i) => {
      const t = (i + 0.5) / SAMPLES, s = 1 - t;
      return [
        s * s * s * x0 + 3 * s * s * t * x1 + 3 * s * t * t * x2 + t * t * t * x3,
        s * s * s * y0 + 3 * s * s * t * y1 + 3 * s * t * t * y2 + t * t * t * y3,
      ];
    }));
}

// Which edges pass through which part of the drawing.
class Passing {
  constructor() {
    this.cells = new Map();
  }
  add(edge, points) {
    for (const [x, y] of points) {
      const key = Math.floor(x / CELL) + CELLS_ACROSS * Math.floor(y / CELL), cell = this.cells.get(key);
      if (!cell) this.cells.set(key, [edge]);
      else if (cell[cell.length - 1] !== edge) cell.push(edge);
    }
  }
  others(edge, x0, y0, x1, y1) {
    const found = new Set();
    for (let x = Math.floor(x0 / CELL); x <= Math.floor(x1 / CELL); x++) {
      for (let y = Math.floor(y0 / CELL); y <= Math.floor(y1 / CELL); y++) {
        const cell = this.cells.get(x + CELLS_ACROSS * y);
        if (cell) for (const other of cell) found.add(other);
      }
    }
    found.delete(edge);
    return found.size;
  }
}

// Shares on the strongest edges, each on its own edge where nothing else stands and the fewest other
// edges pass; none where no such place is left.
function sharePlaces(nodes, edges, curvesOf) {
  const rooms = new Rooms(), passing = new Passing(), places = [];
  for (const node of nodes) {
    rooms.take(node.x - node.width / 2 - 2, node.y - DIAGRAM_BOX / 2 - 2, node.x + node.width / 2 + 2, node.y + DIAGRAM_BOX / 2 + 2);
  }
  const drawn = edges.slice(0, 3 * MOST_SHARES).map((edge) => [edge, pointsOn(curvesOf(edge))]);
  for (const [edge, points] of drawn) passing.add(edge, points);
  for (const [edge, points] of drawn.slice(0, MOST_SHARES)) {
    if (edge.isIndirect) continue;
    const words = signedPercent(edge.share), half = widthOf(words, 11, true) / 2 + 2, middle = (points.length - 1) / 2;
    let best = null, fewest = Infinity;
    const nearest = points.map((point, i) => [point, Math.abs(i - middle)]).sort((a, b) => a[1] - b[1]);
    for (const [[x, y]] of nearest) {
      if (!rooms.isFree(x - half, y - 8, x + half, y + 8)) continue;
      const others = passing.others(edge, x - half, y - 6, x + half, y + 6);
      if (others < fewest) [best, fewest] = [[x, y], others];
      if (!others) break;
    }
    if (!best) continue;
    const [x, y] = best;
    rooms.take(x - half, y - 8, x + half, y + 8);
    places.push({ edge, words, x, y: y + 4, half });
  }
  return places;
}
