// Files that leave the page: the view and the diagram as SVG, pins, groups and where their boxes
// stand as qParams; and qParams that come back. Nothing goes over a network: files are made and read here.

function viewSvg(plot, theme = null) {
  const colors = plot.colors;
  if (theme) plot.colors = themeColors(theme);
  const pen = svgPen();
  pen.clip(0, 0, plot.width, plot.height);
  const lit = plot.lit();
  if (lit) pen.parts.push('<g opacity="0.3">');
  paintBase(plot, pen);
  if (lit) pen.parts.push("</g>");
  paintOverlay(plot, pen, lit);
  pen.unclip();
  plot.colors = colors;
  return svgDocument(plot.width, plot.height, pen.parts, "Attribution graph: " + plot.graph.prompt);
}

function diagramSvg(diagram, theme = null) {
  const colors = themeColors(theme), parts = [];
  const { plot, nodes, edges, size } = diagram;
  const pen = svgPen();
  pen.box(0, 0, size.width, size.height, { fill: colors.paper });
  for (const edge of edges.slice(0, 400).reverse()) {
    const [x0, y0, x1, y1, x2, y2, x3, y3] = diagram.curve(edge).map(round2);
    const width = edgeWidth(edge.share), color = edge.share < 0 ? colors.negative : colors.positive;
    pen.parts.push(
      '<path fill="none" stroke="' + escaped(color) + '" stroke-width="' + round2(width) + '" opacity="' +
        round2(0.25 + 0.65 * Math.min(1, Math.abs(edge.share) * 3)) + '"' +
        (edge.share < 0 ? ' stroke-dasharray="' + dashOf(width).map(round2).join(" ") + '"' : "") +
        ' d="M' + x0 + "," + y0 + "C" + x1 + "," + y1 + " " + x2 + "," + y2 + " " + x3 + "," + y3 + '"/>',
    );
  }
  for (const label of diagram.shareLabels()) {
    const isDown = label.classList.contains("negative");
    pen.text(label.textContent, Number(label.getAttribute("x")), Number(label.getAttribute("y")), {
      size: 11, align: "center", fill: isDown ? colors.negativeInk : colors.positiveInk, halo: colors.paper,
    });
  }
  for (const node of nodes) {
    const isTarget = node.kind === KIND.LOGIT;
    const style = isTarget ? { fill: colors.target } : { fill: colors.paper, stroke: node.kind === KIND.EMBEDDING ? colors.tokenEdge : node.kind === KIND.ERROR ? colors.errorEdge : colors.featureEdge, width: node.group ? 2 : 1 };
    pen.box(node.x - node.width / 2, node.y - DIAGRAM_BOX / 2, node.width, DIAGRAM_BOX, { ...style, radius: 8 });
    pen.text(cutTo(node.name, 12, node.width - 18), node.x, node.y + 4, {
      size: 12, align: "center", bold: Boolean(node.group), fill: isTarget ? colors.targetInk : colors.ink,
    });
  }
  parts.push(...pen.parts);
  return svgDocument(size.width, size.height, parts, "Route diagram: " + plot.graph.prompt);
}

// Pins and groups in the form that graph JSON files carry them.
function qParamsOf(plot) {
  const { graph } = plot, ids = (rows) => [...rows].sort((a, b) => a - b).map((row) => graph.id[row]);
  return {
    pinnedIds: ids(plot.pinned),
    supernodes: plot.groups.map((group) => [group.name, ...ids(group.rows)]),
    linkType: plot.app.links === "both" ? "both" : plot.app.links === "inputs" ? "input" : "output",
    clickedId: plot.selected >= 0 ? graph.id[plot.selected] : "",
    sg_pos: positionsText(plot.app.diagram, plot),
  };
}

// Pins and groups from such a form; unknown nodes are left out and counted.
function takeQParams(plot, given) {
  const params = given && typeof given === "object" ? given.qParams || given : {};
  if (!Array.isArray(params.pinnedIds) || !Array.isArray(params.supernodes)) throw new Error("no pinnedIds and supernodes");
  const rowOf = new Map(plot.graph.id.map((id, row) => [id, row]));
  let unknown = 0;
  const rows = (ids) => ids.filter((id) => rowOf.has(id) || (unknown++, false)).map((id) => rowOf.get(id));
  const pinned = new Set(rows(params.pinnedIds)), taken = new Set(), groups = [];
  for (const [name, ...ids] of params.supernodes) {
    const members = rows(ids).filter((row) => !taken.has(row));
    for (const row of members) {
      taken.add(row);
      pinned.add(row);
    }
    if (members.length) groups.push({ name: String(name), rows: new Set(members) });
  }
  plot.pinned = pinned;
  plot.groups = groups;
  plot.app.diagram.moved.set(plot, unknown ? new Map() : takenPositions(plot, params.sg_pos));
  return unknown;
}

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 2000);
}

function exportAs(app, what) {
  const plot = app.active, stem = plot.graph.slug;
  if (what === "view") download(stem + ".svg", "image/svg+xml", viewSvg(plot, "light"));
  if (what === "diagram") download(stem + "-route.svg", "image/svg+xml", diagramSvg(app.diagram, "light"));
  if (what === "pins") {
    download(stem + "-qparams.json", "application/json", JSON.stringify({ qParams: qParamsOf(plot) }, null, 2) + "\n");
  }
}

async function loadPins(app, file) {
  const plot = app.active;
  try {
    const unknown = takeQParams(plot, JSON.parse(await file.text()));
    app.pinsChanged(plot);
    app.say(unknown ? counted(unknown, "node") + " of that file " + (unknown === 1 ? "is" : "are") + " not in this graph" : "pins loaded");
  } catch (error) {
    app.say("That file holds no pins: " + error.message);
  }
}

// On paper the plot is drawn as SVG, in the colours of paper.
function preparePrint(app) {
  for (const plot of app.plots) {
    plot.host.querySelector("svg.printed")?.remove();
    const parsed = new DOMParser().parseFromString(viewSvg(plot, "light"), "image/svg+xml").documentElement;
    const printed = document.importNode(parsed, true);
    printed.classList.add("printed");
    printed.setAttribute("width", "100%");
    printed.removeAttribute("height");
    plot.host.append(printed);
  }
}
