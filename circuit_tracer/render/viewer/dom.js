// Elements made without markup: text is always a text node, so hostile text stays text.

function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name || "div"), classes, properties, children);
}

function svg(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), classes, properties, children);
}

function filled(element, classes, properties, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

// The sign of a node's kind, as it is drawn in the plot.
function sign(kind, hollow = false) {
  const shapes = {
    [KIND.FEATURE]: () => svg(hollow ? "circle.s-hollow" : "circle.s-feature", { cx: 7, cy: 7, r: 5 }),
    [KIND.ERROR]: () => svg("path.s-error", { d: "M7 1.5L12.5 7L7 12.5L1.5 7Z" }),
    [KIND.EMBEDDING]: () => svg("rect.s-token", { x: 1, y: 3, width: 12, height: 8, rx: 2 }),
    [KIND.LOGIT]: () => svg("rect.s-target", { x: 1, y: 3, width: 12, height: 8, rx: 2 }),
  };
  return svg("svg.sign", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" }, shapes[kind]());
}

function titleOf(graph, row) {
  const kind = graph.kind[row];
  if (kind === KIND.EMBEDDING) return graph.tokens[graph.position[row]];
  if (kind === KIND.LOGIT) return graph.targetOf.get(row).token;
  return graph.label[row] || graph.name[row];
}

// A feature's layer and index, which stand beside its label wherever it is shown.
function idOf(graph, row) {
  return "L" + graph.layer[row] + "/" + graph.feature[row];
}

// What a node is called in the plot: its label, a feature's after its id.
function calledOf(graph, row) {
  const label = graph.label[row], id = idOf(graph, row);
  return graph.kind[row] !== KIND.FEATURE || !label || label === id ? label : id + " " + label;
}

function whereOf(graph, row) {
  const kind = graph.kind[row], token = "\u201c" + graph.tokens[graph.position[row]] + "\u201d";
  if (kind === KIND.EMBEDDING) return "token " + graph.position[row];
  if (kind === KIND.LOGIT) return "target";
  return (kind === KIND.FEATURE ? idOf(graph, row) : "L" + graph.layer[row]) + " " + token;
}

// A sentence of ours: `code` in backticks, and no line between a figure and its unit.
function prose(text) {
  return text.replace(/(\d) %/g, "$1\u00a0%").split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

// What is missing, and the commands that bring it in; the first writes the graph's folder where there
// is none yet.
function missing(graph, words, command) {
  const { exportCommand } = graph, folder = exportCommand ? exportCommand.folder : "GRAPH";
  return [
    h("p.hint", {}, words + (exportCommand ? ":" : ", GRAPH being the traced folder:")),
    h("pre.command", { tabindex: 0 }, (exportCommand ? exportCommand.words + " && " : "") + command(folder) + " && circuit-tracer view " + folder),
  ];
}

function bar(share, most) {
  const size = Math.min(1, Math.abs(share) / Math.max(most, 1e-12));
  return h(share < 0 ? "span.bar.negative" : "span.bar.positive", { "aria-hidden": "true", style: { "--size": (100 * size).toFixed(1) + "%" } });
}
