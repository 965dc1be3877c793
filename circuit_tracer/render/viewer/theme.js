// Light, dark and print: the colours of the canvas come from the style sheet's own variables.

function themeColors(name = null) {
  const root = document.documentElement;
  const before = root.dataset.theme;
  if (name) root.dataset.theme = name;
  const style = getComputedStyle(root);
  const of = (variable) => style.getPropertyValue("--" + variable).trim();
  const colors = {};
  for (const key of [
    "paper", "stripe", "rule", "ink", "quiet", "feature", "error", "token", "target", "positive", "negative",
    "accent", "pin",
  ]) colors[key] = of(key);
  colors.featureEdge = of("feature-edge");
  colors.errorEdge = of("error-edge");
  colors.tokenEdge = of("token-edge");
  colors.targetInk = of("target-ink");
  colors.positiveInk = of("positive-ink");
  colors.negativeInk = of("negative-ink");
  colors.halo = of("paper");
  const inks = [of("ink"), of("token-ink")];
  colors.tokenInk = (shade) => inks[shade > 0.55 ? 1 : 0];
  if (name) {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
  }
  return colors;
}

function nextTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}
