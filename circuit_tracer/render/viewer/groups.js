// Pins and supernodes: the panel's tab about them, and the edges between them.

function pinsTab(app) {
  const plot = app.active, { graph } = plot;
  const inGroup = new Set(plot.groups.flatMap((group) => [...group.rows]));
  // In the order of pinning, and what was unpinned stays until the tab is left: nothing moves under the pointer.
  plot.listedPins.push(...[...plot.pinned].filter((row) => !plot.listedPins.includes(row)));
  const listed = plot.listedPins.filter((row) => !inGroup.has(row)), isPinned = (row) => plot.pinned.has(row);
  const intro = plot.pinned.size
    ? "Tick pins and group them: a group is one node of the route diagram below the plot. There, drag boxes to move them, or one onto another to group the two."
    : "Pinned nodes make up the route diagram. Double-click a node (or press Enter on it), or pin a whole route in the Routes tab.";
  const ticked = () => [...list.querySelectorAll("input:checked")].map((box) => Number(box.value));
  const name = h("input", { type: "text", placeholder: "name of the group", "aria-label": "name of the group", maxlength: 80 });
  const group = () => app.group(plot, ticked(), name.value);
  const list = h("ul.pins", {}, listed.map((row) => h(isPinned(row) ? "li" : "li.unpinned", {},
    h("label", {}, h("input", { type: "checkbox", value: row, disabled: !isPinned(row), "aria-label": titleOf(graph, row) }), sign(graph.kind[row])),
    h("button.go", { onclick: () => app.select(plot, row, true) },
      h("span.label", {}, titleOf(graph, row)), h("span.where", {}, whereOf(graph, row))),
    h("button.link", { onclick: () => app.togglePin(plot, row), "aria-label": (isPinned(row) ? "unpin " : "pin ") + titleOf(graph, row) }, isPinned(row) ? "unpin" : "pin"))));
  name.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && group());
  return [
    h("p.hint", {}, intro),
    plot.groups.map((one) => groupItem(app, plot, one)),
    listed.length ? h("div.grouping", {}, name, h("button", { onclick: group }, "Group")) : null,
    listed.length ? list : null,
    plot.pinned.size ? h("p", {}, h("button.link", { onclick: () => app.unpinAll(plot) }, "unpin all")) : null,
    textsPart(app, plot),
    app.memory && !app.memory.areMarksOwn(plot)
      ? h("p", {}, h("button.link", { onclick: () => app.memory.dropMarks(plot) }, "drop all my pins, groups, names and notes"))
      : null,
  ];
}

function groupItem(app, plot, group) {
  const { graph } = plot;
  const name = h("input", { type: "text", value: group.name, "aria-label": "name of the group", maxlength: 80 });
  name.addEventListener("change", () => {
    group.name = name.value.trim() || group.name;
    app.pinsChanged(plot);
  });
  return h("section.group", {},
    h("div.group-head", {}, name, h("button.link", { onclick: () => app.ungroup(plot, group) }, "ungroup")),
    h("ul.pins", {}, [...group.rows].sort((a, b) => a - b).map((row) => h("li", {},
      sign(graph.kind[row]),
      h("button.go", { onclick: () => app.select(plot, row, true) },
        h("span.label", {}, titleOf(graph, row)), h("span.where", {}, whereOf(graph, row)))))));
}

// The words that most of the members' labels have, by influence; else the strongest member's.
function commonName(graph, rows) {
  const weight = new Map();
  for (const row of rows) {
    const words = new Set(titleOf(graph, row).split(/[\s\u2192/,:]+/).filter((word) => word.length > 1));
    for (const word of words) weight.set(word, (weight.get(word) || 0) + graph.influence[row] + 1e-9);
  }
  const best = [...weight].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
  const strongest = rows.reduce((a, b) => (graph.influence[b] > graph.influence[a] ? b : a));
  return best && best[1] > 0.6 * rows.reduce((sum, row) => sum + graph.influence[row], 0) ? best[0] : titleOf(graph, strongest);
}

// The nodes of the route diagram: groups, then pins alone, from the bottom up.
function diagramNodes(plot, pinned = plot.pinned) {
  const { graph } = plot, grouped = new Set();
  const nodes = plot.groups.map((group) => {
    for (const row of group.rows) grouped.add(row);
    return { ...boxOfRows(graph, [...group.rows].sort((a, b) => a - b)), name: group.name, group };
  });
  for (const row of [...pinned].sort((a, b) => a - b)) if (!grouped.has(row)) nodes.push(boxOfRows(graph, [row]));
  return nodes;
}

function boxOfRows(graph, rows) {
  const mean = (column) => rows.reduce((sum, row) => sum + column[row], 0) / rows.length;
  return {
    name: isBox(graph, rows[0]) ? titleOf(graph, rows[0]) : calledOf(graph, rows[0]), rows, group: null, key: rows.join(" "), layer: mean(graph.layer), position: mean(graph.position),
    kind: rows.length > 1 ? KIND.FEATURE : graph.kind[rows[0]],
    isToken: rows.every((row) => graph.kind[row] === KIND.EMBEDDING), isTarget: rows.every((row) => graph.kind[row] === KIND.LOGIT),
  };
}

// Edges between them as the supernodes command joins them: an edge's share sums over the source's
// members and is a mean over the target's, by their influence (for a target, its weight).
function diagramEdges(graph, nodes) {
  const of = new Map(nodes.flatMap((node, i) => node.rows.map((row) => [row, i])));
  const matters = (row) =>
    graph.into.start[row + 1] > graph.into.start[row] ? Math.max(graph.influence[row] + graph.targetWeight[row], 1e-300) : 0;
  const sums = new Map();
  nodes.forEach((node, to) => {
    const whole = node.rows.reduce((sum, row) => sum + matters(row), 0);
    if (!whole) return;
    for (const row of node.rows) {
      for (const edge of edgesInto(graph, row)) {
        const from = of.get(graph.source[edge]);
        if (from === undefined || from === to) continue;
        const key = from * nodes.length + to;
        const sum = sums.get(key) || { source: from, target: to, weight: 0, share: 0 };
        sum.weight += graph.weight[edge];
        sum.share += (shareOf(graph, edge) * matters(row)) / whole;
        sums.set(key, sum);
      }
    }
  });
  return [...sums.values()].sort((a, b) => Math.abs(b.share) - Math.abs(a.share) || a.source - b.source || a.target - b.target);
}
