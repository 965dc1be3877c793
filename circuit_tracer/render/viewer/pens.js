// Two pens with the same strokes: one draws on a canvas, one writes SVG, so that what is exported
// or printed is what was on the screen. Shapes come as flat arrays of numbers, and both pens draw
// them as SVG path data, one path a call.

const round2 = (value) => String(Math.round(value * 100) / 100);
const at = (x, y) => round2(x) + "," + round2(y);

// A curve that leaves its start and reaches its end upright.
function curveData(x0, y0, x1, y1) {
  const pull = Math.min(Math.max(0.42 * Math.abs(y0 - y1), 12), 140) * (y0 > y1 ? 1 : -1);
  return bezierData([x0, y0, x0, y0 - pull, x1, y1 + pull, x1, y1]);
}

function bezierData([x0, y0, x1, y1, x2, y2, x3, y3]) {
  return "M" + at(x0, y0) + "C" + at(x1, y1) + " " + at(x2, y2) + " " + at(x3, y3);
}

function discData(x, y, r) {
  const arc = "a" + at(r, r) + " 0 1 0 ";
  return "M" + at(x - r, y) + arc + at(2 * r, 0) + arc + at(-2 * r, 0);
}

function diamondData(x, y, r) {
  return "M" + at(x, y - r) + "L" + at(x + r, y) + "L" + at(x, y + r) + "L" + at(x - r, y) + "Z";
}

class Pen {
  each(points, step, data, style) {
    const pieces = [];
    for (let i = 0; i < points.length; i += step) pieces.push(data(...points.slice(i, i + step)));
    if (pieces.length) this.path(pieces.join(""), style);
  }
  curves(points, style) { this.each(points, 4, curveData, style); }
  lines(points, style) { this.each(points, 4, (x0, y0, x1, y1) => "M" + at(x0, y0) + "L" + at(x1, y1), style); }
  discs(points, style) { this.each(points, 3, discData, style); }
  diamonds(points, style) { this.each(points, 3, diamondData, style); }
  halves(points, right, style) {
    const arc = (x, y, r) => "M" + at(x, y - r) + "A" + at(r, r) + " 0 0 " + (right ? 1 : 0) + " " + at(x, y + r) + "Z";
    this.each(points, 3, arc, style);
  }
}

class CanvasPen extends Pen {
  constructor(context) {
    super();
    this.context = context;
  }

  path(data, style) {
    this.outline(new Path2D(data), style);
  }

  box(x, y, width, height, style) {
    const path = new Path2D();
    if (style.radius) path.roundRect(x, y, width, height, style.radius);
    else path.rect(x, y, width, height);
    this.outline(path, style);
  }

  outline(path, style) {
    const { context } = this;
    context.globalAlpha = style.alpha ?? 1;
    context.setLineDash(style.dash || []);
    if (style.fill) {
      context.fillStyle = style.fill;
      context.fill(path);
    }
    if (style.stroke) {
      context.strokeStyle = style.stroke;
      context.lineWidth = style.width || 1;
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }

  text(words, x, y, style) {
    const { context } = this;
    context.font = (style.bold ? "600 " : "") + style.size + "px " + FONT;
    context.textAlign = style.align || "left";
    context.textBaseline = "alphabetic";
    context.save();
    context.translate(x, y);
    if (style.turn) context.rotate((style.turn * Math.PI) / 180);
    if (style.halo) {
      context.strokeStyle = style.halo;
      context.lineWidth = 3.5;
      context.lineJoin = "round";
      context.setLineDash([]);
      context.strokeText(words, 0, 0);
    }
    context.fillStyle = style.fill;
    context.fillText(words, 0, 0);
    context.restore();
  }
}

// Whatever comes from prompts and labels goes through here before it becomes markup.
function escaped(text) {
  return String(text)
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")
    .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;");
}

// An element as markup; numbers are rounded, attributes without a value left out.
function markup(tag, attributes, words = null) {
  const given = Object.entries(attributes).filter(([, value]) => value !== null && value !== undefined && value !== false);
  const written = given.map(([name, value]) => " " + name + '="' + (typeof value === "number" ? round2(value) : escaped(value)) + '"');
  return "<" + tag + written.join("") + (words === null ? "/>" : ">" + escaped(words) + "</" + tag + ">");
}

class SvgPen extends Pen {
  constructor() {
    super();
    this.parts = [];
  }

  // Curves lie over each other with their own alpha, as lines of one canvas path do not.
  path(data, style) {
    this.parts.push(markup("path", { d: data, ...this.outlined(style) }));
  }

  box(x, y, width, height, style) {
    this.parts.push(markup("rect", { x, y, width, height, rx: style.radius, ...this.outlined(style) }));
  }

  outlined({ fill, stroke, width, dash, alpha }) {
    return {
      fill: fill || "none", stroke, "stroke-width": stroke ? width || 1 : null,
      "stroke-dasharray": dash && dash.length ? dash.map(round2).join(" ") : null,
      opacity: (alpha ?? 1) < 1 ? alpha : null,
    };
  }

  text(words, x, y, { size, fill, align, bold, halo, turn }) {
    const outline = halo ? { stroke: halo, "stroke-width": 3.5, "stroke-linejoin": "round", "paint-order": "stroke" } : {};
    this.parts.push(markup("text", {
      x, y, "font-size": size, fill, "text-anchor": { center: "middle", right: "end" }[align], "font-weight": bold ? "600" : null,
      ...outline, transform: turn ? "rotate(" + turn + " " + round2(x) + " " + round2(y) + ")" : null,
    }, words));
  }
}

function svgDocument(width, height, parts, title, { x, y } = { x: 0, y: 0 }) {
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" width="' + round2(width) + '" height="' + round2(height) +
    '" viewBox="' + round2(x) + " " + round2(y) + " " + round2(width) + " " + round2(height) + '" font-family="' + escaped(FONT.replace(/'/g, "")) +
    '" role="img"><title>' + escaped(title) + "</title>\n" + parts.join("\n") + "\n</svg>\n"
  );
}
