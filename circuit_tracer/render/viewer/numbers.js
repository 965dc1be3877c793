// Numbers in words, the same as in the terminal (render/numbers.py).

// "12 %", "1.4 %", "0.03 %"; never "0 %" for what is not 0.
function percent(share) {
  const value = 100 * share;
  if (!Number.isFinite(value)) return "?";
  const size = Math.abs(value);
  const unit = "\u00a0%";
  if (value !== 0 && size < 0.005) return (value > 0 ? "<0.01" : ">\u22120.01") + unit;
  const digits = size >= 9.95 || value === 0 ? 0 : size >= 0.095 ? 1 : 2;
  return value.toFixed(digits).replace("-", "\u2212") + unit;
}

function signedPercent(share) {
  return (share > 0 ? "+" : "") + percent(share);
}

// Three significant digits, without an exponent at everyday sizes.
function figureOf(value) {
  if (!Number.isFinite(value)) return "?";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.001 || size >= 1e6) return value.toExponential(1);
  const digits = size < 1 ? 3 : size < 100 ? 2 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
}

function counted(count, word) {
  return count.toLocaleString("en") + " " + word + (count === 1 ? "" : "s");
}
