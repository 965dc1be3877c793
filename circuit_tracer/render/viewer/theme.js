// Light, dark and print: the colours of the canvas come from the style sheet's own variables.

function themeColors(name = null) {
  const root = document.documentElement, before = root.dataset.theme;
  root.dataset.theme = name || before;
  const style = getComputedStyle(root), colors = {};
  for (const variable of [
    "paper", "stripe", "rule", "ink", "quiet", "feature", "feature-edge", "error", "error-edge", "token", "token-edge",
    "target", "target-ink", "positive", "positive-ink", "negative", "negative-ink", "accent", "pin",
  ]) colors[variable.replace(/-./, (part) => part[1].toUpperCase())] = style.getPropertyValue("--" + variable).trim();
  colors.halo = colors.paper;
  colors.tokenInk = (shade) => inkOn(colors.paper, colors.token, TOKEN_LEAST + (1 - TOKEN_LEAST) * shade);
  root.dataset.theme = before;
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

// As the system has it, until the user chooses.
const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");
let isChosen = false;

function followSystem() {
  if (!isChosen) document.documentElement.dataset.theme = systemIsDark.matches ? "dark" : "light";
}

function nextTheme() {
  const { dataset } = document.documentElement;
  isChosen = true;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
}

systemIsDark.addEventListener("change", followSystem);
followSystem();
