// Names and notes that users give to nodes: in the panel they are written, everywhere else shown.
//
// A name stands in the place of a feature's label; a note is a text of its own. Both are a graph's,
// as its pins are: they go into links, the browser's storage and exported files with them.

const LONGEST_NAME = 200;
const LONGEST_NOTE = 4000;
const SHOWN_NOTE = 160;
const NOTE_SIDE = 7;
const NOTE_AWAY = 8; // from the mark, outside of the ring around it

// Nothing in it that acts (controls, and marks that turn the direction of what follows), no blanks to spare.
function plainLine(text, longest = LONGEST_NAME) {
  const seen = String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, " ");
  return Array.from(seen.split(/\s+/).filter(Boolean).join(" ")).slice(0, longest).join("");
}

function plainNote(text) {
  return String(text).split("\n").map((line) => plainLine(line, LONGEST_NOTE)).join("\n").trim().slice(0, LONGEST_NOTE);
}

function isNameable(graph, row) {
  return graph.kind[row] === KIND.FEATURE;
}

// All names and notes in place of those there were; the graph's own names stay.
function putTexts(graph, names, notes) {
  graph.names = new Map([...graph.ownNames, ...names]);
  graph.notes = new Map(notes);
  graph.label = graph.ownLabel.map((label, row) => (graph.names.has(row) ? isolated(graph.names.get(row)) : label));
  graph.index = null;
}

// Gives a node a "name" or a "note"; without words it is taken back.
function setText(app, plot, row, what, text) {
  const texts = { name: new Map(plot.graph.names), note: new Map(plot.graph.notes) };
  const plain = what === "name" ? plainLine(text) : plainNote(text);
  if (plain) texts[what].set(row, plain);
  else texts[what].delete(row);
  putTexts(plot.graph, texts.name, texts.note);
  plot.paint();
  app.diagram.draw();
}

// The head of the panel's node: its title, and what changes it.
function titlePart(app, plot, row) {
  const { graph } = plot, title = h("h2", {}, titleOf(graph, row));
  if (!isNameable(graph, row)) return [title];
  const own = graph.ownLabel[row] || graph.name[row];
  const isRenamed = graph.names.has(row) && titleOf(graph, row) !== own;
  const rename = () => editInPlace(app, title, {
    what: "name", value: graph.names.get(row) ?? graph.label[row].replace(/[\u2068\u2069]/g, ""), longest: LONGEST_NAME,
    label: "name of the node", hint: graph.name[row], now: () => titleOf(graph, row), keep: (text) => setText(app, plot, row, "name", text),
  });
  return [title,
    h("p.edits", {}, h("button.link", { "data-edit": "name", onclick: rename }, "rename"),
      isRenamed ? h("button.link", { onclick: () => { setText(app, plot, row, "name", ""); app.showTab("node"); } }, "back to \u201c" + own + "\u201d") : null)];
}

function notePart(app, plot, row) {
  const { graph } = plot, note = graph.notes.get(row) ?? "";
  const text = h("p.note", { hidden: !note }, note);
  const edit = () => {
    text.hidden = false;
    editInPlace(app, text, {
      what: "note", value: note, longest: LONGEST_NOTE, label: "note on the node", lines: 3,
      hint: "Enter keeps, Shift+Enter begins a line, Escape cancels", now: () => graph.notes.get(row) ?? "", keep: (words) => setText(app, plot, row, "note", words),
    });
  };
  return h("div.noted", {}, text, h("button.link", { "data-edit": "note", onclick: edit }, note ? "edit note" : "add a note"));
}

// A field in the place of an element. Enter keeps, and so does leaving the field; Escape cancels.
function editInPlace(app, element, { what, value, longest, label, hint, lines, now, keep }) {
  const field = h(lines ? "textarea.edit" : "input.edit", { "aria-label": label, placeholder: hint, maxlength: longest, rows: lines });
  field.value = value;
  let isDone = false;
  const finish = (isKept, isFocused) => {
    if (isDone) return;
    isDone = true;
    if (isKept && field.value !== value) keep(field.value);
    if (!isFocused) { // what was clicked on instead must stay where it is
      element.textContent = now();
      field.replaceWith(element);
      return;
    }
    app.showTab("node");
    byId("content").querySelector("[data-edit=" + what + "]")?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const isEnter = event.key === "Enter" && !event.shiftKey;
    if (!isEnter && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    finish(isEnter, true);
  });
  field.addEventListener("blur", () => setTimeout(() => finish(true, false))); // not while the panel is being replaced
  element.replaceWith(field);
  field.focus();
  if (lines) field.setSelectionRange(value.length, value.length);
  else field.select();
}

// For the keyboard: the field of the selected node.
function editSelected(app, what) {
  if (app.active.selected < 0) return;
  app.showTab("node");
  byId("content").querySelector("[data-edit=" + what + "]")?.click();
}

// The panel's list of all that was named or noted.
function textsPart(app, plot) {
  const { graph } = plot;
  const rows = [...new Set([...graph.names.keys(), ...graph.notes.keys()])].sort((a, b) => a - b);
  if (!rows.length) return null;
  return h("section.texts", {}, h("h3", {}, "Names and notes"), h("ul.pins", {}, rows.map((row) => h("li", {}, sign(graph.kind[row]),
    h("button.go", { onclick: () => { app.showTab("node"); app.select(plot, row, true); } }, h("span.label", {}, titleOf(graph, row)), h("span.where", {}, whereOf(graph, row))),
    graph.notes.has(row) ? h("p.note", {}, graph.notes.get(row)) : null))));
}

function shortNote(graph, row) {
  const letters = lettersOf(graph.notes.get(row) ?? "");
  return letters.length > SHOWN_NOTE ? letters.slice(0, SHOWN_NOTE).join("") + "\u2026" : letters.join("");
}

// In the plot, nodes with notes have a small square at their upper right.
function paintNoteMarks(plot, pen) {
  const { graph, place, colors } = plot;
  for (const row of graph.notes.keys()) {
    if (!place.shown[row]) continue;
    const beside = 0.71 * (markSize(plot, row) + NOTE_AWAY);
    const [right, up] = isBox(graph, row) ? [plot.boxHalf(row), plot.sy(place.y[row]) - plot.top(row) + 4] : [beside, beside];
    const at = { x: plot.sx(place.x[row]) + right, y: plot.sy(place.y[row]) - up }, half = NOTE_SIDE / 2;
    pen.box(at.x - half, at.y - half, NOTE_SIDE, NOTE_SIDE, { fill: colors.ink, stroke: colors.paper, width: 1, radius: 1 });
  }
}

// -- as files have them (graphs/files/clerps.py)
function clerpKey(graph, row) {
  return graph.layer[row] + "_" + exchangeFeature(graph, row) + "_" + graph.position[row];
}

function clerpsOf(graph) {
  return [...graph.names].sort((a, b) => a[0] - b[0]).map(([row, name]) => [clerpKey(graph, row), name]);
}

function notesById(graph) {
  return Object.fromEntries([...graph.notes].sort((a, b) => a[0] - b[0]).map(([row, note]) => [graph.id[row], note]));
}

// The names and notes of a file, by row; what is none is left out.
function textsIn(graph, params, file) {
  let given = params.clerps ?? [];
  if (typeof given === "string") given = JSON.parse(given);
  const isText = (one) => typeof one === "string";
  const pairs = Array.isArray(given) ? given.filter((one) => Array.isArray(one) && one.length === 2 && one.every(isText)) : [];
  const byKey = new Map(pairs), names = new Map(), notes = new Map();
  for (let row = 0; row < graph.n; row++) {
    const name = isNameable(graph, row) && plainLine(byKey.get(clerpKey(graph, row)) ?? byKey.get(String(exchangeFeature(graph, row))) ?? "");
    if (name) names.set(row, name);
    const note = file.metadata?.circuit_tracer_cli?.notes?.[graph.id[row]];
    if (isText(note) && plainNote(note)) notes.set(row, plainNote(note));
  }
  return [names, notes];
}
