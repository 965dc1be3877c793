// The prompt, a word a span; a table of edits, and of what the traced ones changed.

const signed = (value) => (value === null ? "?" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
const share = (value) => (value === null ? "-" : percent(value));
const pushed = (value) => (value === null ? "-" : `${value < 0 ? "−" : "+"}${percent(Math.abs(value))}`);
const byName = new Map(report.edits.map((one) => [one.name, one]));
const rows = new Map();

function table(parent, heads, numbers) {
  const head = made(made(parent, "table"), "tr");
  heads.forEach((words, at) => made(head, "th", numbers.includes(at) ? "number" : "", words));
  return (cells, kind) => {
    const row = made(head.parentNode, "tr", kind || "");
    cells.forEach((words, at) => made(row, "td", numbers.includes(at) ? "number" : "", words));
    return row;
  };
}

function done(one) {
  if (one.kind === "added") return `+ ${one.new}`;
  return one.new ? `${one.old} → ${one.new}` : `without ${one.old}`;
}

function light(names) {
  for (const [name, row] of rows) row.classList.toggle("lit", names.includes(name));
}

const title = document.getElementById("prompt");
const most = Math.max(...report.words.map((one) => Math.abs(one.pull)), 1e-9);
// Places count characters, which in a script may be two units each.
const letters = Array.from(report.prompt);
const between = (start, stop) => letters.slice(start, stop).join("");
let at = 0;
for (const word of [...report.words].sort((a, b) => a.start - b.start)) {
  made(title, "i", "", between(at, word.start)).style.fontStyle = "normal";
  const one = made(title, "span", `${word.pull < 0 ? "against" : "for"}${word.flips ? " flips" : ""}`, word.text);
  one.style.setProperty("--part", (0.6 * Math.abs(word.pull)) / most);
  one.title = `${word.text}: ${signed(word.pull)}`;
  one.tabIndex = 0;
  for (const kind of ["mouseenter", "focus"]) one.addEventListener(kind, () => light(word.edits));
  at = word.stop;
}
made(title, "i", "", between(at)).style.fontStyle = "normal";
made(title, "i", "answer", ` → ${report.answer.trim()}`);

const add = table(document.getElementById("edits"), ["", "edit", "prompt", "contrast", "change", "answer"], [3, 4]);
for (const one of report.edits) {
  const cells = [one.name, done(one), one.prompt, signed(one.contrast), signed(one.change), one.answer.trim()];
  rows.set(one.name, add(cells, one.flips ? "flips" : ""));
}

const routes = document.getElementById("routes");
for (const one of report.routes) {
  const counts = Object.entries(one.counts).map(([kind, count]) => `${count} ${kind}`);
  made(routes, "h2", "", `Routes, ${one.edit}: ${done(byName.get(one.edit))} (${counts.join(", ")})`);
  const change = table(routes, ["", "from", "to", "before", "after"], [3, 4]);
  for (const line of one.changes) {
    const values = [line.before, line.after].map((value) => (value === null ? "-" : line.target ? pushed(value) : signed(value)));
    change([line.kind, line.source_label, line.target_label || "(all routes)", ...values]);
  }
  const role = table(routes, ["influence of", "before", "after", "features", "after"], [1, 2, 3, 4]);
  for (const line of one.roles) role([line.name, ...[line.before, line.after, line.features_before, line.features_after].map(share)]);
}
