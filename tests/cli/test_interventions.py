"""`ablate`, `steer` and `features` as a user meets them."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from circuit_tracer.graphs import load_graph
from tests.cli.conftest import Outcome, Run

Banana = tuple[Path, Outcome]


def test_ablate_prints_what_was_predicted_and_measured(banana: Banana, run: Run) -> None:
    outcome = run("ablate", str(banana[0]), "--top", "3", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    for word in "yellow sums predicted direct constr. free gives L5/".split():
        assert word in outcome.out
    one = run("ablate", str(banana[0]), "--top", "1", "--mode", "free", "--device", "cpu").out
    for word in "edge sums predicted repl. free".split():
        assert word in one
    assert max(len(line) for line in outcome.out.splitlines()) <= 100


def test_ablate_json_has_direct_effects_equal_to_the_edges(banana: Banana, run: Run) -> None:
    outcome = run("ablate", str(banana[0]), "--find", "yellow", "--json", "--device", "cpu")
    record = json.loads(outcome.out)
    assert set(record) == {"strength", "targets", "top", "interventions"}
    assert len(record["interventions"]) > 3
    for row in record["interventions"]:
        assert "yellow" in row["label"]
        direct = row["measured"]["direct"]["logits"]
        assert direct == pytest.approx(row["predicted_direct"], abs=1e-4)


def test_ablate_by_name_and_route_together_and_by_maximum(banana: Banana, run: Run) -> None:
    folder = str(banana[0])
    names = json.loads(run("ablate", folder, "--top", "2", "--json", "--mode", "free").out)
    first, second = (row["name"] for row in names["interventions"])
    outcome = run(
        *("ablate", folder, "-f", f"{first},{second}", "-f", "L0/error@2", "--together"),
        *("--times", "-1", "--mode", "constrained", "--end-layer", "5", "--json"),
    )
    (row,) = json.loads(outcome.out)["interventions"]
    assert row["name"] == "all 3 together"
    assert set(row["measured"]) == {"constrained"}
    bare = first.partition("@")[0]
    outcome = run("ablate", folder, "-f", bare, "--of-max", "3", "--mode", "free", "--json")
    assert json.loads(outcome.out)["strength"] == {"unit": "of-max", "amount": 3.0}
    assert run("ablate", folder, "--route", "1", "--mode", "free").code == 0


def test_ablate_can_hold_norms_while_mlps_answer(banana: Banana, run: Run) -> None:
    call = ("ablate", str(banana[0]), "--top", "3", "--mode", "constrained", "--json")
    held, free = (json.loads(run(*call, *more).out) for more in (("--norms", "frozen"), ()))
    for one, other in zip(held["interventions"], free["interventions"], strict=True):
        first, second = (row["measured"]["constrained"]["logits"][0] for row in (one, other))
        assert abs(first - second) > 1e-3


def test_ablate_can_leave_later_layers_to_their_mlps(run: Run) -> None:
    traced = run("trace", "a lemon is", "-t", "clt", "--no-trust", "--out", ".", "--format", "json")
    assert traced.code == 0, traced.err
    call = ("ablate", "a-lemon-is", "--top", "40", "--mode", "free", "--json")
    both, own = run(*call), run(*call, "--writes", "held")
    assert "its own writes there count as well" in both.err
    assert own.err == ""
    rows = [json.loads(one.out)["interventions"] for one in (both, own)]
    differ = [one["name"] for one, other in zip(*rows, strict=True) if one != other]
    assert differ
    assert not any(name.startswith("L5/") for name in differ)  # the last layer has no later one


BAD_ABLATIONS = [
    ([], 2, "nothing is to be changed"),
    (["-f", "L9/3@2"], 2, "layers 0 to 5"),
    (["-f", "L2/5000@2"], 2, "features 0 to 1023"),
    (["-f", "L2/5@77", "--value", "1"], 2, "positions 0 to 3"),
    (["-f", "L2/5@77"], 2, "positions 0 to 3"),
    (["-f", "embedding@9"], 2, "positions 0 to 3"),
    (["-f", "L0/error@0"], 2, "not in this graph"),
    (["--top", "1", "--times", "nan"], 2, "no number"),
    (["--top", "1", "--mode", "free", "--end-layer", "2"], 2, "for constrained runs"),
    (["--top", "1", "--mode", "direct", "--norms", "free"], 2, "freezes everything"),
    (["--top", "1", "--mode", "direct", "--attention", "free"], 2, "freezes everything"),
    (["-f", "banana"], 2, "names no node"),
    (["--top", "1", "--times", "1", "--value", "2"], 2, "exclude each other"),
    (["--top", "1", "--times", "1e30"], 2, "overflows"),
    (["--top", "1", "--mode", "gentle"], 2, "choose one of direct, constrained, free"),
    (["--top", "1", "--attention", "sometimes"], 2, "choose one of frozen, free"),
    (["--top", "1", "--norms", "held"], 2, "choose one of frozen, free"),
    (["--top", "1", "--writes", "none"], 2, "choose one of all, frozen"),
    (["--top", "1", "--end-layer", "9"], 2, "no layer of this model"),
    (["--top", "1", "--target", "purple"], 2, "no target of this graph"),
    (["--find", "zebra crossing"], 2, "in its label"),
    (["--top", "1", "--transcoders", "clt"], 2, "another dictionary"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), BAD_ABLATIONS)
def test_ablate_refuses_in_one_line(
    banana: Banana, run: Run, arguments: list[str], code: int, said: str
) -> None:
    outcome = run("ablate", str(banana[0]), "--device", "cpu", *arguments)
    assert outcome.code == code
    assert said in outcome.err
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""


def test_ablate_refuses_a_graph_of_other_weights(banana: Banana, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(banana[0], folder)
    text = (folder / "trace.json").read_text()
    sha256 = load_graph(folder).graph.info.model.sha256
    (folder / "trace.json").write_text(text.replace(sha256, "0" * 64))
    outcome = run("ablate", str(folder), "--top", "1", "--device", "cpu")
    assert outcome.code == 2
    assert "another model" in outcome.err


def test_steer_shows_both_texts_a_dose_curve_and_draws_it(run: Run, tmp_path: Path) -> None:
    outcome = run(
        *("steer", "sprout", "--feature", "L4/288", "--of-max", "10", "--prompt", "the sky is"),
        *("--max-new-tokens", "8", "--plot", "dose.svg", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome.err
    for word in ("before", "times maximum 10", "perplexity", "yellow", "dose.svg"):
        assert word in outcome.out
    assert ET.parse(tmp_path / "dose.svg").getroot().tag.endswith("svg")
    again = run(
        *("steer", "--find", "yellow", "--prompt", "the sky is", "--plot", "dose.svg"),
        *("--device", "cpu"),
    )
    assert again.code == 1
    assert "--overwrite" in again.err


def test_steer_json_holds_every_dose_of_every_prompt(run: Run) -> None:
    outcome = run(
        *("steer", "-f", "L4/288", "-f", "L5/717", "-p", "the sky is", "-p", "he saw a"),
        *("--value", "20", "--doses", "5,10", "--at", "generated", "--max-new-tokens", "4"),
        *("--target", "red", "--json", "--device", "cpu"),
    )
    record = json.loads(outcome.out)
    assert [f["name"] for f in record["features"]] == ["L4/288", "L5/717"]
    assert record["target"] == "red"
    for prompt in record["prompts"]:
        assert [dose["strength"] for dose in prompt["doses"]] == [5.0, 10.0, 20.0]
        assert len(prompt["before"]["token_ids"]) == 4
        # Nothing of the prompt was held, so the first new token is the same.
        for dose in prompt["doses"]:
            first = prompt["before"]["target"][0]
            assert dose["text"]["target"][0] == pytest.approx(first, rel=1e-4)


def test_steer_neurons(run: Run) -> None:
    outcome = run(
        *("steer", "sprout", "-t", "neurons", "-f", "L5/147", "-p", "the sky is"),
        *("--of-max", "2", "--max-new-tokens", "3", "--json", "--device", "cpu"),
    )
    record = json.loads(outcome.out)
    assert record["features"][0]["maximum"] != 0
    assert "prompts that ship" in outcome.err


BAD_STEERING = [
    (["--prompt", "the sky is"], "no feature is named"),
    (["-f", "L4/288"], "no text to go on from"),
    (["-f", "L4/288@3", "-p", "the sky is"], "without a position"),
    (["-f", "L4/2880", "-p", "the sky is"], "features 0 to 1023"),
    (["-f", "L4/288", "-p", "the zyxw is"], "does not know"),
    (["-f", "L4/288", "-p", "the sky is", "--doses", "1,two"], "numbers with commas"),
    (["-f", "L4/288", "-p", "the sky is", "--at", "here"], "must be all, prompt"),
    (["-f", "L4/288", "-p", "the sky is", "--at", "0"], "carry no features"),
    (["-f", "L4/288", "-p", "the sky is", "--at", "99"], "positions 0 to 23"),
    (["-f", "L4/288", "-p", "the sky is", "--of-max", "1e20"], "overflows"),
    (["-f", "L4/288", "-p", "the sky is", "--system", "be brief"], "--chat"),
    (["-f", "L4/288", "-p", "the sky is", "--plot", "dose.jpg"], "no known form"),
    (["--find", "yellow", "-t", "neurons", "-p", "the sky is"], "no feature cards"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD_STEERING)
def test_steer_refuses_in_one_line(run: Run, arguments: list[str], said: str) -> None:
    outcome = run("steer", "sprout", "--device", "cpu", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""


def test_features_are_found_and_shown(run: Run) -> None:
    found = run("features", "find", "yellow", "--in", "label", "--limit", "3")
    assert found.code == 0, found.err
    assert "L0/993" in found.out
    assert "3 of" in found.out
    shown = run("features", "show", "L4/288")
    for word in ("yellow", "maximum", "promotes", "Top", "[is]", "█"):
        assert word in shown.out
    card = json.loads(run("features", "show", "4/288", "-t", "sprout/clt", "--json").out)
    assert card["name"] == "L4/288"
    assert card["examples"]
    neuron = run("features", "show", "L5/147", "-t", "neurons")
    assert "promotes" in neuron.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find", "zebracrossing"], "has"),
        (["find", "yellow", "-t", "neurons"], "no cards to search"),
        (["find", "yellow", "--in", "title"], "unknown place"),
        (["show", "L4/9999"], "features 0 to 1023"),
        (["show", "L9/1"], "layers 0 to 5"),
        (["show", "yellow"], "names no node"),
        (["show", "L4/288@3"], "without a position"),
        (["show", "L4/288", "-t", "sprout/nothing"], "no dictionary"),
    ],
)
def test_features_refuses_in_one_line(run: Run, arguments: list[str], said: str) -> None:
    outcome = run("features", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
