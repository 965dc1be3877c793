// Where everything stands: tokens along x, layers up y. Pure arithmetic, no drawing.
//
// 1. Nodes of one token and layer are a cell. A column has so many slots side by side; a cell with
//    more nodes than slots goes on in further lines.
// 2. Slots are made as wide as the room allows (marks with labels, at last marks alone), and slots
//    are added to the fullest columns until the height fits.
// 3. What room is left goes between columns and layers, and what does not fit is squeezed, each way
//    by itself: the whole graph is in view at first, and one zooms in. Lines stand at different
//    places of their column, so that upright edges pass between marks.
// 4. In small graphs, nodes of a cell are sorted by where their neighbours stand (Sugiyama, 1981).

const MARK = 16;
const LINE = 19;
const LAYER_GAP = 16;
const COLUMN_PAD = 12;
const TURNED = 17;
const NARROWEST = 0.5;
const GUTTER = 40;
const EDGE_OF_PAGE = 12;
const BOX = 24;
const LABEL_WIDTHS = [168, 138, 112, 90, 68, 0];
const STAGGER = [0.5, 0.1, 0.9, 0.3, 0.7];
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const LABEL_SIZE = 11;
const BOX_SIZE = 12.5;
const SMALL_GRAPH = 600;

const segmenter = Intl.Segmenter ? new Intl.Segmenter("en", { granularity: "grapheme" }) : null; // not in old browsers
const ruler = document.createElement("canvas").getContext("2d");
const widths = new Map();
let ruled = "";

function widthOf(text, size, bold = false) {
  const key = (bold ? "b" : "n") + size + text;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size > 50000) widths.clear();
    const font = (bold ? "600 " : "") + size + "px " + FONT;
    if (font !== ruled) ruler.font = ruled = font;
    width = ruler.measureText(text).width;
    widths.set(key, width);
  }
  return width;
}

function cutTo(text, size, room) {
  if (widthOf(text, size) <= room) return text;
  const characters = lettersOf(text);
  let low = 0, high = characters.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(characters.slice(0, middle).join("") + "\u2026", size) <= room) low = middle;
    else high = middle - 1;
  }
  return low ? characters.slice(0, low).join("").replace(/[\s\u2026]+$/, "") + "\u2026" : "";
}

// What readers take for single letters: an accent or the parts of a composed emoji belong together.
function lettersOf(text) {
  if (!segmenter || !/\p{M}|\p{Emoji_Modifier}|\u200d/u.test(text)) return Array.from(text);
  return Array.from(segmenter.segment(text), (one) => one.segment);
}

function layOut(graph, rows, room) {
  const inner = rows.filter((row) => !isBox(graph, row));
  const cells = cellsOf(graph, inner);
  const turned = (room.width - GUTTER) / graph.tokens.length < 38;
  const foot = turned ? 78 : 46;
  const heads = targetBoxes(graph, room.width - GUTTER - EDGE_OF_PAGE);
  const head = heads.lines.length * (BOX + 6) + 12;
  const inside = { width: room.width - GUTTER - EDGE_OF_PAGE, height: Math.max(60, room.height - head - foot - 10) };
  const floor = graph.tokens.map((token) => (turned ? TURNED : Math.min(widthOf(token, BOX_SIZE) + 20, 120)));
  if (turned) narrowEmpty(floor, cells, inside.width / 2);
  const plan = squeezed(settle(cells, floor, inside), inside);
  const place = {
    x: new Float32Array(graph.n), y: new Float32Array(graph.n), half: new Float32Array(graph.n),
    shown: new Uint8Array(graph.n), turned, labelled: plan.label > 0, density: plan.density,
  };
  place.columns = columnsOf(plan, Math.max(0, inside.width - plan.width));
  place.width = room.width;
  bandsOf(place, plan, head, Math.max(0, inside.height - plan.height));
  place.height = room.height;
  putCells(graph, place, plan, cells);
  if (inner.length <= SMALL_GRAPH) {
    for (let round = 0; round < 2; round++) {
      sortCells(graph, place, cells);
      putCells(graph, place, plan, cells);
    }
  }
  putTokens(graph, place);
  putTargets(graph, place, heads);
  return place;
}

// Of a long prompt most tokens have no nodes: their columns get half the page at most.
function narrowEmpty(floor, cells, room) {
  const filled = new Set(cells.map((cell) => cell.column));
  const narrow = Math.max(NARROWEST, Math.min(TURNED, room / Math.max(1, floor.length - filled.size)));
  for (let at = 0; at < floor.length; at++) if (!filled.has(at)) floor[at] = narrow;
}

function cellsOf(graph, inner) {
  const found = new Map();
  for (const row of inner) {
    const key = graph.position[row] * (graph.nLayers + 1) + graph.layer[row];
    let cell = found.get(key);
    if (!cell) found.set(key, (cell = { column: graph.position[row], layer: graph.layer[row], rows: [] }));
    cell.rows.push(row);
  }
  return [...found.values()];
}

// The number of slots of each column, and how wide a slot is.
function settle(cells, floor, room) {
  let plan = null;
  for (const label of LABEL_WIDTHS) {
    const slot = MARK + label;
    const slots = floor.map(() => 0);
    for (const cell of cells) slots[cell.column] = 1;
    const wide = (at) => Math.max(floor[at], slots[at] * slot + (slots[at] ? COLUMN_PAD : 0));
    let width = floor.reduce((sum, _, at) => sum + wide(at), 0);
    while (true) {
      const { lines, height, fullest } = heightOf(cells, slots); // many times: the dearest part of a layout
      plan = { label, slot, slots, lines, width, height, widths: floor.map((_, at) => wide(at)) };
      if (height <= room.height && width <= room.width) return plan;
      if (!fullest || (label && (height <= room.height || width > room.width))) break;
      if (!label && width / height > room.width / room.height) break;
      width -= wide(fullest.column);
      slots[fullest.column]++;
      width += wide(fullest.column);
      if (label && width > room.width) break;
    }
  }
  return plan;
}

function squeezed(plan, room) {
  const across = Math.min(1, room.width / plan.width), up = Math.min(1, room.height / plan.height);
  return {
    ...plan,
    slot: plan.slot * across, mark: MARK * across, pad: COLUMN_PAD * across, line: LINE * up, gap: LAYER_GAP * up,
    width: plan.width * across, height: plan.height * up, widths: plan.widths.map((width) => width * across),
    density: Math.min(across, up),
  };
}

function heightOf(cells, slots) {
  const lines = []; // by layer; 0 where there is none
  let fullest = null, most = 1;
  for (const cell of cells) {
    const count = Math.ceil(cell.rows.length / slots[cell.column]);
    while (lines.length <= cell.layer) lines.push(0);
    if (count > lines[cell.layer]) lines[cell.layer] = count;
    if (count > most) {
      fullest = cell;
      most = count;
    }
  }
  let height = 0;
  for (const count of lines) if (count) height += count * LINE + LAYER_GAP;
  return { lines, height, fullest };
}

// Columns from left to right; those with nodes get three parts of the room that is left.
function columnsOf(plan, over) {
  const parts = plan.slots.map((slots) => (slots ? 3 : 1));
  const extra = over / parts.reduce((sum, part) => sum + part, 0);
  let left = GUTTER;
  return plan.widths.map((width, position) => {
    const right = left + width + extra * parts[position];
    const column = { position, left, right, centre: (left + right) / 2 };
    left = right;
    return column;
  });
}

function bandsOf(place, plan, head, over) {
  const layers = [...plan.lines.keys()].filter((layer) => plan.lines[layer]).reverse();
  const stretch = layers.length ? Math.min(over / layers.length, Math.max(110, 420 / layers.length)) : 0;
  let top = head;
  place.head = head;
  place.bands = layers.map((layer) => {
    const height = plan.lines[layer] * plan.line + plan.gap + stretch;
    const band = { layer, top, bottom: top + height, middle: top + height / 2 };
    top += height;
    return band;
  });
  place.floor = top + 8 + (layers.length ? 0 : Math.min(over, 200));
}

function putCells(graph, place, plan, cells) {
  const bandOf = new Map(place.bands.map((band, i) => [band.layer, { ...band, order: i }]));
  for (const cell of cells) {
    const band = bandOf.get(cell.layer), column = place.columns[cell.column];
    const across = plan.slots[cell.column], lines = Math.ceil(cell.rows.length / across);
    for (let i = 0; i < cell.rows.length; i++) {
      const line = Math.floor(i / across);
      const members = Math.min(across, cell.rows.length - line * across);
      const free = column.right - column.left - plan.pad - members * plan.slot;
      const indent = free * STAGGER[(band.order + line) % STAGGER.length] * (plan.label ? 1 : 0.55);
      const row = cell.rows[i];
      place.x[row] = column.left + plan.pad / 2 + indent + plan.mark / 2 + (i % across) * plan.slot;
      place.y[row] = band.middle + (line - (lines - 1) / 2) * plan.line;
      place.half[row] = radiusOf(graph, row);
      place.shown[row] = 1;
    }
  }
}

// Area by influence, as in the printed figure.
function radiusOf(graph, row) {
  if (graph.kind[row] === KIND.ERROR) return 4.5;
  return 3 + 4.2 * Math.sqrt(graph.largest > 0 ? graph.influence[row] / graph.largest : 0);
}

function sortCells(graph, place, cells) {
  const mean = new Map();
  for (const cell of cells) {
    if (cell.rows.length < 2) continue;
    for (const row of cell.rows) {
      let sum = 0, weight = 1e-12;
      for (const [edges, end] of [[edgesInto(graph, row), graph.source], [edgesOutOf(graph, row), graph.target]]) {
        for (let i = 0; i < Math.min(edges.length, 12); i++) {
          const other = end[edges[i]], flow = flowOf(graph, edges[i]);
          if (place.shown[other]) [sum, weight] = [sum + flow * place.x[other], weight + flow];
        }
      }
      mean.set(row, sum / weight);
    }
    cell.rows.sort((a, b) => mean.get(a) - mean.get(b) || a - b);
  }
}

function putTokens(graph, place) {
  for (let row = 0; row < graph.n; row++) {
    if (graph.kind[row] !== KIND.EMBEDDING) continue;
    const column = place.columns[graph.position[row]];
    const words = widthOf(graph.tokens[graph.position[row]], BOX_SIZE) + 16;
    place.x[row] = column.centre;
    place.y[row] = place.floor + BOX / 2;
    place.half[row] = place.turned ? Math.max(1.5, Math.min(6, (column.right - column.left) / 2 - 1)) : Math.max(9, Math.min(words, column.right - column.left - 4) / 2);
    place.shown[row] = 1;
  }
}

function targetText(graph, target) {
  return target.token + (target.value ? "  " + figureOf(target.logit) : "  " + percent(target.probability));
}

// Targets on as few lines as fit the width.
function targetBoxes(graph, room) {
  const lines = [];
  for (const target of graph.targets) {
    const width = Math.min(widthOf(targetText(graph, target), BOX_SIZE, true) + 22, 240);
    const last = lines[lines.length - 1];
    if (last && last.width + width + 8 <= room) {
      last.boxes.push({ target, width });
      last.width += width + 8;
    } else lines.push({ boxes: [{ target, width }], width });
  }
  return { lines };
}

function putTargets(graph, place, heads) {
  heads.lines.forEach((line, i) => {
    const centres = line.boxes.map((box) => place.columns[graph.position[box.target.row]].centre);
    const centre = centres.reduce((a, b) => a + b, 0) / centres.length;
    const end = place.width - EDGE_OF_PAGE - line.width;
    let left = Math.max(Math.min(centre - line.width / 2, end), GUTTER);
    // Where the page ends before the boxes do, the likeliest stands nearest to its column.
    const boxes = centre - line.width / 2 > end ? [...line.boxes].reverse() : line.boxes;
    for (const box of boxes) {
      const row = box.target.row;
      place.x[row] = left + box.width / 2;
      place.y[row] = 6 + BOX / 2 + (heads.lines.length - 1 - i) * (BOX + 6); // the likeliest lowest
      place.half[row] = box.width / 2;
      place.shown[row] = 1;
      left += box.width + 8;
    }
  });
}
