"""The trust report as one page in the terminal: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from circuit_tracer.experiments.kit.statistics import Likeness
from circuit_tracer.experiments.kit.tables import Table, screen, table_of, verdict_text
from circuit_tracer.experiments.trust.results import (
    ByDistance,
    Departure,
    DictionaryAgreement,
    IndirectEffects,
    Measurements,
    NumberFormat,
    Ranking,
    Sufficiency,
    Trust,
)
from circuit_tracer.render.numbers import decimals, percent, with_interval
from circuit_tracer.render.terminal import WIDTH
from circuit_tracer.render.text import printable, shorten, word_text
from circuit_tracer.render.trust_panel import StoredVerdict, Verdict

STYLES = {"sound": "bold green", "care": "bold", "doubtful": "bold red", "broken": "bold red"}
MARKS = {"+": "green", "~": "yellow", "-": "red"}
UNHEADED = ("", "", "")
"""The columns of a table of facts: name, figure, explanation."""


def verdict(found: Verdict, *, width: int = WIDTH, brief: bool = False) -> Text:
    """The headline and its reasons: + speaks for the graph, - against, ~ keep in mind."""
    tested = "Trust (brief test)" if brief else "Trust"
    reasons = ((reason.mark, MARKS[reason.mark], reason.text) for reason in found.reasons)
    headline, style = f"{tested}: {found.headline}", STYLES[found.level]
    return verdict_text(headline, reasons, width=width, style=style)


def stored_verdict(found: StoredVerdict) -> Text:
    """The one line that `show` prints of a report that lies beside the graph."""
    words = f"Trust: {printable(found.headline)} (circuit-tracer trust)"
    return Text(words, style=STYLES.get(found.level, "bold"))


def page(report: Trust, *, width: int = WIDTH) -> RenderableType:
    """The whole report."""
    found = report.measured
    features = 0 if found.indirect is None else len(found.indirect.rows)
    notes = [f"{note[0].upper()}{note[1:]}." for note in report.notes]
    seconds = sum(report.seconds.values())
    last = f"{features} features drawn with seed {report.settings.seed}; {seconds:.1f} s."
    head = verdict(report.verdict, width=width, brief=report.settings.quick)
    return screen(head, _tables(found), [" ".join([*notes, last])], width=width)


def _tables(found: Measurements) -> Iterator[Table]:
    yield _integrity(found)
    if found.indirect is not None:
        yield _indirect(found.indirect)
    if found.ranking is not None:
        yield _ranking(found.ranking)
    yield _layers(found)
    if found.distance:
        yield _distance(found.distance)
    if found.free_sufficiency is not None:
        yield _sufficiency(found.free_sufficiency)
    if found.gates:
        yield _gates(found.gates)
    if found.agreement is not None:
        yield _agreement(found.agreement)
    if found.number_format is not None:
        yield _number_format(found.number_format)


def _integrity(found: Measurements) -> Table:
    sums, direct, scores = found.conservation, found.direct, found.scores
    explained = (
        f"Largest gap between a node's value and its edges plus constant (allowed "
        f"{sums.tolerance:.0e})."
    )
    rows = [("conservation", f"{sums.residual:.0e}", explained)]
    if direct is not None:
        explained = (
            f"Largest gap of {direct.pairs:,} edges to ablations with all else frozen (allowed "
            f"{direct.tolerance:.0e}). They are forced: no evidence."
        )
        rows.append(("direct edges", f"{direct.error:.0e}", explained))
    if found.has_errors:
        rows += [
            ("replacement", decimals(scores.replacement), "Of what tokens and errors start."),
            ("completeness", decimals(scores.completeness), "Of the nodes' inputs, not errors."),
            ("error share", percent(scores.error_share), "Of the influence, ends in errors."),
        ]
    hidden = scores.unexpanded_share + scores.dropped_share
    rows += [
        ("constant share", percent(scores.constant_share), "Ends in biases and zeroed BOS."),
        ("not looked at", percent(hidden), "Unexpanded features and dropped edges."),
    ]
    return Table("Is it what the model computes?", UNHEADED, tuple(rows))


def _indirect(found: IndirectEffects) -> Table:
    ways = found.ways
    compared: list[tuple[str, Likeness]] = [(way.frozen, way.everything) for way in ways]
    compared += [
        (f"{way.frozen} *", way.responding)
        for way in ways
        if way.frozen != "attention, norms" or way.responding != way.everything
    ]
    more = [(f"{way.frozen} †", way.replaced) for way in ways]
    more += [(f"{way.frozen} **", way.own_layer) for way in ways]
    compared += [(name, likeness) for name, likeness in more if likeness is not None]
    note = (
        f"Routes through at least one further feature; {ways[0].everything.pairs:,} pairs of an "
        "ablated feature and a later node. [95 % of bootstrap draws] Predicted by the graph's "
        "sums; * by the linear prediction: the graph's features with all edges, norms (and "
        "attention) responding where they are not frozen."
    )
    if any(way.replaced is not None for way in ways):
        note += " † By the replacement model run for real: true encoders, errors constant."
    if any(way.own_layer is not None for way in ways):
        note += " ** Written at its own layer alone; later MLPs stand in for its later decoders."
    return Table(
        "Indirect effects: ablations, predicted against measured",
        ("frozen", "Spearman", "Pearson", "same sign"),
        tuple(
            (name, *map(with_interval, (one.spearman, one.pearson, one.same_sign)))
            for name, one in compared
        ),
        note,
    )


def _ranking(found: Ranking) -> Table:
    note = (
        f"Spearman over {found.features} features: influence against the size of an ablation's "
        f"effect on the targets (Anthropic: 0.72), the same through further features alone "
        f"({found.beyond} features), and signed sums of routes against signed effects (* norms "
        "and attention respond in the prediction, too). edge: the direct edge alone, for "
        "comparison."
    )
    return table_of(
        "Influence against ablation, over features",
        found.ways,
        ("frozen", "influence", "edge", "further", "edge", "signed", "signed *"),
        "frozen influence:[] direct:.2 influence_beyond:[] direct_beyond:.2 signed:.2 "
        "signed_responding:.2",
        note,
    )


def _layers(found: Measurements) -> Table:
    """Errors and indirect effects by layer; the tokens that errors weigh on most."""
    tested = {} if found.indirect is None else {row.layer: row for row in found.indirect.by_layer}
    last = max((place.layer for place in found.places.layers), default=0)
    rows = []
    for place in found.places.layers:
        name = "targets" if place.layer == last else f"L{place.layer}"
        errors = percent(place.error_share) if found.has_errors else ""
        effects = ("", "")
        if (row := tested.get(place.layer)) is not None and row.pairs:
            effects = (decimals(row.spearman), f"{row.pairs:,}")
        rows.append((name, errors, *effects))
    shares = ", ".join(
        f"{word_text(place.token)} {percent(place.error_share)}"
        for place in found.places.tokens
        if place.importance >= 0.01
    )
    note = f"Of what starts at each token, errors: {shorten(shares, 400)}."
    return Table(
        "Where",
        ("layer", "errors in its input", "its indirect effects", "pairs"),
        tuple(rows),
        note if found.has_errors else "",
    )


def _distance(curves: tuple[ByDistance, ...]) -> Table:
    columns, rows = ["layers on"], []
    for curve in curves:
        columns += [curve.frozen, "off"]
    for points in zip(*(curve.points for curve in curves), strict=False):
        cells = (decimals(value) for point in points for value in (point.cosine, point.error))
        rows.append((str(points[0].layers_on), *cells))
    return Table(
        "Response by distance: half of a layer's features ablated",
        tuple(columns),
        tuple(rows),
        "By what is frozen: cosine of predicted and measured; off: size of the difference.",
    )


def _sufficiency(found: Sufficiency) -> Table:
    columns = ("threshold", "features", "they alone", "no errors", "random (most)", "without them")
    note = (
        f"Share of the target's {found.value:.1f} logits (less {found.without:.1f} without any "
        "feature) that stays; random: sets matched by layer, number and activation."
    )
    return table_of(
        "Sufficiency and necessity of the kept features, nothing frozen",
        found.points,
        (*columns, "random"),
        "threshold:g features:, sufficiency:% sufficiency_without_errors:% "
        "random_sufficiency.words necessity:% random_necessity.median:%",
        note,
    )


def _gates(found: tuple[Departure, ...]) -> Table:
    return table_of(
        "Neurons: real gates against the edges, by size of the change",
        found,
        ("change", "times", "off", "Spearman"),
        "change:+% slope:.2 error:% spearman:.2",
        "times: real change for each unit of the edges; off: of the edges' size.",
    )


def _agreement(other: DictionaryAgreement) -> Table:
    first, last = other.middle_layers
    same = "Both put the same token first."
    if not other.same_first_token:
        same = "They put different tokens first."
    nearest = (
        f"Nearest features of L{first}-L{last} at the same token, by influence; "
        f"{decimals(other.decoder_cosine_by_chance)} by chance."
    )
    rows = (
        ("token overlap", percent(other.token_overlap), same),
        ("decoder cosine", decimals(other.decoder_cosine), nearest),
        ("shared features", percent(other.shared_features), "With a cosine of 0.7 or more."),
    )
    return Table(f"Another dictionary: {other.other}", UNHEADED, rows)


def _number_format(moved: NumberFormat) -> Table:
    median = (
        f"Median of {moved.edges:,} edges; nine in ten move by less than "
        f"{percent(moved.ninth_decile)}."
    )
    far_off = f"By more than a tenth; {moved.turned} change their sign."
    rows = (
        ("change", percent(moved.median), median),
        ("far off", percent(moved.far_off), far_off),
        ("kept again", percent(moved.still_kept), "By pruning at the same thresholds."),
    )
    return Table("Kept edges when the sweep runs in bfloat16", UNHEADED, rows)
