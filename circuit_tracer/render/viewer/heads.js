// Attention heads: the panel's tab about those that the graph's influence passes through, and the
// heads of one edge.

function headsTab(app) {
  const plot = app.active, { graph } = plot;
  if (!graph.leading.length) return wayToHeads(graph);
  return [
    h("p.hint", {}, "How much of the influence along the kept edges passes through a head, and its largest move: from which token to which. An edge passes heads in every layer between its ends, so several can carry the same part." +
      (graph.heads ? " A click lights up the edges that a head carries, and says how much of that starts where." : "")),
    h("ol.leading", {}, graph.leading.map((head) => leadingItem(app, plot, head, graph.leading[0].share))),
    ...wayToHeads(graph),
  ];
}

function leadingItem(app, plot, head, most) {
  const isOn = plot.head === head.name, parts = headParts(plot.graph, head, most, percent(head.share));
  if (!plot.graph.heads) return h("li.head", {}, parts);
  return h(isOn ? "li.on" : "li", {},
    h("button.go.head", { onclick: () => app.showHead(plot, isOn ? null : head.name), "aria-pressed": String(isOn) }, parts));
}

// Where the heads of single edges are, or the command that brings them in.
function wayToHeads(graph, isTab = true) {
  if (graph.heads) {
    return isTab ? [h("p.hint", {}, "All heads of one edge: \u201cheads\u201d in a node\u2019s lists of inputs and outputs.")] : [];
  }
  const words = "The attention heads of single edges need the model and are not in this page. This brings them in";
  return missing(graph, words, (folder) => "circuit-tracer heads " + folder + " --save");
}

function headParts(graph, head, most, words) {
  return [
    h("span.share", { class: head.share < 0 ? "share down" : "share up" }, words),
    bar(head.share, most),
    h("span.label", {}, head.name),
    head.key < 0 ? null : h("span.where", {}, "\u201c" + graph.tokens[head.key] + "\u201d " + (head.key === head.query ? "itself" : "\u2192 \u201c" + graph.tokens[head.query] + "\u201d")),
  ];
}

function edgeHeads(graph, heads) {
  return heads.map((head) => h("li.head", {}, headParts(graph, head, Math.abs(heads[0].share), signedPercent(head.share))));
}
