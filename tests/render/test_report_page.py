"""A report's Markdown as HTML: what it has, and that nothing that it quotes acts."""

from __future__ import annotations

import base64
import re

from circuit_tracer.experiments.kit.tables import cell, markdown_table
from circuit_tracer.render.report_page import report_page
from tests.render.builders import HOSTILE


def body(markdown: str, pictures: dict[str, str] | None = None) -> str:
    page = report_page("report", markdown, pictures or {})
    return page.partition("<body>\n")[2].partition("\n<script")[0]


def test_blocks_become_their_elements() -> None:
    assert body("## 1. Behaviour") == "<h2>1. Behaviour</h2>"
    assert body("**so it is**, in `diff.json`") == (
        "<p><b>so it is</b>, in <code>diff.json</code></p>"
    )
    assert body("- one\n- two") == "<ul><li>one</li><li>two</li></ul>"
    assert body("```sh\nrun  it\n\nagain\n```") == "<pre>run  it\n\nagain</pre>"
    table = body("| name | share |\n|---|--:|\n| a | 4 % |")
    assert table.count("<tr>") == 2
    assert '<td class="number">4 %</td>' in table


def test_a_figure_is_in_the_page_and_a_missing_one_is_named() -> None:
    given = re.search(r"base64,([^\"]+)", body("![Spread](s.svg)", {"s.svg": "<svg>1</svg>"}))
    assert given is not None
    assert base64.b64decode(given[1]).decode() == "<svg>1</svg>"
    assert body("![Spread](s.svg)") == "<p>(Spread)</p>"
    policy = report_page("report", "", {}).partition("Content-Security-Policy")[2]
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy


def test_what_a_report_quotes_stays_text() -> None:
    for text in (
        *HOSTILE,
        "a | b",
        "<img src=x>",
        "`x` **y** [z](javascript:1)",
        r"a\|b",
        "a_b &amp;",
    ):
        found = body(markdown_table(("what", "n"), [(text, "1")]))
        assert found.count("<td") == 2
        assert "<img" not in found
        assert "<script" not in found
        assert "<b>" not in found
        assert "<code>" not in found
    assert "a | b" in body(markdown_table(("what",), [("a | b",)]))
    assert "&lt;b&gt; &amp;amp; |" in body(cell("<b> &amp; |"))
