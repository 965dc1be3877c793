// Files that leave the page: the view and the diagram as SVG, pins, groups, where their boxes stand,
// names and notes as qParams; and qParams that come back. Nothing goes over a network: files are made and read here.

function viewSvg(plot, theme = null) {
  const colors = plot.colors;
  if (theme) plot.colors = themeColors(theme);
  const pen = new SvgPen(), page = markup("rect", { x: 0, y: 0, width: plot.width, height: plot.height });
  const clip = "page-" + plot.index;  // two plots are printed on one page
  pen.parts.push(`<clipPath id="${clip}">${page}</clipPath><g clip-path="url(#${clip})">`);
  const lit = plot.lit();
  if (lit) pen.parts.push('<g opacity="0.3">');
  paintGround(plot, pen);
  paintEdges(plot, pen, 0, plot.edgeLimit);
  paintNodes(plot, pen);
  if (lit) pen.parts.push("</g>");
  paintOverlay(plot, pen, lit);
  pen.parts.push("</g>");
  plot.colors = colors;
  return svgDocument(plot.width, plot.height, pen.parts, "Attribution graph: " + plot.graph.prompt);
}

// Pins, groups and names in the form that graph JSON files carry them.
function qParamsOf(plot) {
  const { graph } = plot, ids = (rows) => [...rows].sort((a, b) => a - b).map((row) => graph.id[row]);
  return {
    pinnedIds: ids(plot.pinned),
    supernodes: plot.groups.map((group) => [group.name, ...ids(group.rows)]),
    linkType: plot.app.links === "both" ? "both" : plot.app.links === "inputs" ? "input" : "output",
    clickedId: plot.selected >= 0 ? graph.id[plot.selected] : "",
    sg_pos: positionsText(plot.app.diagram, plot),
    ...(graph.names.size ? { clerps: clerpsOf(graph) } : {}),
  };
}

// The file of a graph's marks: qParams, and the notes where graph JSON files have them.
function marksFile(plot) {
  const notes = plot.graph.notes.size ? { metadata: { circuit_tracer_cli: { notes: notesById(plot.graph) } } } : {};
  return { qParams: qParamsOf(plot), ...notes };
}

// Pins, groups, names and notes from such a file; unknown nodes are left out and counted.
function takeQParams(plot, given) {
  const params = given && typeof given === "object" ? given.qParams || given : {};
  if (!Array.isArray(params.pinnedIds) || !Array.isArray(params.supernodes)) throw new Error("no pinnedIds and supernodes");
  const rowOf = new Map(plot.graph.id.map((id, row) => [id, row]));
  let unknown = 0;
  const rows = (ids) => ids.filter((id) => rowOf.has(id) || (unknown++, false)).map((id) => rowOf.get(id));
  const pins = rows(params.pinnedIds), groups = params.supernodes.map(([name, ...ids]) => [name, ...rows(ids)]);
  const [names, notes] = textsIn(plot.graph, params, given);
  putMarks(plot, { pins, groups, names: [...names], notes: [...notes], places: [] });
  if (!unknown) plot.app.diagram.moved.set(plot, takenPositions(plot, params.sg_pos));
  return unknown;
}

function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
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
  if (what === "diagram-png") diagramPng(app.diagram, "light", (png) => download(stem + "-route.png", "image/png", png));
  if (what === "pins") {
    download(stem + "-qparams.json", "application/json", JSON.stringify(marksFile(plot), null, 2) + "\n");
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
