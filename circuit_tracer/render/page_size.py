"""The last touch to any of the tool's SVG figures: its width on paper, its theme, PDF and PNG.

A figure that was not laid out for the width (fitting.py) is scaled, letters and all;
`smallest_letters` says how small they get. Themes change colours alone: *print* is dark on white,
*light* the same without the white page, for slides, *dark* turns lightness around and keeps the
hues. PDF and PNG come through typst (extra `figures`), which carries fonts of its own: no system
package is needed, text stays text in the PDF, and the same figure gives the same bytes with the
same typst and the same fonts.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from numbers import Real
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from circuit_tracer.errors import CircuitTracerError, OutputError, UsageError, reason
from circuit_tracer.render import palette
from circuit_tracer.render.markup import figure
from circuit_tracer.render.places import POINTS_PER_MM

Theme = Literal["print", "light", "dark"]
THEMES: tuple[Theme, ...] = ("print", "light", "dark")
NARROWEST, WIDEST = 20.0, 1200.0
"""Millimetres."""

_ROOT = re.compile(r'<svg [^>]*?viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"[^>]*>')
_SIZES = re.compile(r'<svg ([^>]*?)width="[\d.]+" height="[\d.]+"')
_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_COLOR = re.compile(r'\b(fill|stroke)="#([0-9a-f]{6})"')
_PAGE = re.compile(rf'<rect(?= )[^<>]*? fill="{palette.PAPER}"/>')

PNG_DENSITY = 216.0
"""Pixels per inch at the figure's own size: three to a unit."""

_OWN_SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)(mm|)" height="([\d.]+)(mm|)"')
_TYPST_PAGE = """\
#set page(width: {width}, height: {height}, margin: 0pt)
#image(bytes(sys.inputs.svg), format: "svg", width: 100%)
"""


class Size(NamedTuple):
    """Of a figure, in its own units."""

    width: float
    height: float


def size_of(svg: str) -> Size:
    """Raises OutputError for what is no figure of ours."""
    root = _ROOT.search(svg)
    if root is None or float(root["width"]) <= 0:
        raise OutputError("this is no figure of circuit-tracer: its SVG has no width and height")
    return Size(float(root["width"]), float(root["height"]))


def finished(svg: str, *, width_mm: float | None = None, theme: Theme = "print") -> str:
    """The figure in a theme and, with `width_mm`, that wide on paper; else of its own size.

    Raises UsageError for a width that no page has.
    """
    if theme == "light":
        svg = _PAGE.sub("", svg, count=1)
    if theme == "dark":
        svg = _TAG.sub(lambda tag: _COLOR.sub(_darkened, tag[0]), svg)
    if width_mm is None:
        return svg
    check_width(width_mm)
    own = size_of(svg)
    height = own.height * width_mm / own.width
    return _SIZES.sub(
        rf'<svg \g<1>width="{figure(width_mm)}mm" height="{figure(height)}mm"', svg, count=1
    )


def check_width(width_mm: float) -> None:
    """Raise UsageError for a width that no page has."""
    is_number = isinstance(width_mm, Real)
    if not is_number or not NARROWEST <= width_mm <= WIDEST:
        said = f"{width_mm:g}" if is_number else repr(width_mm)
        raise UsageError(f"a width of {said} mm is none; give {NARROWEST:g} to {WIDEST:g}, as 180")


def smallest_letters(svg: str, width_mm: float) -> float:
    """Height of the figure's smallest letters in points, once it is that wide; panels counted."""
    root = ElementTree.fromstring(svg)
    scale = width_mm * POINTS_PER_MM / size_of(svg).width
    return min(_letters(root, scale), default=0.0)


def _letters(part: ElementTree.Element, scale: float) -> Iterator[float]:
    """Heights of all letters in points; `scale` is what a unit is in this part."""
    if part.tag.endswith("}text") and "font-size" in part.attrib:
        yield float(part.attrib["font-size"]) * scale
    for child in part:
        is_panel = child.tag.endswith("}svg")
        view = child.attrib["viewBox"].split() if is_panel else []
        inner = scale * float(child.attrib["width"]) / float(view[2]) if is_panel else scale
        yield from _letters(child, inner)


def _darkened(attribute: re.Match[str]) -> str:
    """Light for dark, the hue as it is; white becomes a very dark grey."""
    red, green, blue = (int(attribute[2][i : i + 2], 16) / 255 for i in (0, 2, 4))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, 0.09 + 0.86 * (1 - light), saturation * 0.9)
    return f'{attribute[1]}="#' + "".join(f"{round(255 * part):02x}" for part in turned) + '"'


def raster(svg_text: str, form: str, *, density: float = PNG_DENSITY) -> bytes:
    """The SVG figure as a one-page "pdf" of the figure's size, or as a "png" on white."""
    try:
        import typst
    except ImportError as error:
        raise OutputError(
            f"{form.upper()} figures need the package typst: pip install "
            "'circuit-tracer-cli[figures]', or ask for `format` svg."
        ) from error
    size = _OWN_SIZE.search(svg_text)
    if size is None:
        raise OutputError("This is no figure of ours: its SVG has no width and height.")
    page = _TYPST_PAGE.format(
        width=f"{size[1]}{size[2] or 'pt'}", height=f"{size[3]}{size[4] or 'pt'}"
    )
    try:
        made = typst.compile(
            page.encode(),
            format="pdf" if form == "pdf" else "png",
            ppi=density,
            sys_inputs={"svg": svg_text},
            timestamp=0,
        )
    except typst.TypstError as error:
        raise CircuitTracerError(
            f"typst could not draw the {form.upper()}: {reason(error)}"
        ) from error
    if not isinstance(made, bytes):
        raise CircuitTracerError(f"typst made no single page of the {form.upper()}.")
    return made
