"""The trust report as one page in the terminal: the verdict first, then what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuit_tracer.render.numbers import decimals, percent, signed_percent, with_interval
from circuit_tracer.render.terminal import WIDTH, add_plain, plain_table
from circuit_tracer.render.text import printable, shorten, word_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from circuit_tracer.experiments.kit.statistics import Likeness
    from circuit_tracer.experiments.trust.distance import ByDistance
    from circuit_tracer.experiments.trust.measurements import Measurements
    from circuit_tracer.experiments.trust.ranking import Ranking
    from circuit_tracer.experiments.trust.run import Trust
    from circuit_tracer.experiments.trust.sufficiency import Sufficiency
    from circuit_tracer.experiments.trust.verdict import Verdict
    from circuit_tracer.render.trust_panel import StoredVerdict

STYLES = {"sound": "bold green", "care": "bold", "doubtful": "bold red", "broken": "bold red"}
MARKS = {"+": "green", "~": "yellow", "-": "red"}
HELD = {
    "held": "attention, norms",
    "constrained": "attention",
    "free": "nothing",
}


def verdict(found: Verdict, *, width: int = WIDTH, brief: bool = False) -> Text:
    """The headline and its reasons: + speaks for the graph, - against, ~ keep in mind."""
    from rich.text import Text

    text = Text()
    tested = "Trust (brief test)" if brief else "Trust"
    headline = "\n".join(_wrapped(f"{tested}: {found.headline}", width))
    text.append(f"{headline}\n", style=STYLES[found.level])
    for reason in found.reasons:
        text.append(f"  {reason.mark} ", style=MARKS[reason.mark])
        text.append("\n    ".join(_wrapped(reason.text, width - 4)) + "\n")
    text.rstrip()
    return text


def stored_verdict(found: StoredVerdict) -> Text:
    """The one line that `show` prints of a report that lies beside the graph."""
    from rich.text import Text

    style = STYLES.get(found.level, "bold")
    return Text(f"Trust: {printable(found.headline)} (circuit-tracer trust)", style=style)


def _wrapped(words: str, width: int) -> list[str]:
    import textwrap

    together = printable(words).replace(" %", "\u00a0%")
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(together, width)]


def page(report: Trust, *, width: int = WIDTH) -> RenderableType:
    """The whole report."""
    from rich.console import Group
    from rich.text import Text

    found = report.measured
    parts: list[RenderableType] = [
        verdict(report.verdict, width=width, brief=report.settings.quick),
        Text(""),
    ]
    for name, part in _sections(report):
        parts += [Text(name, style="bold"), part, Text("")]
    seconds = sum(report.seconds.values())
    features = 0 if found.knock_on is None else len(found.knock_on.rows)
    notes = [f"{note[0].upper()}{note[1:]}." for note in report.notes]
    last = f"{features} features drawn with seed {report.settings.seed}; {seconds:.1f} s."
    parts.append(Text("\n".join(_wrapped(" ".join([*notes, last]), width)), style="dim"))
    return Group(*parts)


def _sections(report: Trust) -> Iterator[tuple[str, RenderableType]]:
    found = report.measured
    yield "Is it what the model computes?", _integrity(found)
    if found.knock_on is not None:
        yield "Knock-on effects: ablations, foretold against measured", _knock_on(found)
    if found.ranking is not None:
        yield "Influence against ablation, over features", _ranking(found.ranking)
    yield "Where", _layers(found)
    if found.distance:
        yield "Response by distance: half of a layer's features ablated", _distance(found.distance)
    for one in found.sufficiency:
        if one.held == "free":
            yield "Sufficiency and necessity of the kept features, nothing held", _curve(one)
    if found.gates:
        yield "Neurons: real gates against the edges, by size of the change", _gates(found)
    if found.agreement is not None:
        yield f"Another dictionary: {found.agreement.other}", _agreement(found)
    if found.number_format is not None:
        yield "Kept edges when the sweep runs in bfloat16", _number_format(found)


def _facts(rows: list[tuple[str, str, str]]) -> Table:
    table = plain_table(header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        add_plain(table, *row)
    return table


def _integrity(found: Measurements) -> Table:
    sums, direct, scores = found.conservation, found.direct, found.scores
    rows = [
        (
            "conservation",
            f"{sums.residual:.0e}",
            f"Largest gap between a node's value and its edges plus constant (allowed "
            f"{sums.tolerance:.0e}).",
        )
    ]
    if direct is not None:
        rows.append(
            (
                "direct edges",
                f"{direct.error:.0e}",
                f"Largest gap of {direct.pairs:,} edges to ablations with all else held (allowed "
                f"{direct.tolerance:.0e}). They are forced: no evidence.",
            )
        )
    if found.has_errors:
        rows += [
            ("replacement", f"{scores.replacement:.2f}", "Of what tokens and errors start."),
            ("completeness", f"{scores.completeness:.2f}", "Of the nodes' inputs, not errors."),
            ("error share", percent(scores.error_share), "Of the influence, ends in errors."),
        ]
    rows.append(
        ("constant share", percent(scores.constant_share), "Ends in biases and zeroed BOS.")
    )
    hidden = scores.unexpanded_share + scores.dropped_share
    rows.append(("not looked at", percent(hidden), "Unexpanded features and dropped edges."))
    return _facts(rows)


def _knock_on(found: Measurements) -> Table:
    assert found.knock_on is not None
    pairs = found.knock_on.by_held[0].everything.pairs
    ways = found.knock_on.by_held
    named: list[tuple[str, Likeness]] = [(HELD[one.held], one.everything) for one in ways]
    named += [(f"{HELD[one.held]} *", one.answering) for one in ways if one.held != "held"]
    on_its_own = [(HELD[one.held], one.on_its_own) for one in ways]
    named += [(f"{held} **", one) for held, one in on_its_own if one is not None]
    alone = (
        " ** Written at its own layer alone; later MLPs answer for its later decoders."
        if any(one is not None for _, one in on_its_own)
        else ""
    )
    table = plain_table(
        f"Routes through at least one further feature; {pairs:,} pairs of an ablated feature and a "
        "later node. [95 % of bootstrap draws] * Forecast with the graph's features, in which "
        f"norms (and attention) answer where they are not held.{alone}"
    )
    table.add_column("held", no_wrap=True)
    for name in ("Spearman", "Pearson", "same sign"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in named:
        add_plain(
            table,
            name,
            with_interval(one.spearman),
            with_interval(one.pearson),
            with_interval(one.signs),
        )
    return table


def _ranking(found: Ranking) -> Table:
    table = plain_table(
        f"Spearman over {found.features} features: influence against the size of an ablation's "
        f"effect on the targets (Anthropic: 0.72), the same through further features alone "
        f"({found.beyond} features), and signed sums of routes against signed effects (* norms "
        "and attention answer in the forecast, too). edge: the direct edge alone, for comparison."
    )
    table.add_column("held", no_wrap=True)
    for name in ("influence", "edge", "further", "edge", "signed", "signed *"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.by_held:
        add_plain(
            table,
            HELD[one.held],
            with_interval(one.influence),
            decimals(one.direct.value),
            with_interval(one.influence_beyond),
            decimals(one.direct_beyond.value),
            decimals(one.signed.value),
            decimals(one.signed_answering.value),
        )
    return table


def _layers(found: Measurements) -> Table:
    """Errors and knock-on effects by layer; the tokens that errors weigh on most."""
    tested = {} if found.knock_on is None else {one[0]: one for one in found.knock_on.by_layer}
    table = plain_table(_tokens(found))
    for name in ("layer", "errors in its input", "its knock-on effects", "pairs"):
        table.add_column(name, justify="right", no_wrap=True)
    last = max((place.layer for place in found.places.layers), default=0)
    for place in found.places.layers:
        _, figure, pairs = tested.get(place.layer, (0, float("nan"), 0))
        add_plain(
            table,
            "targets" if place.layer == last else f"L{place.layer}",
            percent(place.error_share) if found.has_errors else "",
            decimals(figure) if pairs else "",
            f"{pairs:,}" if pairs else "",
        )
    return table


def _tokens(found: Measurements) -> str:
    if not found.has_errors:
        return ""
    shares = [
        f"{word_text(place.token)} {percent(place.error_share)}"
        for place in found.places.tokens
        if place.importance >= 0.01
    ]
    return f"Of what starts at each token, errors: {shorten(', '.join(shares), 400)}."


def _distance(by_distance: tuple[ByDistance, ...]) -> Table:
    table = plain_table("cos: cosine of foretold and measured; off: size of the difference.")
    table.add_column("layers on", justify="right", no_wrap=True)
    for one in by_distance:
        table.add_column(f"{HELD[one.held]} held: cos", justify="right")
        table.add_column("off", justify="right", no_wrap=True)
    for i, point in enumerate(by_distance[0].points):
        cells = []
        for one in by_distance:
            same = one.points[i]
            cells += [decimals(same.cosine), decimals(same.error)]
        add_plain(table, str(point.layers_on), *cells)
    return table


def _curve(found: Sufficiency) -> Table:
    table = plain_table(
        f"Share of the target's {found.value:.1f} logits (less {found.without:.1f} without any "
        "feature) that stays; random: sets matched by layer, number and activation."
    )
    for name in ("threshold", "features", "they alone", "no errors", "random (most)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("without them", justify="right", no_wrap=True)
    table.add_column("random", justify="right", no_wrap=True)
    for point in found.points:
        random = point.random_sufficiency
        add_plain(
            table,
            f"{point.threshold:g}",
            f"{point.features:,}",
            percent(point.sufficiency),
            percent(point.sufficiency_without_errors),
            f"{percent(random.median)} ({percent(random.high)})",
            percent(point.necessity),
            percent(point.random_necessity.median),
        )
    return table


def _gates(found: Measurements) -> Table:
    table = plain_table("times: real change for each unit of the edges; off: of the edges' size.")
    for name in ("change", "times", "off", "Spearman"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.gates:
        add_plain(
            table,
            signed_percent(one.change),
            decimals(one.slope),
            percent(one.error),
            decimals(one.spearman),
        )
    return table


def _agreement(found: Measurements) -> Table:
    other = found.agreement
    assert other is not None
    first, last = other.middle_layers
    same = (
        "Both say the same token is first."
        if other.same_first_token
        else ("They put different tokens first.")
    )
    return _facts(
        [
            ("token overlap", percent(other.token_overlap), same),
            (
                "decoder cosine",
                decimals(other.decoder_cosine),
                f"Nearest features of L{first}-L{last} at the same token, by influence; "
                f"{decimals(other.decoder_cosine_by_chance)} by chance.",
            ),
            ("shared features", percent(other.shared_features), "With a cosine of 0.7 or more."),
        ]
    )


def _number_format(found: Measurements) -> Table:
    moved = found.number_format
    assert moved is not None
    return _facts(
        [
            (
                "change",
                percent(moved.median),
                f"Median of {moved.edges:,} edges; nine in ten move by less than "
                f"{percent(moved.ninth_decile)}.",
            ),
            (
                "far off",
                percent(moved.far_off),
                f"By more than a tenth; {moved.turned} change their sign.",
            ),
            ("kept again", percent(moved.still_kept), "By pruning at the same thresholds."),
        ]
    )
