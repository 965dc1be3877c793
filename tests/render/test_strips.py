"""Pages of words and steps: anybody's text in them turns nothing round."""

from __future__ import annotations

import json
import re

from circuit_tracer.render.strips import strip_html


def test_no_text_of_a_page_turns_the_words_after_it() -> None:
    report = {"prompt": "say \u202eno\u202c </script>", "steps": [{"text": "a\u2067b", "start": 3}]}
    page = strip_html("steps", "t", "<p></p>", report)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)
    found = re.search('<script id="data" type="application/json">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    assert data["prompt"] == "say \ufffdno\ufffd </script>"  # places count characters
    assert data["steps"] == [{"text": "a\ufffdb", "start": 3}]
