// A row a part; resting on one shows what it drew on.
const list = document.getElementById("strip");

function bar(row, part) {
  const whole = made(row, "span", "bar");
  for (const name of ["chained", "direct"]) made(whole, "i", name).style.width = `${100 * Math.min(part[name], 1)}%`;
  made(whole, "i", "floor").style.left = `${100 * Math.min(part.chained_floor, 1)}%`;
  made(row, "span", "shares", `${percent(part.chained)}, direct ${percent(part.direct)}`);
}

const rows = new Map();
for (const part of [...report.watched, ...report.steps, { name: "answer", text: report.answer }]) {
  const row = made(list, "li", "direct" in part && part.chained <= part.chained_floor ? "below" : "");
  row.tabIndex = 0;
  made(row, "b", "", part.name);
  made(row, "span", "", part.text);
  if ("direct" in part) bar(row, part);
  rows.set(part.name, row);
}

function show(name) {
  for (const row of rows.values()) {
    row.classList.remove("source");
    for (const old of row.querySelectorAll(".from")) old.remove();
  }
  for (const arrow of report.arrows.filter((one) => one.target === name)) {
    const row = rows.get(arrow.source);
    row.classList.add("source");
    made(row.children[1], "span", "from", ` -> ${name} ${percent(arrow.share)}`);
  }
}

for (const [name, row] of rows) for (const kind of ["mouseenter", "focus"]) row.addEventListener(kind, () => show(name));
show("answer");
