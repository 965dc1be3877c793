// Where words have room: labels by importance, so that no two overlap and none hides a mark.

const MOST_TRIED = 1500;

class Rooms {
  // Which boxes of the page are taken, found by lines of 16 pixels.
  constructor() {
    this.rows = new Map();
  }
  take(x0, y0, x1, y1) {
    for (let row = Math.floor(y0 / 16); row <= Math.floor(y1 / 16); row++) {
      let list = this.rows.get(row);
      if (!list) this.rows.set(row, (list = []));
      list.push(x0, x1, y0, y1);
    }
  }
  isFree(x0, y0, x1, y1) {
    for (let row = Math.floor(y0 / 16); row <= Math.floor(y1 / 16); row++) {
      const list = this.rows.get(row);
      if (!list) continue;
      for (let i = 0; i < list.length; i += 4) {
        if (list[i] < x1 && x0 < list[i + 1] && list[i + 2] < y1 && y0 < list[i + 3]) return false;
      }
    }
    return true;
  }
}

// The tokens whose turned words have room: those of most influence, then what fits between them.
function spelledOut(plot) {
  const { graph, place, k } = plot;
  if (place.spelled && place.spelled.k === k) return place.spelled.at;
  const at = new Set(), rooms = new Rooms();
  for (const row of graph.rankedTokens) {
    const x = place.x[row] * k;
    if (!rooms.isFree(x - 6.5, 0, x + 6.5, 1)) continue;
    rooms.take(x - 6.5, 0, x + 6.5, 1);
    at.add(graph.position[row]);
  }
  place.spelled = { k, at };
  return at;
}

// Where a label goes: right of its mark, else left; as a stub only where there is no better room.
// What stands before the label proper, a feature's id, takes `extra` and is never cut.
function roomFor(plot, rooms, label, middle, away, y, longest, extra = 0) {
  const whole = widthOf(label, LABEL_SIZE);
  for (const [shortest, isLeft] of [[60, false], [60, true], [20, false], [20, true]]) {
    const space = isLeft ? middle - away - GUTTER : plot.width - middle - away - 6, least = Math.min(shortest + extra, whole);
    const near = isLeft ? middle - away - least - 3 : middle + away;
    if (space < least || !rooms.isFree(near, y - 6, near + least + 3, y + 6)) continue; // not even the shortest
    for (const size of [longest, 110, 72, 44]) {
      const words = cutTo(label, LABEL_SIZE, Math.min(size + extra, space)), width = widthOf(words, LABEL_SIZE);
      if (!words || width < least) break;
      const x = isLeft ? middle - away - width : middle + away;
      if (rooms.isFree(x - (isLeft ? 3 : 0), y - 6, x + width + 3, y + 6)) return { words, x, width };
    }
  }
  return null;
}

// Labels beside their marks where nothing else stands; returns their places.
function paintLabels(plot, pen, rooms) {
  const { graph, place, colors } = plot;
  const placed = [], rest = [];
  let tried = 0;
  const room = place.labelled ? 175 : 150;
  for (const list of [graph.ranked, rest]) {
    for (const row of list) {
      if (tried > MOST_TRIED) break;
      if (!place.shown[row]) continue;
      const words = calledOf(graph, row), bare = graph.label[row];
      const isError = graph.kind[row] === KIND.ERROR;
      if (list !== rest && (isError || !words)) {
        rest.push(row);
        continue;
      }
      const middle = plot.sx(place.x[row]), away = markSize(plot, row) + 4, y = plot.sy(place.y[row]);
      if (middle + away < 0 || middle > plot.width || y < 4 || y > plot.height - 4) continue;
      tried++;
      const extra = words === bare ? 0 : widthOf(idOf(graph, row) + " ", LABEL_SIZE);
      const found = roomFor(plot, rooms, words, middle, away, y, room, extra) ?? (extra ? roomFor(plot, rooms, bare, middle, away, y, room) : null);
      if (!found) continue;
      rooms.take(found.x, y - 6, found.x + found.width + 3, y + 6);
      placed.push({ row, y, ...found });
      pen.text(found.words, found.x, y + 3.8, { size: LABEL_SIZE, fill: isError ? colors.quiet : colors.ink, halo: colors.halo });
    }
  }
  return placed;
}
