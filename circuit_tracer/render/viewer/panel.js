// The panel's tab about one node: facts, feature card, inputs and outputs with heads.

const SHOWN_LINKS = 10;

function nodeTab(app) {
  const plot = app.active, { graph } = plot, row = plot.selected;
  if (row < 0) {
    return [h("p.hint", {}, "Click a node to see what it is, what feeds it and what it feeds. Double-click pins it.")];
  }
  const kind = graph.kind[row];
  const parts = [
    h("div.node-head", {},
      sign(kind, kind === KIND.FEATURE && !graph.expanded[row]),
      h("div", {}, titlePart(app, plot, row), h("p.sub", {}, subtitleOf(graph, row))),
      pinned(plot, row, h("button", { onclick: () => app.togglePin(plot, row) }))),
    factsOf(graph, row),
    kind === KIND.LOGIT ? null : h("div.effects", {}, effectsOf(graph, row).map((words) => h("p", {}, words))),
    notePart(app, plot, row),
    otherGraph(app, plot, row),
    kind === KIND.FEATURE ? cardPart(graph, row) : null,
    linkList(app, plot, row, "inputs"),
    linkList(app, plot, row, "outputs"),
    graph.into.start[row + 1] - graph.into.start[row] + graph.outOf.start[row + 1] - graph.outOf.start[row] ? wayToHeads(graph, false) : null,
  ];
  return parts;
}

// The button that pins, or unpins what is pinned.
function pinned(plot, row, button) {
  const isPinned = plot.pinned.has(row);
  button.setAttribute("aria-pressed", String(isPinned));
  button.textContent = isPinned ? "Unpin" : "Pin";
  return button;
}

// The same node, whose pin or whose neighbours in the plot may have changed.
function refreshNodeTab(app) {
  const plot = app.active, panel = byId("content");
  if (app.tab !== "node" || plot.selected < 0) return;
  pinned(plot, plot.selected, panel.querySelector(".node-head > button"));
  for (const section of panel.querySelectorAll("section.inputs, section.outputs")) markAway(plot, section);
}

// Nodes of a list that are not in the plot.
function markAway(plot, section) {
  const items = [...section.querySelectorAll("li[data-row]")];
  for (const item of items) item.classList.toggle("away", !plot.place.shown[item.dataset.row]);
  section.querySelector(".hint").hidden = !section.querySelector(".away");
  return section;
}

function subtitleOf(graph, row) {
  const kind = graph.kind[row], token = "\u201c" + graph.tokens[graph.position[row]] + "\u201d";
  if (kind === KIND.EMBEDDING) return "token " + graph.position[row] + " of the prompt";
  if (kind === KIND.LOGIT) return "target: what the model says after " + token;
  if (kind === KIND.ERROR) return "error of layer " + graph.layer[row] + " at " + token + ": what the dictionary does not reconstruct";
  return graph.name[row] + " \u00b7 layer " + graph.layer[row] + ", feature " + graph.feature[row] + ", at " + token;
}

const FACTS = {
  influence: "share of the influence on the targets that passes through this node",
  cumulative: "share that this node and all stronger ones have: lower is more important",
  constant: "the part of its value that comes from no node: biases, and what is zeroed at BOS",
};

function factsOf(graph, row) {
  const kind = graph.kind[row], facts = [];
  if (kind === KIND.LOGIT) {
    const target = graph.targetOf.get(row);
    const chance = target.value ? [] : [["probability", percent(target.probability)]];
    facts.push(...chance, [target.value || "logit", figureOf(target.logit)]);
  } else facts.push(["influence", percent(graph.influence[row])], ["cumulative", percent(graph.cumulative[row])]);
  if (kind === KIND.FEATURE) facts.push(["activation", figureOf(graph.activation[row])]);
  if (Number.isFinite(graph.constant[row]) && graph.total[row] > 0) {
    facts.push(["constant", figureOf(graph.constant[row]) + " of " + figureOf(graph.value[row])]);
  }
  return h("dl.facts", {}, facts.map(([name, value]) => h("div", { title: FACTS[name] }, h("dt", {}, name), h("dd", {}, value))));
}

// What the node does to the first targets: "raises yellow: directly +0.42, through other features +1.1".
function effectsOf(graph, row) {
  const size = graph.totalEffect.length / graph.n;
  return graph.targets.slice(0, size).map((target, i) => {
    const direct = graph.directEffect[row * size + i], total = graph.totalEffect[row * size + i];
    const parts = [["directly", direct], ["through other features", total - direct]];
    const said = parts.filter(([, value]) => Math.abs(value) >= 1e-6).map(([way, value]) => way + " " + signedLogit(value));
    if (!said.length) return "has no effect on " + target.token;
    return (total > 0 ? "raises " : "lowers ") + target.token + ": " + said.join(", ");
  });
}

function signedLogit(value) {
  const size = Math.abs(value), sign = value > 0 ? "+" : "";
  if (size < 0.1) return sign + figureOf(value);
  return sign + value.toFixed(size >= 9.95 ? 0 : size >= 0.995 ? 1 : 2).replace("-", "\u2212");
}

function otherGraph(app, plot, row) {
  if (app.plots.length < 2 || !plot.graph.counterpart) return null;
  const other = app.plots[1 - plot.index], at = plot.graph.counterpart[row];
  const letter = "AB"[other.index];
  if (at < 0) return h("p.other", {}, "Only graph " + "AB"[plot.index] + " keeps it.");
  return h("p.other", {}, "In graph " + letter + ": influence " + percent(other.graph.influence[at]) + " ",
    h("button.link", { onclick: () => app.select(other, at) }, "show"));
}

function cardPart(graph, row) {
  const card = cardFor(graph, row);
  const page = pageLink(graph, row);
  if (!card) return h("p.hint", {}, page, graph.cards ? "This feature's card is not in the page (the most influential " + graph.cards.list.length.toLocaleString("en") + " are)." : "There are no feature cards in this page.");
  return h("section.card", {},
    h("h3", {}, "Feature card", page),
    h("dl.facts", {},
      card.examples.length ? [fact("fires on", percent(card.frequency ?? NaN) + " of tokens"), fact("maximum", figureOf(card.most))] : null),
    chips("promotes", card.promotes), chips("suppresses", card.suppresses),
    card.examples.map((group) => [
      h("h4", {}, group.quantile === "Top" ? "Strongest contexts" : group.quantile),
      group.examples.map((example) => context(graph, card, example)),
    ]));
}

// To the feature's page on Neuronpedia, where the dictionary is one that has them there.
function pageLink(graph, row) {
  if (!graph.featurePages) return null;
  const address = graph.featurePages.replace("{layer}", graph.layer[row]).replace("{feature}", graph.feature[row]);
  return h("a.page", { href: address, target: "_blank", rel: "noopener noreferrer" }, "Neuronpedia");
}

function fact(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function chips(name, tokens) {
  if (!tokens.length) return null;
  return h("p.chips", {}, h("span.name", {}, name), tokens.map((token) => h("span.chip", {}, token)));
}

// A context's tokens, each the darker the stronger the feature fires there.
function context(graph, card, [tokens, activations]) {
  return h("p.context", {}, tokens.map((number, i) => {
    const share = activations[i] / 255;
    const word = graph.cards.tokens[number];
    return share > 0
      ? h("span.fires", { style: { "--share": share.toFixed(3) }, title: figureOf(share * card.most) }, word)
      : h("span", {}, word);
  }));
}

function linkList(app, plot, row, way) {
  const { graph } = plot;
  const isInputs = way === "inputs";
  const edges = byShare(graph, isInputs ? edgesInto(graph, row) : edgesOutOf(graph, row));
  if (!edges.length) return null;
  const most = Math.abs(shareOf(graph, edges[0]));
  const items = (first, end) => edges.slice(first, end).map((edge) => linkItem(app, plot, edge, isInputs ? graph.source[edge] : graph.target[edge], most));
  const list = h("ol.links", {}, items(0, SHOWN_LINKS));
  const showAll = () => {
    list.append(...items(SHOWN_LINKS));
    more.remove();
    markAway(plot, section);
  };
  const more = edges.length > SHOWN_LINKS ? h("button.link", { onclick: showAll }, "show all " + edges.length.toLocaleString("en")) : null;
  const sum = isInputs ? edges.reduce((total, edge) => total + Math.abs(shareOf(graph, edge)), 0) : 0;
  const note = isInputs ? "shares of what goes into it; together " + percent(sum) : "shares of what goes into each";
  const section = h("section." + way, {},
    h("h3", {}, isInputs ? "Inputs" : "Outputs", h("small", {}, note)), list, more,
    h("p.hint", {}, "In italics: not in the plot as the Nodes slider stands; a click brings it in."));
  return markAway(plot, section);
}

function linkItem(app, plot, edge, other, most) {
  const { graph } = plot, share = shareOf(graph, edge), heads = headsOf(graph, edge);
  const detail = heads.length ? h("ol.heads", { hidden: true }) : null;
  const toggle = heads.length
    ? h("button.more", {
        "aria-expanded": "false", "aria-label": "attention heads of this edge", title: "attention heads of this edge",
        onclick: (event) => {
          detail.hidden = !detail.hidden;
          event.currentTarget.setAttribute("aria-expanded", String(!detail.hidden));
          if (!detail.childElementCount) detail.append(...edgeHeads(graph, heads));
        },
      }, "heads")
    : null;
  const go = h("button.go", {
    onclick: () => app.select(plot, other, true),
    onpointerenter: () => app.hover(plot, plot.place.shown[other] ? other : -1, null, true),
    onpointerleave: () => app.hover(plot, -1, null, true),
    title: "weight " + figureOf(graph.weight[edge]),
  },
    h("span.share", { class: share < 0 ? "share down" : "share up" }, signedPercent(share)),
    bar(share, most), sign(graph.kind[other], graph.kind[other] === KIND.FEATURE && !graph.expanded[other]),
    h("span.label", {}, titleOf(graph, other)), h("span.where", {}, whereOf(graph, other)));
  return h("li", { "data-row": other }, heads.length ? [h("div.row", {}, go, toggle), detail] : go);
}
