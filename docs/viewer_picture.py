"""Take docs/viewer.png: the page of a traced graph, its strongest features pinned, one selected.

    circuit-tracer trace "a banana is" --out graphs
    python docs/viewer_picture.py graphs/a-banana-is [--chromium PATH]

Needs Chromium and the package playwright, as the viewer's tests do.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import record
from circuit_tracer.workbench.viewing import shown_at

PICTURE = Path(__file__).with_name("viewer.png")
SHOW = """() => new Promise(done => {
  const plot = viewer.plots[0], { ranked } = plot.graph;
  viewer.pinAll(plot, ranked.slice(0, 5));
  viewer.select(plot, ranked[0]);
  setTimeout(done, 500);
})"""


def main() -> None:
    """Open the page and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="folder of a traced graph")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page(record(shown_at(arguments.graph))), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=arguments.chromium)
        opened = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        opened.goto(file.as_uri())
        opened.evaluate(SHOW)
        opened.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
