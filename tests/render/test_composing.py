"""Figures for paper: widths in millimetres, themes, and several panels on a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.render.composing import Panel, checked, compose
from circuit_tracer.render.page_size import finished, size_of, smallest_letters
from tests.render.builders import hostile, middle, small, svg

SVG = "{http://www.w3.org/2000/svg}"


def _root(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_a_width_in_millimetres_keeps_the_proportions() -> None:
    figure = svg(small())
    root = _root(finished(figure, width_mm=85))
    own = size_of(figure)
    assert root.get("width") == "85mm"
    height = float(str(root.get("height")).removesuffix("mm"))
    assert height / 85 == pytest.approx(own.height / own.width, rel=1e-3)
    assert root.get("viewBox") == _root(figure).get("viewBox")
    with pytest.raises(UsageError, match="width"):
        finished(figure, width_mm=3)
    with pytest.raises(OutputError, match="no figure"):
        finished("<p/>", width_mm=80)


def test_letters_are_measured_on_paper_in_panels_too() -> None:
    figure = svg(small(), legend="none")
    sizes = [float(found) for found in re.findall(r'font-size="([\d.]+)"', figure)]
    points = min(sizes) * 100 / size_of(figure).width * 72 / 25.4
    assert smallest_letters(figure, 100) == pytest.approx(points)
    page = compose([Panel(figure), Panel(figure)])
    one = (1000 - 2 * 16 - 22) / 2  # a column of the page, in its units
    assert smallest_letters(page, 200) == pytest.approx(
        min(sizes) * one / size_of(figure).width * 0.2 * 72 / 25.4, rel=1e-4
    )


def _colors(text: str) -> set[str]:
    return set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', text))


def _lightness(color: str) -> float:
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (max(*parts) + min(*parts)) / 510


def test_dark_turns_lightness_around_and_light_has_no_page() -> None:
    figure = svg(middle())
    dark = finished(figure, theme="dark")
    page, ink = (_root(dark).find(f"{SVG}rect"), _root(dark).find(f".//{SVG}text"))
    assert page is not None
    assert ink is not None
    assert _lightness(str(page.get("fill"))) < 0.15
    assert _lightness(str(ink.get("fill"))) > 0.75
    assert len(_colors(dark)) == len(_colors(figure))
    light = finished(figure, theme="light")
    assert len(light) < len(figure)
    assert _root(light).find(f"{SVG}rect") is None
    assert finished(figure) == figure


def test_a_theme_leaves_text_alone() -> None:
    text = 'fill="#ffffff" <b>'
    figure = svg(hostile()).replace("</text>", f" {text.replace('<', '&lt;')}</text>", 1)
    dark = _root(finished(figure, theme="dark"))
    assert text in "".join(dark.itertext())


def test_panels_stand_in_a_grid_and_do_not_overlap() -> None:
    figures = [svg(small(), legend="none"), svg(middle(), legend="none"), svg(small())]
    panels = [Panel(one, f"panel {i}", span=2 if i == 2 else 1) for i, one in enumerate(figures)]
    page = compose(panels, name="a page <&>")
    root = _root(page)
    boxes = [
        tuple(float(str(one.get(key))) for key in ("x", "y", "width", "height"))
        for one in root.findall(f"{SVG}svg")
    ]
    assert len(boxes) == 3
    assert boxes[0][1] == boxes[1][1]
    assert boxes[2][1] > max(y + h for _, y, _, h in boxes[:2])
    assert boxes[0][0] + boxes[0][2] < boxes[1][0]
    assert boxes[2][2] == pytest.approx(1000 - 2 * 16)
    size = size_of(page)
    assert all(x + w <= size.width and y + h <= size.height for x, y, w, h in boxes)
    for (_, _, w, h), figure in zip(boxes, figures, strict=True):
        own = size_of(figure)
        assert w / h == pytest.approx(own.width / own.height, rel=1e-3)
    words = [one.text for one in root.findall(f"{SVG}text")]
    assert [word for word in words if word in ("A", "B", "C", "D")] == ["A", "B", "C"]
    assert "a page <&>" in words
    assert compose(panels, name="a page <&>") == page


def test_a_panel_wider_than_the_page_is_refused() -> None:
    with pytest.raises(UsageError, match="spans 3"):
        compose([Panel(svg(small()), span=3)])
    with pytest.raises(UsageError, match="at least one"):
        compose([])


HEAD = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10" viewBox="0 0 10 10">'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<rect onclick="alert(1)"/>',
        '<a href="http://x.example"><text>x</text></a>',
        '<image href="http://x.example/a.png"/>',
        '<use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="http://x.example"/>',
        "<foreignObject/>",
        "<style>@import 'http://x.example'</style>",
        '<rect style="fill:url(http://x.example)"/>',
        '<rect fill="url(http://x.example)"/>',
        "<g>",
    ],
)
def test_a_file_with_more_than_shapes_and_text_is_no_panel(inside: str) -> None:
    with pytest.raises(UsageError, match=r"x\.svg"):
        checked(f"{HEAD}{inside}</svg>", "x.svg")


def test_entities_are_refused_before_they_are_read() -> None:
    bomb = f'<!DOCTYPE svg [<!ENTITY a "aaaa">]>{HEAD}<text>&a;</text></svg>'
    with pytest.raises(UsageError, match="document type"):
        checked(bomb, "x.svg")
    assert checked(svg(hostile()), "ours") == svg(hostile())
