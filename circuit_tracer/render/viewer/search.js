// Search over labels, names, notes, tokens and what features promote; hits light up as one types.

const MOST_FOUND = 60;

function searchIndex(graph) {
  if (graph.index) return graph.index;
  graph.index = [];
  for (let row = 0; row < graph.n; row++) {
    const card = graph.kind[row] === KIND.FEATURE ? cardFor(graph, row) : null;
    const words = [titleOf(graph, row), graph.ownLabel[row], graph.name[row], graph.id[row], graph.notes.get(row) ?? "", card ? card.promotes.join(" ") : ""];
    graph.index.push(words.join("\n").toLowerCase());
  }
  return graph.index;
}

// Rows that hold every word, those of most influence first.
function searched(graph, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const found = [];
  searchIndex(graph).forEach((entry, row) => {
    if (words.every((word) => entry.includes(word))) found.push(row);
  });
  const title = (row) => (titleOf(graph, row).toLowerCase().includes(text.toLowerCase().trim()) ? 0 : 1);
  return found.sort((a, b) => title(a) - title(b) || graph.influence[b] - graph.influence[a] || a - b);
}

class Search {
  constructor(app) {
    this.app = app;
    this.field = byId("search");
    this.list = byId("found");
    this.rows = [];
    this.chosen = -1;
    this.field.addEventListener("input", () => this.update());
    this.field.addEventListener("focus", () => this.update());
    this.field.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("pointerdown", (event) => {
      if (!event.target.closest(".search, #copy-link")) this.close(); // a link has the search in it
    });
  }

  update() {
    const plot = this.app.active;
    const found = searched(plot.graph, this.field.value);
    plot.matches = this.field.value.trim() ? found : null;
    this.rows = found.slice(0, MOST_FOUND);
    this.chosen = this.rows.length ? 0 : -1;
    this.show(found.length);
    plot.paintOver();
  }

  // A search as it was left: its hits light up, the list stays closed.
  put(text) {
    this.field.value = text;
    this.hide();
    for (const plot of this.app.plots) plot.matches = null;
    if (text.trim()) this.app.active.matches = searched(this.app.active.graph, text);
  }

  show(count) {
    const { graph } = this.app.active;
    if (!this.field.value.trim()) return this.hide();
    this.list.replaceChildren(
      h("p.count", {}, count ? counted(count, "node") : "Nothing found: labels, names (L3/117), notes, tokens and promoted tokens are searched."),
      ...this.rows.map((row, i) => h("button.hit", {
        role: "option", id: "hit-" + i, tabindex: -1, "aria-selected": String(i === this.chosen), onclick: () => this.choose(row),
      }, sign(graph.kind[row]), h("span.label", {}, titleOf(graph, row)), h("span.where", {}, whereOf(graph, row)))),
    );
    this.list.hidden = false;
    this.field.setAttribute("aria-expanded", "true");
    this.point();
  }

  key(event) {
    if (event.isComposing) return; // Enter takes what an input method offers
    if (event.key === "Enter" && this.chosen >= 0) this.choose(this.rows[this.chosen]);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!this.rows.length) return;
      this.chosen = (this.chosen + (event.key === "ArrowDown" ? 1 : -1) + this.rows.length) % this.rows.length;
      [...this.list.querySelectorAll(".hit")].forEach((hit, i) => {
        hit.setAttribute("aria-selected", String(i === this.chosen));
        if (i === this.chosen) hit.scrollIntoView({ block: "nearest" });
      });
      this.point();
    } else if (event.key === "Escape") {
      this.field.value = "";
      this.close();
      this.app.active.over.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Tells screen readers which hit Enter takes.
  point() {
    if (this.chosen < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", "hit-" + this.chosen);
  }

  choose(row) {
    this.close();
    this.app.select(this.app.active, row, true);
    this.app.active.over.focus();
  }

  hide() {
    this.list.hidden = true;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }

  close() {
    this.hide();
    const plot = this.app.active;
    if (plot.matches) {
      plot.matches = null;
      plot.paintOver();
    }
  }
}
