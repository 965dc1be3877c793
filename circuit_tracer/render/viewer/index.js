// The page of a run: one line a graph, searched, sorted, and drawn only where it is in view.

const HEIGHT = 66;
const SPARE = 6;

class Run {
  constructor(data) {
    this.data = data;
    this.rows = data.rows.map((row, number) => ({ ...row, number, words: wordsOf(row) }));
    this.sorted = { key: "line", down: false };
    this.tag = "";
    byId("name").textContent = data.name;
    byId("about").textContent = data.about;
    document.title = data.name + " \u00b7 run";
    byId("waiting").remove();
    this.head();
    this.tags();
    this.failures();
    byId("search").addEventListener("input", () => this.filter());
    byId("list").addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(byId("list"));
    byId("theme").addEventListener("click", nextTheme);
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.matches("input")) {
        event.preventDefault();
        byId("search").focus();
      }
      if (event.key === "Escape" && !event.isComposing && event.target.matches("input")) {
        event.target.value = "";
        this.filter();
      }
    });
    this.filter();
  }

  columns() {
    return [
      { key: "line", name: "", title: "in the order of the prompt file" },
      { key: "prompt", name: "prompt" },
      { key: "answer", name: "answer" },
      { key: "probability", name: "probability", down: true, title: "of the answer" },
      ...this.data.scores.map(({ key, meaning }) => ({ key, name: key.replace("_", " "), down: true, title: meaning })),
      { key: "route", name: "strongest route through features" },
    ];
  }

  head() {
    byId("head").replaceChildren(...this.columns().map((column) => {
      const isOn = this.sorted.key === column.key;
      return h("button.cell." + (column.key === "line" ? "thumb" : cellClass(this.data, column.key)), {
        title: column.title, "data-key": column.key, "aria-pressed": String(isOn),
        "aria-label": "sort by " + (column.name || "line") + (isOn ? (this.sorted.down ? ", now falling" : ", now rising") : ""),
        onclick: () => this.sort(column),
      }, column.name || "graph", isOn ? (this.sorted.down ? " \u2193" : " \u2191") : "");
    }));
  }

  tags() {
    const counts = new Map();
    for (const row of this.rows) for (const tag of row.tags) counts.set(tag, (counts.get(tag) || 0) + 1);
    const ranked = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 24);
    byId("tags").replaceChildren(...ranked.map(([tag, count]) => h("button.tag", {
      "aria-pressed": String(tag === this.tag),
      onclick: () => {
        this.tag = this.tag === tag ? "" : tag;
        this.tags();
        this.filter();
      },
    }, tag, h("small", {}, " " + count))));
  }

  failures() {
    const failed = this.data.failures, box = byId("failures");
    box.hidden = !failed.length;
    box.querySelector("summary").textContent = counted(failed.length, "prompt") + " failed";
    box.querySelector("ul").replaceChildren(...failed.map((one) =>
      h("li", {}, h("b", {}, one.prompt || "line " + one.line), " ", one.message)));
  }

  sort({ key, down }) {
    this.sorted = { key, down: this.sorted.key === key ? !this.sorted.down : Boolean(down) };
    this.head();
    this.filter();
  }

  filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const value = (row) => (this.sorted.key === "line" ? row.number : row.scores[this.sorted.key] ?? row[this.sorted.key] ?? null);
    this.found = this.rows.filter((row) =>
      (!this.tag || row.tags.includes(this.tag)) && words.every((word) => row.words.includes(word)));
    this.found.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a.number - b.number;
      const order = typeof x === "string" ? x.localeCompare(y, "en") : x - y;
      return (this.sorted.down ? -order : order) || a.number - b.number;
    });
    byId("count").textContent = this.found.length === this.rows.length
      ? counted(this.rows.length, "graph")
      : counted(this.found.length, "graph") + " of " + this.rows.length.toLocaleString("en");
    byId("list").scrollTop = 0;
    this.drawn = "";
    this.draw();
  }

  draw() {
    const list = byId("list"), body = byId("rows");
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(this.found.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE);
    body.style.height = this.found.length * HEIGHT + "px";
    const drawn = first + "-" + last;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.row : null;
    body.replaceChildren(...this.found.slice(first, last).map((row, i) => this.line(row, first + i)));
    if (focused !== null) body.querySelector('[data-row="' + focused + '"]')?.focus({ preventScroll: true });
  }

  // A figure; where there is room for one alone it is what the lines are sorted by.
  number(key, words) {
    const isScore = this.data.scores.some((score) => score.key === this.sorted.key);
    return h(key === (isScore ? this.sorted.key : "probability") ? "span.cell.number.on" : "span.cell.number", {}, words);
  }

  line(row, place) {
    return h("a.line", { href: row.href, "data-row": row.number, style: { transform: "translateY(" + place * HEIGHT + "px)" } },
      h("span.cell.thumb", {}, thumbnail(row.thumbnail)),
      h("span.cell.text", {}, h("b", {}, row.prompt), row.tags.length ? h("small", {}, row.tags.join(", ")) : null),
      h("span.cell.answer", {}, row.answer),
      this.number("probability", row.probability === null ? "" : percent(row.probability)),
      this.data.scores.map(({ key, share }) => this.number(key, scoreText(row.scores[key], share))),
      h("span.cell.route", {}, row.route));
  }
}

function scoreText(value, share) {
  if (value === null || value === undefined) return "";
  return share ? percent(value) : value.toFixed(2);
}

function cellClass(data, key) {
  return { prompt: "text", answer: "answer", route: "route" }[key] || "number";
}

function wordsOf(row) {
  return [row.prompt, row.answer, row.route, ...row.tags].join("\n").toLowerCase();
}

// Kept nodes as dots, tokens along x, layers up y, and the strongest route as a line.
function thumbnail(drawing) {
  if (!drawing) return "";
  const place = ([x, y]) => [4 + (x / 99) * 92, 52 - (y / 99) * 48];
  return svg("svg.thumbnail", { viewBox: "0 0 100 56", width: 100, height: 56, "aria-hidden": "true" },
    drawing.dots.map((dot) => {
      const [x, y] = place(dot);
      return svg("circle." + ["t-token", "t-feature", "t-error", "t-target"][dot[2]], { cx: x.toFixed(1), cy: y.toFixed(1), r: dot[2] === 1 ? 2 : 1.7 });
    }),
    drawing.route.length > 1
      ? svg("polyline.t-route", { points: drawing.route.map((point) => place(point).map((v) => v.toFixed(1)).join(",")).join(" ") })
      : null);
}

window.viewer = new Run(JSON.parse(byId("data").textContent));
