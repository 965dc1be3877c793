"""`paths --sign`, `trace --why-not`, `supernodes` and `compare` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.graphs import load_graph
from tests.cli.conftest import Outcome, Run, run_command

Banana = tuple[Path, Outcome]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Traced prompts by a short name."""
    out = tmp_path_factory.mktemp("questions")
    prompts = {
        "yellow": ["is a banana yellow ?"],
        "red": ["is a banana red ?"],
        "why": ["is a banana red ?", "--why-not", "yes"],
        "teacher": ["teacher : is a banana yellow ?"],
        "france": ["the capital of france is"],
    }
    for slug, arguments in prompts.items():
        done = run_command(
            "trace",
            *arguments,
            "-o",
            str(out),
            "--slug",
            slug,
            "--device",
            "cpu",
            "--format",
            "svg",
            "--no-trust",
        )
        assert done.code == 0, done.err
    return {slug: out / slug for slug in prompts}


@pytest.mark.parametrize("sign", ["+", "-"])
def test_paths_of_one_sign_with_the_masses_of_both(sign: str, banana: Banana, run: Run) -> None:
    done = run("paths", str(banana[0]), "--sign", sign, "--json", "--to", "yellow")
    record = json.loads(done.out)
    assert record["routes"]
    assert {route["sign"] for route in record["routes"]} == {1 if sign == "+" else -1}
    (mass,) = record["all_routes"]
    assert mass["up"] > mass["down"] > 0
    text = run("paths", str(banana[0]), "--sign", sign, "--to", "yellow").out
    assert "Of all paths to yellow" in text
    assert "push it down" in text


def test_why_not_explains_the_competitor_and_the_contrast(
    questions: dict[str, Path], run: Run
) -> None:
    graph = load_graph(questions["why"]).graph
    other, contrast = graph.info.targets
    assert (other.token.strip(), contrast.token) == ("yes", "no - yes")
    assert contrast.is_contrast
    assert contrast.logit > 0
    assert graph.nodes.weight[graph.target_rows].tolist() == [0.5, 0.5]
    assert graph.info.settings["why_not"] == "yes"
    plain = load_graph(questions["red"]).graph
    logits = {t.token.strip(): t.logit for t in plain.info.targets}
    assert contrast.logit == pytest.approx(logits["no"] - other.logit, rel=1e-4)
    text = run("show", str(questions["why"])).out
    for heading in ("What speaks for yes", "What holds yes down", "What puts no before yes"):
        assert heading in text
    assert "What speaks for" not in run("show", str(questions["red"])).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "a banana is", "--why-not", "yellow"], "nothing to explain"),
        (["trace", "a banana is", "--why-not", "red", "--target", "red"], "exclude each other"),
        (["trace", "a banana is", "--why-not", "red", "--contrast", "a,b"], "exclude each other"),
        (["trace", "a banana is", "--why-not", "xyzzy"], "xyzzy"),
        (["paths", "GRAPH", "--sign", "x"], "--sign"),
        (["supernodes", "GRAPH", "--edit", "none.toml"], "none.toml is missing"),
        (["supernodes", "GRAPH", "--threshold", "7"], "--threshold 7"),
        (["compare", "GRAPH"], "two graphs"),
        (["compare", "GRAPH", "GRAPH", "--figure", "x.bmp"], "no known form"),
        (["compare", "GRAPH", "GRAPH", "GRAPH", "--figure", "x.svg"], "not 3"),
        (["compare", "GRAPH", "GRAPH", "--roles", "none.jsonl"], "cannot be read"),
    ],
)
def test_wrong_requests_are_explained(
    arguments: list[str], says: str, banana: Banana, run: Run
) -> None:
    outcome = run(*[str(banana[0]) if a == "GRAPH" else a for a in arguments])
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_supernodes_are_found_kept_edited_and_exported(
    questions: dict[str, Path], run: Run
) -> None:
    graph = str(questions["yellow"])
    done = run("supernodes", graph, "--json", "-o", "groups.toml")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["supernodes"]
    assert all(len(group["nodes"]) > 1 for group in record["supernodes"])
    for name in ("consistency", "silhouette"):
        assert record["figures"][name]["value"] > record["figures"][name]["random"]
    assert record["routes"]
    assert run("supernodes", graph, "-o", "groups.toml").code == 1  # taken
    text = run("supernodes", graph, "--edit", "groups.toml").out
    assert "Against random groups" in text
    again = json.loads(run("supernodes", graph, "--edit", "groups.toml", "--json").out)
    assert [g["nodes"] for g in again["supernodes"]] == [g["nodes"] for g in record["supernodes"]]
    first = record["supernodes"][0]
    Path("mine.toml").write_text(f'"my <group>" = {json.dumps(first["nodes"][:2])}')
    mine = json.loads(run("supernodes", graph, "--edit", "mine.toml", "--json").out)
    assert [g["name"] for g in mine["supernodes"]] == ["my <group>"]


def test_causal_coherence_is_measured_when_asked_for(questions: dict[str, Path], run: Run) -> None:
    arguments = ("supernodes", str(questions["yellow"]), "--json")
    plain = json.loads(run(*arguments).out)
    assert "coherence" not in plain["figures"]
    assert {group["coherence"] for group in plain["supernodes"]} == {None}
    record = json.loads(run(*arguments, "--causal", "--device", "cpu").out)
    figure = record["figures"]["coherence"]
    assert figure["value"] > figure["random"]
    assert figure["p"] < 0.05
    assert all(-1 <= group["coherence"] <= 1 for group in record["supernodes"])
    assert [g["nodes"] for g in record["supernodes"]] == [g["nodes"] for g in plain["supernodes"]]


def test_export_takes_the_supernodes_beside_the_graph(questions: dict[str, Path], run: Run) -> None:
    run("prune", str(questions["yellow"]), "--out", "mine")
    assert run("supernodes", "mine", "-o", "mine/supernodes.toml").code == 0
    done = run("export", "mine", "-o", "with.json")
    assert done.code == 0
    assert "supernodes.toml" in done.err
    stored = json.loads(Path("with.json").read_text())
    assert stored["qParams"]["supernodes"]
    ids = {node["node_id"] for node in stored["nodes"]}
    assert all(set(members) <= ids for _, *members in stored["qParams"]["supernodes"])
    assert run("prune", "mine", "--node-threshold", "0.4").code == 0  # some members go
    fewer = run("export", "mine", "-o", "fewer.json")
    assert fewer.code == 0, fewer.err
    Path("mine/supernodes.toml").write_text("broken")
    assert run("export", "mine", "-o", "broken.json").code == 2
    assert not Path("broken.json").exists()


def test_compare_stands_between_floor_and_ceiling(questions: dict[str, Path], run: Run) -> None:
    graphs = [str(questions["yellow"]), str(questions["red"])]
    ends = ["--ceiling", str(questions["teacher"]), "--floor", str(questions["france"])]
    done = run("compare", *graphs, *ends, "--json", "--figure", "both.svg")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    (pair,) = record["pairs"]
    low, high = record["floor"]["kept"]["features"], record["ceiling"]["kept"]["features"]
    assert low < pair["kept"]["features"] < high
    assert 0 < pair["place"]["features"] < 1
    assert pair["kept"]["p"] < 0.05
    assert "<svg" in Path("both.svg").read_text()
    text = run("compare", *graphs, *ends).out
    for words in ("floor", "ceiling", "Features that both keep", "Only A keeps"):
        assert words in text


def test_a_prefix_leaves_most_and_an_unrelated_prompt_nothing(
    questions: dict[str, Path], run: Run
) -> None:
    three = [str(questions[name]) for name in ("yellow", "teacher", "france")]
    record = json.loads(run("compare", *three, "--json").out)
    found = {(p["first"], p["second"]): p["kept"]["features"] for p in record["pairs"]}
    assert found[0, 1] > 0.7
    assert found[0, 2] < 0.02
    assert found[1, 2] < 0.02
    columns = record["pairs"][0]["columns"]
    assert [c["second"] for c in columns if c["first"] is None] == [1, 2]
    assert "A, C after pruning" in run("compare", *three).out
