// Two pens with the same strokes: one draws on a canvas, one writes SVG, so that what is exported
// or printed is what was on the screen. Flat arrays of numbers in, one path a call out.

const round2 = (value) => String(Math.round(value * 100) / 100);

function bend(y0, y1) {
  return Math.min(Math.max(0.42 * Math.abs(y0 - y1), 12), 140) * (y0 > y1 ? 1 : -1);
}

function canvasPen(context) {
  const outlined = (style) => {
    context.globalAlpha = style.alpha ?? 1;
    context.setLineDash(style.dash || []);
    if (style.fill) {
      context.fillStyle = style.fill;
      context.fill();
    }
    if (style.stroke) {
      context.strokeStyle = style.stroke;
      context.lineWidth = style.width || 1;
      context.stroke();
    }
    context.globalAlpha = 1;
  };
  return {
    curves(points, style) {
      context.beginPath();
      for (let i = 0; i < points.length; i += 4) {
        const pull = bend(points[i + 1], points[i + 3]);
        context.moveTo(points[i], points[i + 1]);
        context.bezierCurveTo(
          points[i], points[i + 1] - pull, points[i + 2], points[i + 3] + pull, points[i + 2], points[i + 3],
        );
      }
      outlined(style);
    },
    lines(points, style) {
      context.beginPath();
      for (let i = 0; i < points.length; i += 4) {
        context.moveTo(points[i], points[i + 1]);
        context.lineTo(points[i + 2], points[i + 3]);
      }
      outlined(style);
    },
    discs(points, style) {
      context.beginPath();
      for (let i = 0; i < points.length; i += 3) {
        context.moveTo(points[i] + points[i + 2], points[i + 1]);
        context.arc(points[i], points[i + 1], points[i + 2], 0, 2 * Math.PI);
      }
      outlined(style);
    },
    halves(points, right, style) {
      context.beginPath();
      const from = right ? -Math.PI / 2 : Math.PI / 2;
      for (let i = 0; i < points.length; i += 3) {
        context.moveTo(points[i], points[i + 1]);
        context.arc(points[i], points[i + 1], points[i + 2], from, from + Math.PI);
        context.closePath();
      }
      outlined(style);
    },
    diamonds(points, style) {
      context.beginPath();
      for (let i = 0; i < points.length; i += 3) {
        const [x, y, r] = [points[i], points[i + 1], points[i + 2]];
        context.moveTo(x, y - r);
        context.lineTo(x + r, y);
        context.lineTo(x, y + r);
        context.lineTo(x - r, y);
        context.closePath();
      }
      outlined(style);
    },
    box(x, y, width, height, style) {
      context.beginPath();
      if (style.radius) context.roundRect(x, y, width, height, style.radius);
      else context.rect(x, y, width, height);
      outlined(style);
    },
    text(words, x, y, style) {
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
      context.globalAlpha = style.alpha ?? 1;
      context.fillStyle = style.fill;
      context.fillText(words, 0, 0);
      context.restore();
    },
    clip(x, y, width, height) {
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.clip();
    },
    unclip() {
      context.restore();
    },
  };
}

// Whatever comes from prompts and labels goes through here before it becomes markup.
function escaped(text) {
  return String(text)
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")
    .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;");
}

function svgPen() {
  const parts = [];
  let clips = 0;
  const style = (one) =>
    'fill="' + escaped(one.fill || "none") + '"' +
    (one.stroke ? ' stroke="' + escaped(one.stroke) + '" stroke-width="' + round2(one.width || 1) + '"' : "") +
    (one.dash && one.dash.length ? ' stroke-dasharray="' + one.dash.map(round2).join(" ") + '"' : "") +
    ((one.alpha ?? 1) < 1 ? ' opacity="' + round2(one.alpha) + '"' : "");
  const path = (pieces, one) => {
    if (pieces.length) parts.push('<path d="' + pieces.join("") + '" ' + style(one) + "/>");
  };
  const by = (points, step, piece) => {
    const pieces = [];
    for (let i = 0; i < points.length; i += step) pieces.push(piece(...points.slice(i, i + step)));
    return pieces;
  };
  const at = (x, y) => round2(x) + "," + round2(y);
  return {
    parts,
    // Curves lie over each other with their own alpha, as lines of one canvas path do not.
    curves(points, one) {
      path(by(points, 4, (x0, y0, x1, y1) => {
        const pull = bend(y0, y1);
        return "M" + at(x0, y0) + "C" + at(x0, y0 - pull) + " " + at(x1, y1 + pull) + " " + at(x1, y1);
      }), one);
    },
    lines(points, one) {
      path(by(points, 4, (x0, y0, x1, y1) => "M" + at(x0, y0) + "L" + at(x1, y1)), one);
    },
    discs(points, one) {
      path(by(points, 3, (x, y, r) => {
        const arc = "a" + round2(r) + "," + round2(r) + " 0 1 ";
        return "M" + at(x - r, y) + arc + "0 " + round2(2 * r) + ",0" + arc + "0 " + round2(-2 * r) + ",0";
      }), one);
    },
    halves(points, right, one) {
      path(by(points, 3, (x, y, r) =>
        "M" + at(x, y - r) + "A" + round2(r) + "," + round2(r) + " 0 0 " + (right ? 1 : 0) + " " + at(x, y + r) + "Z"), one);
    },
    diamonds(points, one) {
      path(by(points, 3, (x, y, r) =>
        "M" + at(x, y - r) + "L" + at(x + r, y) + "L" + at(x, y + r) + "L" + at(x - r, y) + "Z"), one);
    },
    box(x, y, width, height, one) {
      parts.push(
        '<rect x="' + round2(x) + '" y="' + round2(y) + '" width="' + round2(width) + '" height="' +
          round2(height) + '"' + (one.radius ? ' rx="' + round2(one.radius) + '"' : "") + " " + style(one) + "/>",
      );
    },
    text(words, x, y, one) {
      const anchor = { center: "middle", right: "end" }[one.align];
      parts.push(
        '<text x="' + round2(x) + '" y="' + round2(y) + '" font-size="' + one.size + '" fill="' + escaped(one.fill) + '"' +
          (anchor ? ' text-anchor="' + anchor + '"' : "") + (one.bold ? ' font-weight="600"' : "") +
          ((one.alpha ?? 1) < 1 ? ' opacity="' + round2(one.alpha) + '"' : "") +
          (one.halo ? ' stroke="' + escaped(one.halo) + '" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"' : "") +
          (one.turn ? ' transform="rotate(' + one.turn + " " + at(x, y).replace(",", " ") + ')"' : "") +
          ">" + escaped(words) + "</text>",
      );
    },
    clip(x, y, width, height) {
      const name = "c" + ++clips;
      parts.push(
        '<clipPath id="' + name + '"><rect x="' + round2(x) + '" y="' + round2(y) + '" width="' + round2(width) +
          '" height="' + round2(height) + '"/></clipPath><g clip-path="url(#' + name + ')">',
      );
    },
    unclip() {
      parts.push("</g>");
    },
  };
}

function svgDocument(width, height, parts, title) {
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" width="' + round2(width) + '" height="' + round2(height) +
    '" viewBox="0 0 ' + round2(width) + " " + round2(height) + '" font-family="' + escaped(FONT.replace(/'/g, "")) +
    '" role="img"><title>' + escaped(title) + "</title>\n" + parts.join("\n") + "\n</svg>\n"
  );
}
