// Two pens with the same strokes: one draws on a canvas, one writes SVG, so that what is exported
// or printed is what was on the screen. Shapes come as flat arrays of numbers, and are drawn on one
// path a call: the canvas's own, or one with the same methods that writes SVG path data.

const round2 = (value) => String(Math.round(value * 100) / 100);
const at = (x, y) => round2(x) + "," + round2(y);

// A curve that leaves its start and reaches its end upright.
function curve(path, x0, y0, x1, y1) {
  const pull = Math.min(Math.max(0.42 * Math.abs(y0 - y1), 12), 140) * (y0 > y1 ? 1 : -1);
  path.moveTo(x0, y0);
  path.bezierCurveTo(x0, y0 - pull, x1, y1 + pull, x1, y1);
}

function line(path, x0, y0, x1, y1) {
  path.moveTo(x0, y0);
  path.lineTo(x1, y1);
}

function disc(path, x, y, r) {
  path.moveTo(x + r, y);
  path.arc(x, y, r, 0, Math.PI);
  path.arc(x, y, r, Math.PI, 2 * Math.PI);
}

function diamond(path, x, y, r) {
  path.moveTo(x, y - r);
  path.lineTo(x + r, y);
  path.lineTo(x, y + r);
  path.lineTo(x - r, y);
  path.closePath();
}

function half(path, x, y, r, isRight) {
  path.moveTo(x, y - r);
  path.arc(x, y, r, -Math.PI / 2, Math.PI / 2, !isRight);
  path.closePath();
}

function bezierData([x0, y0, x1, y1, x2, y2, x3, y3]) {
  return "M" + at(x0, y0) + "C" + at(x1, y1) + " " + at(x2, y2) + " " + at(x3, y3);
}

class PathData {
  constructor() {
    this.data = "";
  }
  moveTo(x, y) { this.data += "M" + at(x, y); }
  lineTo(x, y) { this.data += "L" + at(x, y); }
  bezierCurveTo(...points) { this.data += "C" + [0, 2, 4].map((i) => at(points[i], points[i + 1])).join(" "); }
  // Half a circle.
  arc(x, y, r, from, to, isBackwards) {
    this.data += "A" + at(r, r) + " 0 0 " + (isBackwards ? 0 : 1) + " " + at(x + r * Math.cos(to), y + r * Math.sin(to));
  }
  closePath() { this.data += "Z"; }
}

class Pen {
  each(points, step, shape, style) {
    if (!points.length) return;
    const path = this.newPath();
    for (let i = 0; i < points.length; i += step) shape(path, points[i], points[i + 1], points[i + 2], points[i + 3]);
    this.outline(path, style);
  }
  curves(points, style) { this.each(points, 4, curve, style); }
  lines(points, style) { this.each(points, 4, line, style); }
  discs(points, style) { this.each(points, 3, disc, style); }
  diamonds(points, style) { this.each(points, 3, diamond, style); }
  halves(points, isRight, style) { this.each(points, 3, (path, x, y, r) => half(path, x, y, r, isRight), style); }
}

class CanvasPen extends Pen {
  constructor(context) {
    super();
    this.context = context;
  }

  newPath() {
    return new Path2D();
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
    if (style.turn) {
      context.save();
      context.translate(x, y);
      context.rotate((style.turn * Math.PI) / 180);
      x = y = 0;
    }
    if (style.halo) {
      context.strokeStyle = style.halo;
      context.lineWidth = 3.5;
      context.lineJoin = "round";
      context.setLineDash([]);
      context.strokeText(words, x, y);
      context.lineJoin = "miter";
    }
    context.fillStyle = style.fill;
    context.fillText(words, x, y);
    if (style.turn) context.restore();
  }

  // Instead of marks, where there are too many of them for one frame: squares of the same area.
  squares(points, fill) {
    const { context } = this;
    context.fillStyle = fill;
    for (let i = 0; i < points.length; i += 3) {
      const side = Math.round(1.77 * points[i + 2]); // whole pixels are the fastest
      context.fillRect(Math.round(points[i] - side / 2), Math.round(points[i + 1] - side / 2), side, side);
    }
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

  newPath() {
    return new PathData();
  }

  outline(path, style) {
    this.path(path.data, style);
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
