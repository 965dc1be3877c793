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
  colors.tokenInk = (shade) => inkOn(colors.paper, colors.token, TOKEN_LEAST + (1 - TOKEN_LEAST) * shade);
  if (name) {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
  }
  return colors;
}

const TOKEN_LEAST = 0.08;

// Black or white, whichever is easier to read on one colour that lies on another (WCAG 2 contrast).
function inkOn(under, over, alpha) {
  const parts = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  const below = parts(under);
  const light = parts(over).map((part, i) => {
    const mixed = alpha * part + (1 - alpha) * below[i];
    return mixed <= 0.03928 ? mixed / 12.92 : ((mixed + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

function nextTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}
