// Where the boxes of the route diagram stand: tokens at the left, targets at the right, features in
// columns between them. Pure arithmetic, no drawing.
//
// 1. Neighbouring layers share a column as long as no edge joins them; where the room has no width
//    for so many columns, weak edges do not count.
// 2. A strong edge that crosses a column bends there: it gets a place of its own among the boxes, so
//    that none hides it (Sugiyama, 1981).
// 3. Boxes and bends of a column are sorted by where their neighbours stand and spread over the height.
// 4. Columns are as wide as their widest box; the width that is left goes between them.

const DIAGRAM_BOX = 28;
const BOX_APART = 10;
const BEND = 12;
const MOST_BENDS = 40;
const LINK_ROOM = 62;
const BOX_WIDTHS = [240, 190, 150, 120, 96, 76];
const WEAK = [0, 0.01, 0.03, 0.1, 0.3, Infinity];
const END_PART = 0.2;
const SWEEPS = 6;

// Sets x, y and width of nodes and the bends of edges; returns the size, larger than the room where they need it.
function putBoxes(nodes, edges, room) {
  const narrowest = BOX_WIDTHS[BOX_WIDTHS.length - 1] + LINK_ROOM;
  const most = Math.max(2, Math.floor((room.width + LINK_ROOM) / narrowest));
  let columns = [];
  for (const weak of WEAK) {
    columns = boxColumns(nodes, edges, weak);
    if (columns.length <= most) break;
  }
  for (const column of columns) column.items = column.nodes.map((node) => ({ node, links: [], tall: DIAGRAM_BOX }));
  linkItems(columns, nodes, edges, room.height);
  sortItems(columns);
  const width = putColumns(columns, room.width);
  const height = Math.max(room.height, ...columns.map(heightNeeded));
  for (const column of columns) spread(column.items, height);
  for (const column of columns) {
    for (const { node, edge, y } of column.items) {
      if (node) [node.x, node.y] = [column.left + column.width / 2, y];
      else edge.bends.push({ left: column.left, right: column.left + column.width, y });
    }
  }
  return { width, height };
}

// Tokens first, targets last, layers between.
function columnRank(node) {
  return node.isToken ? -Infinity : node.isTarget ? Infinity : Math.round(node.layer * 2) / 2;
}

function boxColumns(nodes, edges, weak) {
  const ranks = [...new Set(nodes.map(columnRank))].sort((a, b) => a - b), columns = [];
  for (const rank of ranks) {
    const here = nodes.filter((node) => columnRank(node) === rank);
    const last = columns[columns.length - 1];
    const isJoined = (edge) => Math.abs(edge.share) > weak && last.nodes.includes(nodes[edge.source]) && here.includes(nodes[edge.target]);
    const isOpen = last && Number.isFinite(rank) && Number.isFinite(last.rank) && !edges.some(isJoined);
    if (isOpen) last.nodes.push(...here);
    else columns.push({ rank, nodes: here });
  }
  for (const column of columns) column.nodes.sort((a, b) => a.position - b.position || a.rows[0] - b.rows[0]);
  return columns;
}

function heightNeeded(column) {
  return column.items.reduce((sum, item) => sum + item.tall + BOX_APART, -BOX_APART);
}

// Who stands beside whom: ends of edges, and bends where strong edges cross columns that have room.
function linkItems(columns, nodes, edges, height) {
  const itemOf = new Map(columns.flatMap((column) => column.items.map((item) => [item.node, item])));
  const columnOf = new Map(columns.flatMap((column, i) => column.nodes.map((node) => [node, i])));
  const join = (one, other, weight) => {
    one.links.push([other, weight]);
    other.links.push([one, weight]);
  };
  let bends = 0;
  for (const edge of edges) {
    const from = nodes[edge.source], to = nodes[edge.target];
    const first = columnOf.get(from) + 1, end = columnOf.get(to), weight = Math.abs(edge.share) + 1e-9;
    edge.bends = [];
    let last = itemOf.get(from);
    const crossed = columns.slice(first, Math.max(first, end));
    const fits = crossed.every((column) => heightNeeded(column) + BEND + BOX_APART <= height);
    if (crossed.length && fits && bends++ < MOST_BENDS) {
      for (const column of crossed) {
        const bend = { edge, links: [], tall: BEND, position: (from.position + to.position) / 2 };
        column.items.push(bend);
        join(last, bend, weight);
        last = bend;
      }
    }
    join(last, itemOf.get(to), weight);
  }
}

// Tokens stay in the prompt's order and targets in theirs.
function sortItems(columns) {
  const set = (items) => items.forEach((item, i) => (item.at = (i + 0.5) / items.length));
  const positionOf = (item) => (item.node ? item.node.position : item.position);
  for (const { items } of columns) set(items.sort((a, b) => positionOf(a) - positionOf(b)));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const { rank, items } of sweep % 2 ? [...columns].reverse() : columns) {
      const wanted = new Map(items.map((item) => {
        const whole = item.links.reduce((sum, [, weight]) => sum + weight, 0);
        return [item, whole ? item.links.reduce((sum, [other, weight]) => sum + weight * other.at, 0) / whole : item.at];
      }));
      const isFixed = (item) => !Number.isFinite(rank) && item.node;
      items.sort((a, b) => (isFixed(a) && isFixed(b) ? 0 : wanted.get(a) - wanted.get(b)));
      set(items);
    }
  }
}

function putColumns(columns, room) {
  const natural = (node) => widthOf(node.name, 12, Boolean(node.group)) + 26;
  let whole = 0;
  for (const limit of BOX_WIDTHS) {
    for (const column of columns) {
      for (const node of column.nodes) node.width = Math.min(natural(node), limit);
      column.width = Math.max(...column.nodes.map((node) => node.width));
    }
    whole = columns.reduce((sum, column) => sum + column.width + LINK_ROOM, -LINK_ROOM);
    if (whole <= room) break;
  }
  const width = Math.max(room, whole);
  const apart = columns.length > 1 ? LINK_ROOM + (width - whole) / (columns.length - 1) : 0;
  let left = columns.length > 1 ? 0 : (width - whole) / 2;
  for (const column of columns) {
    column.left = left;
    left += column.width + apart;
  }
  return width;
}

// From top to bottom, most of the height that is left between them.
function spread(items, height) {
  const left = height - items.reduce((sum, item) => sum + item.tall, 0);
  const part = left / (items.length - 1 + 2 * END_PART);
  let top = END_PART * part;
  for (const item of items) {
    item.y = top + item.tall / 2;
    top += item.tall + part;
  }
}
