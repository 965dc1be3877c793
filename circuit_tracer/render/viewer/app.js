// The page: what is selected, shown, pinned and grouped, and what follows when it changes.

const TABS = { routes: routesTab, node: nodeTab, pins: pinsTab, trust: trustTab, heads: headsTab };
const NOTICE = 9000; // milliseconds

class App {
  constructor(data) {
    this.comparison = data.comparison;
    this.run = data.run;
    this.links = "both";
    this.tab = "routes";
    this.due = new Map();
    this.stack();
    const host = byId("plots");
    const graphs = data.graphs.map(openGraph);
    if (graphs.length > 1) host.classList.add("two");
    this.plots = graphs.map((graph, index) => {
      const area = h("div.area", {});
      const pane = h("section.pane", {}, graphs.length > 1 ? h("h2.pane-title", {}, h("b", {}, "AB"[index]), " ", graph.prompt) : null, area);
      host.append(pane);
      return new Plot(this, graph, area, index);
    });
    this.active = this.plots[0];
    this.diagram = new Diagram(this);
    this.search = new Search(this);
    showHeadline(this);
    listenToControls(this);
    showLegend(this);
    listenToKeys(this);
    window.addEventListener("resize", () => this.stack());
    window.addEventListener("beforeprint", () => preparePrint(this));
    window.matchMedia("print").addEventListener("change", (event) => event.matches && preparePrint(this));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolor());
    this.activate(this.active);
    this.showTab(this.tab);
    this.diagram.draw();
    this.memory = new Memory(this);
  }

  stack() {
    document.body.classList.toggle("stacked", window.innerWidth < (this.comparison ? 1100 : 900));
  }

  // -- what users do
  activate(plot) {
    this.active = plot;
    for (const one of this.plots) one.host.closest(".pane").classList.toggle("active", this.plots.length > 1 && one === plot);
    this.showCounts();
  }

  select(plot, row, follow = false) {
    const wasActive = this.active;
    this.activate(plot);
    plot.route = plot.head = null;
    plot.selected = row === plot.selected && !follow ? -1 : row;
    plot.hovered = -1;
    if (plot.selected >= 0) {
      plot.reveal([plot.selected]);
      if (follow) plot.centreOn(plot.selected);
      this.follow(plot);
    }
    for (const one of this.plots) one.paintOver();
    this.afterPlot("panel", () => {
      if (wasActive !== plot || this.tab !== "pins") this.showTab(plot.selected >= 0 && this.tab !== "pins" ? "node" : this.tab);
      this.diagram.mark();
      if (plot.selected >= 0) this.say(titleOf(plot.graph, plot.selected) + ", " + whereOf(plot.graph, plot.selected));
    });
  }

  // What changes beside the plots, in the frame after the one that paints them: together they take too long for one.
  afterPlot(what, change) {
    if (!this.due.size) requestAnimationFrame(() => requestAnimationFrame(() => this.catchUp()));
    this.due.set(what, change);
  }

  catchUp() {
    const changes = [...this.due.values()];
    this.due.clear();
    for (const change of changes) change();
  }

  // The same node of the other graph lights up with it.
  follow(plot) {
    if (this.plots.length < 2 || !plot.graph.counterpart) return;
    const other = this.plots[1 - plot.index];
    other.selected = plot.graph.counterpart[plot.selected];
    other.route = other.head = null;
  }

  hover(plot, row, event, quiet = false) {
    if (plot.hovered !== row) {
      plot.hovered = row;
      if (this.plots.length > 1 && plot.graph.counterpart) {
        const other = this.plots[1 - plot.index];
        other.hovered = row >= 0 ? plot.graph.counterpart[row] : -1;
        other.paintOver();
      }
      plot.over.style.cursor = row >= 0 ? "pointer" : "grab";
      plot.paintOver();
    }
    const tip = byId("tip");
    tip.hidden = row < 0 || quiet || !event;
    if (tip.hidden) return;
    tip.replaceChildren(...[h("b", {}, titleOf(plot.graph, row)), h("span", {}, subtitleOf(plot.graph, row)),
      plot.graph.kind[row] === KIND.LOGIT ? null : h("span", {}, "influence " + percent(plot.graph.influence[row]) + " \u00b7 " + effectsOf(plot.graph, row)[0]),
      plot.graph.notes.has(row) ? h("span.note", {}, shortNote(plot.graph, row)) : null].filter(Boolean));
    const x = Math.min(event.clientX + 16, window.innerWidth - tip.offsetWidth - 8);
    const y = event.clientY + 22 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 22;
    tip.style.transform = "translate(" + x + "px," + y + "px)";
  }

  showRoute(plot, route) {
    this.lightUp(plot, { route }, "routes");
    if (route) plot.reveal(route.rows);
  }

  showHead(plot, name) {
    this.lightUp(plot, { head: name }, "heads");
    if (name) this.say(name + ": " + counted(plot.lit().edges.length, "edge"));
  }

  lightUp(plot, { route = null, head = null }, tab) {
    this.activate(plot);
    Object.assign(plot, { selected: -1, route, head });
    plot.paintOver();
    this.showTab(tab);
  }

  togglePin(plot, row) {
    if (plot.pinned.has(row)) {
      plot.pinned.delete(row);
      for (const group of plot.groups) group.rows.delete(row);
    } else {
      plot.pinned.add(row);
      plot.reveal([row]);
    }
    this.pinsChanged(plot);
  }

  pinAll(plot, rows) {
    for (const row of rows) plot.pinned.add(row);
    this.pinsChanged(plot);
  }

  unpinAll(plot) {
    plot.pinned.clear();
    plot.groups = [];
    this.pinsChanged(plot);
  }

  group(plot, rows, name) {
    if (rows.length < 2) return this.say("tick at least two pins to group them");
    for (const group of plot.groups) for (const row of rows) group.rows.delete(row);
    plot.groups.push({ name: name.trim() || commonName(plot.graph, rows), rows: new Set(rows) });
    this.pinsChanged(plot);
  }

  groupLoose(plot) {
    const grouped = new Set(plot.groups.flatMap((group) => [...group.rows]));
    const loose = [...plot.pinned].filter((row) => !grouped.has(row) && !isBox(plot.graph, row));
    this.group(plot, loose, "");
  }

  ungroup(plot, group) {
    plot.groups = plot.groups.filter((one) => one !== group);
    this.pinsChanged(plot);
  }

  pinsChanged(plot) {
    plot.groups = plot.groups.filter((group) => group.rows.size > 0);
    plot.reveal([...plot.pinned]);
    plot.paintOver();
    this.afterPlot("pins", () => {
      this.diagram.draw();
      if (this.tab === "pins") this.showTab("pins");
      else refreshNodeTab(this);
      this.showPinCount();
    });
  }

  showPinCount() {
    const { pinned } = this.active;
    byId("pin-count").textContent = pinned.size ? " " + pinned.size : "";
  }

  setThreshold(share) {
    for (const plot of this.plots) {
      plot.threshold = share;
      plot.forced = new Set([...plot.pinned, ...(plot.route ? plot.route.rows : []), ...(plot.selected >= 0 ? [plot.selected] : [])]);
      plot.isDue = true;
      plot.moved();
    }
  }

  // So many nodes more or fewer as there are steps of a tenth.
  nudge(direction) {
    const { ranked, cumulative } = this.active.graph;
    if (!ranked.length) return;
    const now = ranked.filter((row) => cumulative[row] <= this.active.threshold + 1e-9).length;
    const step = Math.max(1, Math.round(now / 10));
    const next = Math.min(ranked.length, Math.max(1, now + direction * step));
    this.setThreshold(cumulative[ranked[next - 1]]);
  }

  setEdges(value) {
    for (const plot of this.plots) {
      plot.edgePower = value / 100;
      plot.paint();
    }
  }

  setLinks(links) {
    this.links = links;
    for (const button of document.querySelectorAll("#links button")) {
      button.setAttribute("aria-pressed", String(button.dataset.links === links));
    }
    for (const plot of this.plots) plot.paintOver();
  }

  letGo() {
    this.search.close();
    for (const plot of this.plots) {
      plot.selected = plot.hovered = -1;
      plot.route = plot.head = null;
      plot.paintOver();
    }
    this.showTab(this.tab === "node" ? "routes" : this.tab);
    this.diagram.mark();
  }

  // -- what follows
  showTab(tab) {
    const panel = byId("content"), controls = () => [...panel.querySelectorAll("button, input, textarea, a")];
    // What shows the same as before stays where it was scrolled to, and the focus where it was.
    const subject = [tab, this.active.index, tab === "node" ? this.active.selected : ""].join(" ");
    const stays = subject === this.shownSubject, top = panel.scrollTop;
    const focused = controls().indexOf(document.activeElement);
    this.shownSubject = subject;
    if (!stays) for (const plot of this.plots) plot.listedPins = [];
    this.due.delete("panel"); // whoever opens another tab at once means that one
    this.tab = tab;
    for (const button of document.querySelectorAll("#tabs button")) {
      const isOn = button.dataset.tab === tab;
      button.setAttribute("aria-selected", String(isOn));
      button.tabIndex = isOn ? 0 : -1;
      if (isOn) panel.setAttribute("aria-labelledby", button.id);
    }
    const hadFocus = panel.contains(document.activeElement) && document.activeElement !== panel;
    panel.replaceChildren(...TABS[tab](this).flat(3).filter(Boolean));
    if (top) panel.scrollTop = stays ? top : 0; // setting it would lay the page out at once
    this.memory?.later();
    if (hadFocus) ((stays && controls()[focused]) || panel).focus({ preventScroll: true });
  }

  showCounts() {
    const { graph, threshold, edgeLimit, power } = this.active, { inner, between } = this.active.place;
    const counts = [this.active.index, inner, between.length, edgeLimit, threshold].join(" ");
    if (counts === this.shownCounts) return; // setting what is there makes the browser lay the page out, too
    this.shownCounts = counts;
    const ranked = graph.ranked.length;
    byId("influence").max = ranked ? Math.ceil(graph.cumulative[graph.ranked[ranked - 1]] * 1000) : 1000;
    byId("influence").value = Math.round(threshold * 1000);
    const letter = this.plots.length > 1 ? "AB"[this.active.index] + ": " : "";
    byId("influence-text").textContent = letter + inner.toLocaleString("en") + " of " + counted(ranked, "node");
    byId("influence-text").title = "the nodes that carry the strongest " + percent(threshold) + " of influence";
    byId("edges").value = Math.round(power * 100);
    byId("influence").setAttribute("aria-valuetext", byId("influence-text").textContent);
    byId("edges-text").textContent = letter + Math.min(edgeLimit, between.length).toLocaleString("en") + " of " + between.length.toLocaleString("en");
    byId("edges").setAttribute("aria-valuetext", byId("edges-text").textContent);
  }

  painted(plot) {
    if (plot === this.active) this.showCounts();
    if (plot === this.active && plot.place !== this.shownPlace) refreshNodeTab(this);
    this.shownPlace = this.active.place;
    this.memory?.later();
  }

  recolor() {
    for (const plot of this.plots) plot.recolor();
  }

  say(words) {
    byId("live").textContent = words;
  }

  // A message for a while; without words the last one goes.
  notify(words, ...more) {
    const notice = byId("notice");
    clearTimeout(this.noticed);
    notice.hidden = !words;
    notice.replaceChildren(h("p", {}, words), ...more, h("button", { "aria-label": "close", onclick: () => this.notify("") }, "\u00d7"));
    if (words && !more.length) this.noticed = setTimeout(() => this.notify(""), NOTICE);
  }
}

byId("waiting").remove();
window.viewer = new App(JSON.parse(byId("data").textContent));
