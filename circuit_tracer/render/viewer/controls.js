// The head of the page, its sliders and buttons, and the legend under the plot.

function showHeadline(app) {
  const { graph } = app.plots[0];
  if (app.run) byId("above").append(h("a", { href: "../index.html", title: "all graphs of " + app.run }, "\u2190 ", app.run));
  byId("prompt").textContent = app.plots.map((plot) => plot.graph.prompt).join("  |  ");
  byId("prompt").title = byId("prompt").textContent;
  byId("about").textContent = graph.about;
  document.title = app.plots.map((plot) => plot.graph.prompt).join(" | ") + " \u00b7 attribution graph";
  const verdict = byId("verdict");
  verdict.hidden = !graph.trust || app.plots.length > 1;
  if (graph.trust) {
    verdict.dataset.level = graph.trust.level;
    verdict.replaceChildren(...prose(graph.trust.headline));
    verdict.addEventListener("click", () => app.showTab("trust"));
  }
}

function listenToControls(app) {
  const influence = byId("influence"), edges = byId("edges");
  influence.addEventListener("input", () => app.setThreshold(Number(influence.value) / 1000));
  edges.addEventListener("input", () => app.setEdges(Number(edges.value)));
  for (const button of document.querySelectorAll("#links button")) {
    button.addEventListener("click", () => app.setLinks(button.dataset.links));
  }
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const by = { in: 1.3, out: 1 / 1.3 }[button.dataset.zoom];
      for (const plot of app.plots) {
        if (by) plot.zoom(by);
        else {
          plot.fit();
          plot.paint();
        }
      }
    });
  }
  const tabs = [...document.querySelectorAll("#tabs button")];
  for (const tab of tabs) tab.addEventListener("click", () => app.showTab(tab.dataset.tab));
  byId("tabs").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = tabs[(tabs.findIndex((tab) => tab.dataset.tab === app.tab) + by + tabs.length) % tabs.length];
    app.showTab(next.dataset.tab);
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  });
  byId("theme").addEventListener("click", () => {
    nextTheme();
    app.recolor();
  });
  byId("copy-link").addEventListener("click", () => app.memory.copyLink());
  byId("reset-view").addEventListener("click", () => app.memory.resetView());
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("keys").append(...KEYS.map(([key, words]) => h("div", {}, h("dt", {}, key), h("dd", {}, words))));
  for (const button of document.querySelectorAll("[data-export]")) {
    button.addEventListener("click", () => {
      exportAs(app, button.dataset.export);
      button.closest("details").open = false;
    });
  }
  byId("load").addEventListener("change", (event) => {
    if (event.target.files[0]) loadPins(app, event.target.files[0]);
    event.target.value = "";
  });
  const menu = document.querySelector("details.menu");
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  });
  document.addEventListener("pointerdown", (event) => {
    if (menu.open && !event.target.closest("details.menu")) menu.open = false;
  });
}

// The marks that occur, each with what it stands for.
function showLegend(app) {
  const kinds = new Set(app.plots.flatMap((plot) => [...plot.graph.kind]));
  const hollow = app.plots.some((plot) => plot.graph.kind.some((kind, row) => kind === KIND.FEATURE && !plot.graph.expanded[row]));
  const line = (down) => svg("svg.sign", { viewBox: "0 0 26 14", width: 26, height: 14, "aria-hidden": "true" },
    svg(down ? "path.link.negative" : "path.link.positive", { d: "M1,7H25", "stroke-width": 2, "stroke-dasharray": down ? "6 3.5" : null }));
  const items = [
    [sign(KIND.LOGIT), "what the model says next"],
    kinds.has(KIND.FEATURE) && [sign(KIND.FEATURE), "feature, area by influence"],
    hollow && [sign(KIND.FEATURE, true), "inputs not computed"],
    kinds.has(KIND.ERROR) && [sign(KIND.ERROR), "error: not reconstructed"],
    [sign(KIND.EMBEDDING), "token"],
    [line(false), "pushes up"], [line(true), "pushes down"],
    app.plots.length > 1 && [halfSign(), "in one of the graphs alone"],
  ].filter(Boolean);
  byId("legend").replaceChildren(...items.map(([mark, words]) => h("span", {}, mark, words)));
}

function halfSign() {
  return svg("svg.sign", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
    svg("circle.s-hollow", { cx: 7, cy: 7, r: 5 }), svg("path.s-feature", { d: "M7 2A5 5 0 0 0 7 12Z" }));
}
