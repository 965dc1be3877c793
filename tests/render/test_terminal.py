"""The terminal: fits, aligned, readable without colour, true, deaf to hostile text."""

import re
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len

from circuit_tracer.graphs.graph import NodeKind, node_name
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.routes.paths import Path, best_paths
from circuit_tracer.render.describe import score_lines
from circuit_tracer.render.route_lines import routes
from circuit_tracer.render.summary import summary
from circuit_tracer.render.tables import edge_table, node_table
from circuit_tracer.render.terminal import as_text
from circuit_tracer.render.tree import tree
from tests.graphs.builders import random_graph, thinned
from tests.render import builders

CASES = [builders.small, builders.middle, builders.large, builders.hostile]


def with_scores(pruned: PrunedGraph, **scores: float) -> PrunedGraph:
    return replace(pruned, scores=replace(pruned.scores, **scores))


def meaning_of(pruned: PrunedGraph, name: str) -> str:
    return next(score.meaning for score in score_lines(pruned) if score.name == name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal_or_acts_on_it(case, width) -> None:
    pruned = case()
    shown = [
        summary(pruned, best_paths(pruned, k=5), width=width),
        tree(pruned, depth=4, width=width),
        node_table(pruned),
        edge_table(pruned),
    ]
    for renderable in shown:
        text = as_text(renderable, width=width)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_a_summary_tells_tokens_targets_scores_and_routes() -> None:
    pruned = builders.small()
    text = as_text(summary(pruned, best_paths(pruned, k=3)))
    assert "0:[BOS]  1:a  2:banana  3:is" in text
    assert re.search(r"yellow +3 +62 % +9\.00 +81 % +choice 1", text)
    assert f"replacement      {pruned.scores.replacement:.2f}  Of the influence" in text
    assert re.search(r'\+30 %  is → L0/\d+ "say: yellow" ⟹ yellow', text)
    assert re.search(r"−28 %  banana → L3/3740@3 ⟹ green", text)
    assert "11 of 14 active features" in text


def test_colour_is_only_there_when_asked_for() -> None:
    pruned = builders.small()
    shown = summary(pruned, best_paths(pruned, k=3))
    assert "\x1b" not in as_text(shown)
    coloured = as_text(shown, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == as_text(shown).split()


def test_labels_are_not_read_as_rich_markup() -> None:
    pruned = builders.hostile()
    shown = as_text(tree(pruned, depth=5, branches=50)) + as_text(node_table(pruned, limit=None))
    assert "[bold]markup[/bold]" in shown
    assert "[BOS]" in shown


def test_long_routes_go_on_before_an_arrow() -> None:
    pruned = builders.large()
    graph = pruned.graph
    nodes = graph.nodes
    longest = max(best_paths(pruned, k=50), key=lambda path: len(path.rows))
    rows = (longest.rows[0], *nodes.of_kind(NodeKind.FEATURE)[:8].tolist(), longest.rows[-1])
    text = as_text(routes(pruned, [Path(rows, -0.5, 0.5)]))
    lines = text.splitlines()[:-1]
    assert len(lines) > 1
    assert lines[0].startswith("  −50 %  ")
    assert all(re.match(r" {11}(→|⟹) ", line) for line in lines[1:])
    assert text.count("⟹") == 1


def test_a_token_that_occurs_twice_has_its_position() -> None:
    graph = builders.story(tokens=("[BOS]", "the", "cat", "the"))
    pruned = prune(graph)
    target = int(graph.target_rows[0])
    text = as_text(routes(pruned, [Path((1, target), 0.1, 0.1), Path((2, target), 0.1, 0.1)]))
    assert "the@1 ⟹ yellow" in text
    assert "cat ⟹ yellow" in text


def test_features_of_one_label_have_their_index_and_moves_their_position() -> None:
    graph = builders.story(labels=("same",), n_features=30)
    rows = graph.nodes.of_kind(NodeKind.FEATURE)
    low = int(rows[graph.nodes.position[rows] == 1][0])
    high = int(rows[graph.nodes.position[rows] == 3][-1])
    layer, feature = graph.nodes.layer, graph.nodes.feature
    path = Path((1, low, high, int(graph.target_rows[0])), 0.5, 0.5)
    text = as_text(routes(prune(graph), [path]))
    start = f'a → L{layer[low]}/{feature[low]} "same" → '
    assert f'{start}L{layer[high]}/{feature[high]}@3 "same" ⟹ yellow' in text


def test_routes_say_where_they_start_and_part_their_targets() -> None:
    pruned = builders.small()
    found = best_paths(pruned, k=2)
    text = as_text(routes(pruned, found))
    assert text.splitlines()[2] == ""
    assert text.endswith("share of all paths from tokens to it.\n")
    named = as_text(routes(pruned, found[:2], origin="banana"))
    assert "" not in named.splitlines()
    assert named.endswith("share of all paths from banana to it.\n")


def test_a_label_with_quotes_gets_no_more_of_them() -> None:
    graph = builders.story(labels=('"?"/"."',))
    row = int(graph.nodes.of_kind(NodeKind.FEATURE)[0])
    text = as_text(routes(prune(graph), [Path((1, row, int(graph.target_rows[0])), 0.5, 0.5)]))
    assert '"?"/"." ⟹' in text
    assert '""' not in text


def test_no_routes_is_reported() -> None:
    assert "No route" in as_text(routes(builders.small(), []))


def test_the_tree_has_the_strongest_inputs_with_plus_or_minus() -> None:
    pruned = builders.small()
    edges, graph = pruned.graph.edges, pruned.graph
    text = as_text(tree(pruned, depth=1, branches=2))
    target = int(graph.target_rows[0])
    into = np.flatnonzero((edges.target == target) & pruned.edge_kept)
    order = into[np.argsort(-np.abs(edges.weight[into]))]
    lines = text.splitlines()
    assert lines[0] == "yellow  62 %"
    for edge, line in zip(order[:2], lines[1:3], strict=True):
        sign = "+" if edges.weight[edge] > 0 else "−"
        assert re.match(rf"├─ +\{sign}\d+ %  .*{node_name(graph, int(edges.source[edge]))}$", line)
    assert lines[3].startswith(f"└─ {len(into) - 2} weaker kept inputs")


def test_the_tree_opens_a_node_once() -> None:
    pruned = builders.middle()
    text = as_text(tree(pruned, depth=5, branches=20))
    assert "(above)" in text
    opened = re.findall(r"(\S+/\d+@\d+)$", text, re.M)
    assert text.count("\n") < 3 * int(pruned.edge_kept.sum())
    assert len(opened) > 10


def test_tables_are_sorted_and_say_what_they_leave_out() -> None:
    pruned = builders.middle()
    text = as_text(node_table(pruned, limit=5))
    shares = [float(share) for share in re.findall(r"([\d.]+) % +[+-][\d.]+$", text, re.M)]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert "5 of 43 kept nodes, those with most influence." in text
    assert "kept nodes" not in as_text(node_table(pruned, limit=None))
    edges = as_text(edge_table(pruned, limit=7))
    assert len(re.findall(r"[+-][\d.]+ +[\d.]+ % +[\d.]+ %$", edges, re.M)) == 7
    assert "7 of 206 kept edges" in edges


def test_columns_of_numbers_end_at_the_same_place() -> None:
    lines = as_text(edge_table(builders.small())).splitlines()[1:-1]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("name", "score", "words"),
    [
        ("replacement", 0.83, "tokens start 83 %."),
        ("replacement", 0.55, "errors start a large part"),
        ("replacement", 0.30, "errors start more than the prompt does"),
        ("completeness", 0.92, "Errors are 8.0 % of what goes into the nodes that matter."),
        ("completeness", 0.60, "read with care"),
        ("completeness", 0.20, "miss most of it"),
    ],
)
def test_the_sentence_goes_with_the_score(name, score, words) -> None:
    assert words in meaning_of(with_scores(builders.small(), **{name: score}), name)


def test_without_errors_the_scores_claim_nothing() -> None:
    pruned = prune(builders.story(n_errors=0))
    for name in ("replacement", "completeness"):
        assert "says nothing here" in meaning_of(pruned, name)


def test_a_graph_that_does_not_conserve_is_called_out() -> None:
    pruned = builders.small()
    info = replace(pruned.graph.info, conservation_residual=0.3)
    broken = replace(pruned, graph=replace(pruned.graph, info=info))
    assert "add up" in meaning_of(pruned, "conservation")
    assert "NOT" not in meaning_of(pruned, "conservation")
    assert "do NOT add up" in meaning_of(broken, "conservation")


def test_what_a_budget_left_out_has_a_line_only_if_there_is_any() -> None:
    names = [score.name for score in score_lines(builders.small())]
    assert "unexpanded share" not in names
    budgeted = prune(random_graph(4, 6, 12, unexpanded=10))
    assert "unexpanded share" in [score.name for score in score_lines(budgeted)]


def test_edges_too_small_to_keep_have_a_line_with_the_bound_only_if_there_are_any() -> None:
    assert "dropped share" not in [score.name for score in score_lines(builders.small())]
    pruned = prune(thinned(builders.story(), mass=0.9))
    line = next(score for score in score_lines(pruned) if score.name == "dropped share")
    low, high = (float(number) for number in re.findall(r"0\.\d\d", line.meaning))
    assert low <= pruned.scores.replacement_range[0]
    assert pruned.scores.replacement_range[1] <= high
    assert high - low < 0.5
    text = as_text(summary(pruned, None))
    assert "too small to keep" in text
    assert "features with an edge" in text
    assert max(cell_len(each) for each in text.splitlines()) <= 80


def test_a_softcap_is_reported_once() -> None:
    pruned = builders.small()
    info = replace(pruned.graph.info, logit_softcap=30.0)
    capped = replace(pruned, graph=replace(pruned.graph, info=info))
    said = "Logits before the soft-cap of 30; probabilities after it."
    assert as_text(summary(capped, None)).count(said) == 1
    assert "soft-cap" not in as_text(summary(pruned, None))
