"""PDF and PNG through typst: real pages with real text, or a sentence."""

import re
import struct
import sys
import zlib

import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.render.raster import pdf, png
from circuit_tracer.render.svg import svg
from tests.render import builders


def size_of(document: str) -> tuple[float, float]:
    found = re.search(r'width="([\d.]+)" height="([\d.]+)"', document)
    assert found
    return float(found[1]), float(found[2])


def test_a_pdf_is_one_page_of_the_figures_size_with_fonts_in_it() -> None:
    pytest.importorskip("typst")
    document = svg(builders.small())
    made = pdf(document)
    assert made.startswith(b"%PDF-")
    box = re.search(rb"/MediaBox\[0 0 ([\d.]+) ([\d.]+)\]", made)
    assert box
    assert (float(box[1]), float(box[2])) == pytest.approx(size_of(document), abs=0.1)
    assert len(re.findall(rb"/Type/Page\b", made)) == 1
    assert b"/FontFile" in made
    assert b"/ToUnicode" in made


def test_a_png_has_the_figures_shape_and_more_than_paper_in_it() -> None:
    pytest.importorskip("typst")
    document = svg(builders.small())
    made = png(document, density=72.0)
    assert made.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", made[16:24])
    assert (width, height) == pytest.approx(size_of(document), abs=1.5)
    chunks = re.findall(rb"IDAT(.*?)(?=....IEND|....IDAT)", made, re.S)
    assert len(set(zlib.decompressobj().decompress(chunks[0]))) > 50


@pytest.mark.parametrize("make", [pdf, png])
def test_the_same_figure_gives_the_same_bytes(make) -> None:
    pytest.importorskip("typst")
    assert make(svg(builders.small())) == make(svg(builders.small()))


@pytest.mark.parametrize("make", [pdf, png])
def test_hostile_text_is_drawn_too(make) -> None:
    pytest.importorskip("typst")
    assert len(make(svg(builders.hostile()))) > 10_000


@pytest.mark.parametrize(("make", "form"), [(pdf, "PDF"), (png, "PNG")])
def test_without_typst_there_is_a_sentence(make, form, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(OutputError, match=rf"{form} figures need .*\[figures\].* `format` svg"):
        make(svg(builders.small()))


def test_text_that_is_no_figure_is_refused() -> None:
    pytest.importorskip("typst")
    with pytest.raises(OutputError, match="no figure"):
        pdf("<p>hello</p>")
