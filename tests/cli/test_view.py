"""`view`: pages that are written, and graphs that are served to this machine alone."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.workbench.index_pages import Pages, folder_pages, run_pages
from circuit_tracer.workbench.serving import Server, serving
from tests.cli.conftest import Outcome, Run

Banana = tuple[Path, Outcome]


def _data(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    record: dict[str, Any] = json.loads(found[1])
    return record


@pytest.fixture
def copy(banana: Banana, tmp_path: Path) -> Path:
    """A traced folder of one's own."""
    return Path(shutil.copytree(banana[0], tmp_path / "traces" / "a-banana-is"))


def test_a_graph_becomes_one_page_beside_it(copy: Path, run: Run) -> None:
    outcome = run("view", str(copy), "--no-browser")
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == str(copy / "graph.html")
    graph = _data((copy / "graph.html").read_text())["graphs"][0]
    assert graph["prompt"] == "a banana is"
    assert graph["cards"]["list"]
    assert graph["trust"]["level"] in ("sound", "care", "doubtful")
    assert run("view", str(copy), "--no-browser").code == 0  # its own page may be made again
    record = json.loads(run("view", str(copy), "--no-browser", "--json").out)
    assert record["address"].startswith("file:///")


def test_render_and_trace_write_the_same_page(copy: Path, run: Run) -> None:
    assert run("view", str(copy), "--no-browser").code == 0
    assert run("render", str(copy), "--format", "html", "-o", "page.html").code == 0
    assert Path("page.html").read_bytes() == (copy / "graph.html").read_bytes()
    assert run("render", str(copy), "--format", "html", "-o", "page.html").code == 1


def test_a_graph_json_and_two_graphs_have_pages_too(copy: Path, run: Run) -> None:
    assert run("export", str(copy), "-o", "alone.json").code == 0
    assert run("view", "alone.json", "--no-browser").out.strip() == "alone.html"
    outcome = run("view", str(copy), "alone.json", "--no-browser", "-o", "two.html")
    assert outcome.code == 0, outcome.err
    record = _data(Path("two.html").read_text())
    assert len(record["graphs"]) == 2
    counterparts = record["graphs"][0]["counterpart"]
    assert sorted(counterparts) == list(range(len(counterparts)))  # the same graph: all nodes


def test_somebody_elses_page_is_left_alone(copy: Path, run: Run) -> None:
    assert run("export", str(copy), "-o", "notes.json").code == 0
    Path("notes.html").write_text("<!doctype html><p>mine</p>")
    outcome = run("view", "notes.json", "--no-browser")
    assert outcome.code == 1
    assert "--overwrite" in outcome.err
    assert "mine" in Path("notes.html").read_text()
    assert run("view", "notes.json", "--no-browser", "--overwrite").code == 0
    assert run("view", "notes.json", "--no-browser").code == 0


def test_cards_of_another_dictionary_are_left_out_with_a_word(copy: Path, run: Run) -> None:
    record = json.loads((copy / "trace.json").read_text())
    record["info"]["dictionary"]["sha256"] = "0" * 64
    (copy / "trace.json").write_text(json.dumps(record))
    outcome = run("view", str(copy), "--no-browser")
    assert outcome.code == 0
    assert "no feature cards" in outcome.err
    assert _data((copy / "graph.html").read_text())["graphs"][0]["cards"] is None


def test_pins_of_the_viewer_and_supernodes_are_shown(copy: Path, run: Run) -> None:
    assert run("supernodes", str(copy), "-o", str(copy / "supernodes.toml")).code == 0
    run("view", str(copy), "--no-browser", "-o", "with.html")
    graph = _data(Path("with.html").read_text())["graphs"][0]
    assert graph["groups"]
    pins = {"qParams": {"pinnedIds": [graph["id"][0]], "supernodes": []}}
    Path("pins.json").write_text(json.dumps(pins))
    assert run("view", str(copy), "--no-browser", "-o", "p.html", "--pins", "pins.json").code == 0
    graph = _data(Path("p.html").read_text())["graphs"][0]
    assert (graph["pins"], graph["groups"]) == ([0], [])


def test_a_report_is_a_page_with_its_figures(run: Run) -> None:
    Path("whole", "stages").mkdir(parents=True)
    Path("whole", "report.md").write_text("# whole\n\n![Spread](spread.svg)\n")
    Path("whole", "spread.svg").write_text("<svg/>")
    outcome = run("view", "whole", "--no-browser")
    assert outcome.out.strip() == str(Path("whole", "report.html"))
    page = Path("whole", "report.html").read_text()
    assert "<h1>whole</h1>" in page
    assert base64.b64encode(b"<svg/>").decode() in page
    assert run("view", "whole", "--no-browser").code == 0  # its own page may be made again


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "nowhere"),
        (["empty"], 2, "no traced folder"),
        (["{graph}", "--pins", "no.json"], 2, "no.json"),
        (["{graph}", "-o", "{graph}"], 1, "is a folder"),
        (["{traces}", "--pins", "no.json"], 2, "go with one graph"),
        (["{traces}", "--port", "99999"], 2, "port"),
        (["{graph}/trust.json"], 2, "circuit-tracer view {graph}`"),
        (["report"], 2, "circuit-tracer view report/graphs`"),
        (["whole", "--pins", "no.json"], 2, "--pins is for graphs"),
        (["report/dissociation.json"], 2, "circuit-tracer compare report OTHER`"),
        (["{graph}", "report"], 2, "no graph: `circuit-tracer view report`"),
    ],
)
def test_what_cannot_be_shown_is_said(
    arguments: list[str], code: int, said: str, copy: Path, run: Run
) -> None:
    Path("empty").mkdir()
    Path("report").mkdir()
    Path("report", "dissociation.json").write_text("{}")
    Path("whole", "stages").mkdir(parents=True)
    Path("whole", "report.md").write_text("# whole\n")
    places = {"graph": str(copy), "traces": str(copy.parent)}
    outcome = run("view", *(one.format(**places) for one in arguments), "--no-browser")
    assert outcome.code == code
    assert said.format(**places) in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@contextmanager
def _served(pages: Any) -> Iterator[Server]:
    with serving(pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _ask(
    server: Server, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, str]:
    """Status and body of a request whose path is sent byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_folder_of_traces_is_served_with_an_index(copy: Path) -> None:
    with _served(folder_pages(copy.parent)) as server:
        status, index = _ask(server, "/")
        assert status == 200
        row = _data(index)["rows"][0]
        assert (row["prompt"], row["answer"]) == ("a banana is", "yellow")
        status, text = _ask(server, f"/{row['href']}")
        assert status == 200
        assert _data(text)["graphs"][0]["prompt"] == "a banana is"
        assert _ask(server, "/", method="HEAD") == (200, "")
        assert server.server_address[0] == "127.0.0.1"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def test_a_damaged_graph_among_good_ones_is_named_and_the_others_are_shown(
    copy: Path, run: Run
) -> None:
    for name, file in (("one", "trace.json"), ("two", "nodes.parquet"), ("three", "edges.parquet")):
        _cut(Path(shutil.copytree(copy, copy.parent / name)) / file)
    (Path(shutil.copytree(copy, copy.parent / "four")) / "supernodes.toml").write_text("{")
    (copy / "circle").symlink_to("circle")
    outcome = run("view", str(copy.parent), "--no-browser", "--out", "pages")
    assert outcome.code == 0, outcome.err
    index = _data(Path("pages/index.html").read_text())
    assert [row["href"] for row in index["rows"]] == ["graphs/a-banana-is.html", "graphs/four.html"]
    assert [one["prompt"] for one in index["failures"]] == ["one", "three", "two"]
    assert "edges.parquet is damaged" in index["failures"][1]["message"]
    assert "supernodes.toml cannot be read" in Path("pages/graphs/four.html").read_text()
    assert _data(Path("pages/graphs/a-banana-is.html").read_text())["graphs"]
    for said in ("one/trace.json", "two/nodes.parquet", "three/edges.parquet", "supernodes.toml"):
        assert said in outcome.err


ELSEWHERE = (
    "/graphs", "/graphs/", "/graphs/a-banana-is", "/graphs/a-banana-is.html/",
    "/graphs/../graphs/a-banana-is.html", "/graphs/%61-banana-is.html", "//etc/passwd",
    "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/graphs/..%2f..%2fsecret.html",
    "/graphs/..%5c..%5csecret.html", "/a-banana-is/trace.json", "/trace.json", "/etc/passwd",
    "/graphs/secret.html", "/graphs/linked.html", "/graphs/inner.html", "/favicon.ico",
    "graphs/a-banana-is.html", "http://{host}/graphs/a-banana-is.html", "*", "/index.html/",
)  # fmt: skip


def test_no_other_path_is_answered(copy: Path, tmp_path: Path) -> None:
    secret = Path(shutil.copytree(copy, tmp_path / "secret"))
    (copy.parent / "linked").symlink_to(secret)  # a folder that leads out
    inner = Path(shutil.copytree(copy, copy.parent / "inner"))  # a file in it that does
    (inner / "nodes.parquet").unlink()
    (inner / "nodes.parquet").symlink_to(secret / "nodes.parquet")
    with _served(folder_pages(copy.parent)) as server:
        assert [row["prompt"] for row in _data(_ask(server, "/")[1])["rows"]] == ["a banana is"]
        host = f"127.0.0.1:{server.server_port}"
        for path in ELSEWHERE:
            status, text = _ask(server, path.format(host=host), host=host)
            assert (status, "root:" in text) == (404, False), path


def test_a_folder_that_becomes_a_link_later_is_not_followed(copy: Path, tmp_path: Path) -> None:
    with _served(folder_pages(copy.parent)) as server:
        copy.rename(tmp_path / "elsewhere")
        copy.symlink_to(tmp_path / "elsewhere")
        status, text = _ask(server, "/graphs/a-banana-is.html")
        assert status == 500
        assert "leads out" in text


def test_other_hosts_and_methods_are_refused(copy: Path) -> None:
    with _served(folder_pages(copy.parent)) as server:
        port = server.server_port
        assert _ask(server, "/", host="evil.example")[0] == 403
        assert _ask(server, "/", host=f"evil.example:{port}")[0] == 403
        assert _ask(server, "/", host=f"localhost:{port}")[0] == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert _ask(server, "/", method=method)[0] == 501
        assert sorted(os.listdir(copy.parent)) == ["a-banana-is"]


def test_a_browser_that_leaves_and_a_page_that_fails_stop_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    left = threading.Event()

    def slow() -> str:
        left.wait(30)
        return "x" * 50_000_000  # no buffer holds it

    def fails() -> str:
        raise KeyError("boom")

    pages = Pages("index", {"graphs/slow.html": slow, "graphs/fails.html": fails})
    with _served(pages) as server:
        with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
            host = f"Host: 127.0.0.1:{server.server_port}"
            browser.sendall(f"GET /graphs/slow.html HTTP/1.0\r\n{host}\r\n\r\n".encode())
        left.set()
        status, text = _ask(server, "/graphs/fails.html")
        assert (status, "KeyError: it lacks" in text) == (500, True)
        assert _ask(server, "/") == (200, "index")
        for thread in threading.enumerate():
            if "process_request" in thread.name:
                thread.join(30)
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_said(copy: Path, run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = run("view", str(copy.parent), "--no-browser", "--port", port)
    assert outcome.code == 1
    assert f"port {port}" in outcome.err


PROMPTS = (
    '{"id": "one", "prompt": "a banana is", "tags": ["fruit"]}\n'
    '{"prompt": "the sky is", "tags": ["other"]}\n'
    '{"prompt": "<script>alert(1)</script>"}\n'
)


def test_a_runs_index_lists_scores_routes_thumbnails_and_failures(run: Run) -> None:
    from circuit_tracer.batch.stored_run import open_run

    Path("p.jsonl").write_text(PROMPTS)
    options = ("--out", ".", "--name", "r", "--device", "cpu", "--heads")
    assert run("batch", "p.jsonl", *options).code == 3
    stored = open_run("r")
    pages = run_pages(stored)
    index = _data(pages.index)
    rows = index["rows"]
    assert [row["prompt"] for row in rows] == ["a banana is", "the sky is"]
    truth = stored.graphs.to_pylist()
    for row, one in zip(rows, truth, strict=True):
        assert row["scores"]["completeness"] == one["completeness"]
        assert row["answer"] == one["answer"].strip()
        dots, route = row["thumbnail"]["dots"], row["thumbnail"]["route"]
        assert all(0 <= x <= 99 and 0 <= y <= 99 for x, y, _ in (*dots, *route))
        assert (route[0][1], route[-1][1]) == (0, 99)  # from a token up to the target
        assert route[0][2] == 0
        assert row["route"].count("›") == len(route) - 1
    assert [one["line"] for one in index["failures"]] == [3]
    page = _data(pages.graphs[rows[0]["href"]]())
    graph = page["graphs"][0]
    assert (page["run"], graph["prompt"]) == ("r", "a banana is")
    heads = [one for one in stored.rows("heads").to_pylist() if one["id"] == truth[0]["id"]]
    assert [(one["name"], one["share"], one["key"], one["query"]) for one in graph["leading"]] == [
        (f"L{one['layer']}.H{one['head']}", one["share"], one["key"], one["query"]) for one in heads
    ]
    # The commands that the page shows bring the heads of edges in.
    export = graph["exportCommand"]
    assert run(*shlex.split(export["words"])[1:]).code == 0
    assert run("heads", export["folder"], "--save", "--device", "cpu").code == 0
    assert run("view", export["folder"], "--no-browser").code == 0
    exported = _data(Path(export["folder"], "graph.html").read_text())["graphs"][0]
    assert exported["heads"] is not None
    assert exported["leading"][0]["name"] == graph["leading"][0]["name"]
    assert exported["exportCommand"] is None
    outcome = run("view", "r", "--out", "site", "--no-browser")
    assert outcome.code == 0, outcome.err
    assert sorted(str(p) for p in Path("site").rglob("*.html")) == sorted(
        ["site/index.html", *(f"site/{row['href']}" for row in rows)]
    )
    assert run("view", "r", "--out", "site", "--no-browser").code == 1
    assert run("view", "r", "--out", "site", "--no-browser", "--overwrite").code == 0
