"""PDF and PNG through typst: real pages with real text, or a sentence."""

import re
import struct
import sys
import zlib

import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.render.page_size import raster
from tests.render import builders
from tests.render.builders import svg


def size_of(document: str) -> tuple[float, float]:
    found = re.search(r'width="([\d.]+)" height="([\d.]+)"', document)
    assert found
    return float(found[1]), float(found[2])


def test_a_pdf_is_one_page_of_the_figures_size_with_fonts_in_it() -> None:
    pytest.importorskip("typst")
    document = svg(builders.small())
    made = raster(document, "pdf")
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
    made = raster(document, "png", density=72.0)
    assert made.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", made[16:24])
    assert (width, height) == pytest.approx(size_of(document), abs=1.5)
    chunks = re.findall(rb"IDAT(.*?)(?=....IEND|....IDAT)", made, re.S)
    assert len(set(zlib.decompressobj().decompress(chunks[0]))) > 50


@pytest.mark.parametrize("form", ["pdf", "png"])
def test_the_same_figure_gives_the_same_bytes(form: str) -> None:
    pytest.importorskip("typst")
    first, second = (raster(svg(builders.small()), form) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("form", ["pdf", "png"])
def test_hostile_text_is_drawn_too(form: str) -> None:
    pytest.importorskip("typst")
    assert len(raster(svg(builders.hostile()), form)) > 10_000


@pytest.mark.parametrize("form", ["pdf", "png"])
def test_without_typst_there_is_a_sentence(form: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(
        OutputError, match=rf"{form.upper()} figures need .*\[figures\].* `format` svg"
    ):
        raster(svg(builders.small()), form)


def test_text_that_is_no_figure_is_refused() -> None:
    pytest.importorskip("typst")
    with pytest.raises(OutputError, match="no figure"):
        raster("<p>hello</p>", "pdf")
