"""PDF and PNG of a figure, through typst (extra `figures`): no system package is needed.

typst carries fonts of its own, so there is text even on a machine without any font; text stays
text in the PDF. The same figure gives the same bytes with the same typst and the same fonts.
"""

from __future__ import annotations

import re

from circuit_tracer.errors import CircuitTracerError, OutputError, reason

PNG_DENSITY = 216.0
"""Pixels per inch at the figure's own size: three to a unit."""

_SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)(mm|)" height="([\d.]+)(mm|)"')
_PAGE = """\
#set page(width: {width}, height: {height}, margin: 0pt)
#image(bytes(sys.inputs.svg), format: "svg", width: 100%)
"""


def raster(svg_text: str, form: str, *, density: float = PNG_DENSITY) -> bytes:
    """The SVG figure as a one-page "pdf" of the figure's size, or as a "png" on white."""
    try:
        import typst
    except ImportError as error:
        raise OutputError(
            f"{form.upper()} figures need the package typst: pip install "
            "'circuit-tracer-cli[figures]', or ask for `format` svg."
        ) from error
    size = _SIZE.search(svg_text)
    if size is None:
        raise OutputError("This is no figure of ours: its SVG has no width and height.")
    page = _PAGE.format(width=f"{size[1]}{size[2] or 'pt'}", height=f"{size[3]}{size[4] or 'pt'}")
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
