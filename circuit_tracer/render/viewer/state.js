// What a page is left as, and found as: in its address (a link) and in the browser's storage.
//
// Pins, groups, names and notes are the marks on a graph; sliders, zoom, selection, tab and search
// are the view of it. Both are one small JSON object in which all that stands as it was at first is
// left out; nodes are numbers of the page's rows. It says of which graph it is (a hash of its nodes
// and edges), so a link opens on every page of that graph, and on no other. A link's state comes
// before the stored one, and that before the graph's own marks. Links and storage are anybody's text:
// every field is checked before anything changes.

const STATE_VERSION = 1;
const FRAGMENT = "#view=";
const LONGEST_FRAGMENT = 2000;
const SAVE_AFTER = 300;
const FARTHEST_ZOOM = 40;

const short = (value, digits = 4) => Number(value.toFixed(digits));
const ascending = (rows) => [...rows].sort((a, b) => a - b);

function marksOf(plot) {
  return {
    pins: ascending(plot.pinned),
    groups: plot.groups.map((group) => [group.name, ...ascending(group.rows)]),
    names: [...plot.graph.names].sort((a, b) => a[0] - b[0]),
    notes: [...plot.graph.notes].sort((a, b) => a[0] - b[0]),
    places: [...plot.app.diagram.movedOf(plot)].map(([key, corner]) => [key, ...corner.map((one) => short(one, 1))]),
  };
}

function viewOf(plot) {
  const { graph } = plot, rest = new Set([...plot.pinned, plot.selected, ...(plot.route?.rows ?? [])]);
  return {
    share: plot.threshold, power: plot.edgePower, zoom: plot.framing.map((one) => short(one)),
    selected: plot.selected, route: graph.routes.indexOf(plot.route), head: plot.head,
    shown: ascending([...plot.forced].filter((row) => !rest.has(row) && graph.cumulative[row] > plot.threshold + 1e-9)),
  };
}

function pageOf(app) {
  return {
    links: app.links, tab: app.tab, active: app.active.index, search: app.active.matches ? app.search.field.value : "",
    folded: app.diagram.drawer.classList.contains("folded"),
  };
}

// What differs from `first`; null for nothing.
function changes(now, first) {
  const keys = Object.keys(now).filter((key) => JSON.stringify(now[key]) !== JSON.stringify(first[key]));
  return keys.length ? Object.fromEntries(keys.map((key) => [key, now[key]])) : null;
}

function encoded(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function decoded(text) {
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(raw, (one) => one.charCodeAt(0))));
}

// -- checks: what each field must be
function check(isRight) {
  if (!isRight) throw new Error("a state of another shape");
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isWithin = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;
const isRow = (graph, value) => Number.isInteger(value) && value >= 0 && value < graph.n;
const areRows = (graph, value) => Array.isArray(value) && value.every((row) => isRow(graph, row));
const arePairs = (value, isFirst) => Array.isArray(value) && value.every((one) => Array.isArray(one) && one.length === 2 && isFirst(one[0]) && isText(one[1]));

function checkPlot(graph, state) {
  const { pins, groups, names, notes, places, share, power, zoom, selected, route, head, shown } = state;
  check(areRows(graph, pins) && areRows(graph, shown));
  check(Array.isArray(groups) && groups.every((one) => Array.isArray(one) && isText(one[0]) && one.length > 1 && areRows(graph, one.slice(1))));
  check(arePairs(names, (row) => isRow(graph, row) && isNameable(graph, row)) && arePairs(notes, (row) => isRow(graph, row)));
  check(Array.isArray(places) && places.every((one) => Array.isArray(one) && one.length === 3 && isText(one[0]) && one.slice(1).every((at) => isWithin(at, 0, FARTHEST))));
  check(isWithin(share, 0, 2) && (power === null || isWithin(power, 0, 1)));
  check(Array.isArray(zoom) && zoom.length === 3 && isWithin(zoom[0], 0.01, FARTHEST_ZOOM) && zoom.slice(1).every((at) => isWithin(at, -10, 10)));
  check(selected === -1 || isRow(graph, selected));
  check(Number.isInteger(route) && route >= -1 && route < graph.routes.length);
  check(head === null || (graph.heads && graph.leading.some((one) => one.name === head)));
}

function checkPage(app, { links, tab, active, search, folded }) {
  check(["inputs", "both", "outputs"].includes(links) && isText(tab) && Object.hasOwn(TABS, tab));
  check(Number.isInteger(active) && Boolean(app.plots[active]) && isText(search) && search.length <= LONGEST_FRAGMENT && typeof folded === "boolean");
}

// -- changing the page
function putMarks(plot, { pins, groups, names, notes, places }) {
  const taken = new Set();
  plot.pinned = new Set(pins);
  plot.groups = groups.map(([name, ...rows]) => {
    const own = rows.filter((row) => !taken.has(row));
    for (const row of own) plot.pinned.add(row) && taken.add(row);
    return { name: plainLine(name, 80) || "group", rows: new Set(own) };
  }).filter((group) => group.rows.size);
  const isText = ([, text]) => text;
  putTexts(plot.graph, names.map(([row, name]) => [row, plainLine(name)]).filter(isText), notes.map(([row, note]) => [row, plainNote(note)]).filter(isText));
  plot.app.diagram.moved.set(plot, new Map(places.map(([key, ...corner]) => [key, corner])));
}

function putView(plot, { share, power, zoom, selected, route, head, shown }) {
  Object.assign(plot, { threshold: share, edgePower: power, selected, head, hovered: -1, matches: null, route: plot.graph.routes[route] ?? null });
  plot.forced = new Set([...shown, ...plot.pinned, ...(plot.route?.rows ?? []), ...(selected >= 0 ? [selected] : [])]);
  plot.relayout();
  plot.framing = zoom;
}

// The whole page as a state has it; `plots` and `page` are complete and checked.
function putState(app, { plots, page }) {
  app.plots.forEach((plot, i) => {
    putMarks(plot, plots[i]);
    putView(plot, plots[i]);
  });
  app.activate(app.plots[page.active]);
  app.setLinks(page.links);
  app.search.put(page.search);
  app.showTab(page.tab);
  app.showPinCount();
  if (page.folded !== pageOf(app).folded) app.diagram.fold();
  app.diagram.draw();
}

class Memory {
  constructor(app) {
    this.app = app;
    this.graph = app.plots.map((plot) => plot.graph.identity).join("+");
    this.key = "circuit-tracer view of " + app.plots.map((plot) => plot.graph.slug).join(" and ") + " " + this.graph;
    this.first = this.whole();
    this.saved = "";
    this.isLink = true;
    if (!this.takeLink()) this.takeStored();
    else this.offerStored();
    window.addEventListener("hashchange", () => this.takeLink());
    window.addEventListener("pagehide", () => this.save());
    for (const kind of ["pointerup", "keyup", "input", "change"]) document.addEventListener(kind, () => this.later(), true);
  }

  whole() {
    return { plots: this.app.plots.map((plot) => ({ ...marksOf(plot), ...viewOf(plot) })), page: pageOf(this.app) };
  }

  // The state as text; "" for the page as it was at first.
  text() {
    const now = this.whole();
    const plots = now.plots.map((plot, i) => changes(plot, this.first.plots[i]));
    const page = changes(now.page, this.first.page);
    if (!page && !plots.some(Boolean)) return "";
    return encoded({ v: STATE_VERSION, of: this.graph, plots, ...(page ? { page } : {}) });
  }

  // A state from its text, completed and checked. Throws for any other text.
  parsed(text) {
    const state = decoded(text);
    check(isObject(state) && state.v === STATE_VERSION && state.of === this.graph);
    check(Array.isArray(state.plots) && state.plots.length === this.app.plots.length);
    const plots = this.first.plots.map((first, i) => ({ ...first, ...(state.plots[i] ?? {}) }));
    const page = { ...this.first.page, ...(state.page ?? {}) };
    plots.forEach((plot, i) => checkPlot(this.app.plots[i].graph, plot));
    checkPage(this.app, page);
    return { plots, page };
  }

  // Whether the address had a state of this graph.
  takeLink() {
    const { hash } = window.location;
    if (hash.length < 2 || hash === FRAGMENT + this.saved) return false;
    try {
      check(hash.startsWith(FRAGMENT));
      putState(this.app, this.parsed(hash.slice(FRAGMENT.length)));
      this.saved = this.text(); // nothing is stored until something changes
      return true;
    } catch {
      this.app.notify("The view in this link is of another graph or another version of this page; it was left out.");
      return false;
    }
  }

  takeStored(text = this.stored()) {
    if (!text) return;
    try {
      putState(this.app, this.parsed(text));
    } catch {
      this.store(""); // nobody's fault here, and nothing to be done about it
    }
    this.later();
  }

  // Of a link the browser may remember another state of the same graph: it is not lost unseen.
  offerStored() {
    const text = this.stored();
    if (!text || text === this.saved) return;
    const show = () => {
      this.app.notify("");
      this.takeStored(text);
    };
    this.app.notify("This is the view of the link. This browser remembers another one of this graph.", h("button", { onclick: show }, "Show that"));
  }

  // Storage can be denied, full or missing: then there is none.
  stored() {
    try {
      return window.localStorage.getItem(this.key);
    } catch {
      return null;
    }
  }

  store(text) {
    try {
      if (text) window.localStorage.setItem(this.key, text);
      else window.localStorage.removeItem(this.key);
      return true;
    } catch {
      return false;
    }
  }

  // Once nothing has happened for a while: saving takes part of a frame.
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), SAVE_AFTER);
  }

  save() {
    this.app.catchUp(); // the page may be left in the frame of a click
    clearTimeout(this.timer);
    this.timer = 0;
    const text = this.text();
    if (text === this.saved) return;
    this.saved = text;
    const isStored = this.store(text), wasLink = this.isLink;
    this.isLink = FRAGMENT.length + text.length <= LONGEST_FRAGMENT;
    try {
      window.history.replaceState(null, "", this.address());
    } catch {
      // a page in a frame of another origin has no address of its own
    }
    if (!this.isLink && wasLink) {
      this.app.notify("There are too many marks on this graph for a link. " + (isStored
        ? "This browser remembers them; Export hands them on."
        : "This browser stores nothing for this page either: keep them by Export."));
    }
  }

  // Of this page, with the state in it where it has room.
  address() {
    const bare = window.location.href.split("#")[0];
    return this.isLink && this.saved ? bare + FRAGMENT + this.saved : bare;
  }

  async copyLink() {
    this.save();
    if (!this.isLink) return this.app.notify("There are too many marks on this graph for a link; Export hands them on as a file.");
    const link = this.address();
    try {
      await window.navigator.clipboard.writeText(link);
      this.app.notify("Copied: a link to this page as it is now" + (link.startsWith("file:") ? ", for browsers that find this file at the same place." : "."));
    } catch {
      const field = h("input", { type: "text", readonly: true, value: link, "aria-label": "link to this view" });
      this.app.notify("The link to this page as it is now:", field);
      field.focus();
      field.select();
    }
  }

  // Sliders, zoom, selection, tab and search as at first; marks stay.
  resetView() {
    const now = this.whole(), { plots, page } = this.first;
    this.put({ plots: plots.map((first, i) => ({ ...now.plots[i], ...Object.fromEntries(Object.keys(viewOf(this.app.plots[i])).map((key) => [key, first[key]])) })), page });
  }

  areMarksOwn(plot) {
    return !changes(marksOf(plot), { ...this.first.plots[plot.index] });
  }

  // The graph's own pins, groups, names and notes; what there was comes back with a button.
  dropMarks(plot) {
    const before = this.whole(), own = marksOf(plot), plots = [...before.plots];
    plots[plot.index] = { ...plots[plot.index], ...Object.fromEntries(Object.keys(own).map((key) => [key, this.first.plots[plot.index][key]])) };
    this.put({ ...before, plots });
    this.app.notify("Your pins, groups, names and notes on this graph are gone.", h("button", { onclick: () => { this.put(before); this.app.notify(""); } }, "Bring them back"));
  }

  put(state) {
    putState(this.app, state);
    this.later();
  }
}
