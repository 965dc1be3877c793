"""What a trust report found, as plain values; the step of each name (`steps/`) computes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from circuit_tracer.experiments.kit.statistics import Likeness
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.files.json_values import stored_as
from circuit_tracer.graphs.scores import Scores
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.trust_panel import Verdict

Frozen = Literal["everything", "attention, norms", "attention", "nothing"]
"""What is frozen while the model responds to a change (`passes.py`)."""

# Names that the code has given up stay in the file, so that reports of all versions read alike.
_FROZEN = stored_as(
    "held", {"attention, norms": "held", "attention": "constrained", "nothing": "free"}
)
_WAYS = stored_as("by_held")


@dataclass(frozen=True)
class Conservation:
    """Edges + what was not kept + constant against the value, over all nodes with inputs."""

    residual: float
    """The largest, relative; recomputed from the edges as they are stored."""
    stored: float
    """What the trace itself found."""
    tolerance: float
    worst: str
    """The node it belongs to."""

    @property
    def holds(self) -> bool:
        """Whether the sums are right."""
        return self.residual <= self.tolerance


@dataclass(frozen=True)
class DirectCheck:
    """Edges against ablations with everything else frozen (not evidence: they are forced)."""

    error: float
    """Largest difference, relative to the largest change of that node by any of the sources."""
    median: float
    tolerance: float
    sources: int
    pairs: int
    worst: str
    """The edge it belongs to: "L1/5@3 -> L4/7@3"."""

    @property
    def holds(self) -> bool:
        """Whether the edges are what the model does."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class LayerPlace:
    """The features of one layer (the targets, for the number of layers)."""

    layer: int
    error_share: float
    """Influence-weighted share of their (absolute) input that comes from errors."""
    importance: float
    """Influence on (weight of) these nodes together."""


@dataclass(frozen=True)
class TokenPlace:
    """What starts at one token."""

    position: int
    token: str
    error_share: float
    """Of the influence that starts here, at the token or at errors, the part from errors."""
    importance: float
    """Share of all influence that starts at tokens and errors."""


@dataclass(frozen=True)
class Places:
    """Where errors come in."""

    layers: tuple[LayerPlace, ...]
    tokens: tuple[TokenPlace, ...]


class LayerSpearman(NamedTuple):
    """How well the indirect effects of one layer's features are predicted, as in the graph."""

    layer: int
    spearman: float
    pairs: int


@dataclass(frozen=True)
class IndirectWay:
    """Predicted against measured indirect effects, with one thing frozen or another."""

    frozen: Frozen = field(metadata=_FROZEN)
    everything: Likeness
    """All later features and the targets; predicted by the graph's sums."""
    targets: Likeness
    """The targets alone."""
    responding: Likeness = field(metadata=stored_as("answering"))
    """All later features and the targets; predicted with what is not frozen responding, by all
    edges, those that were too small to keep, too."""
    own_layer: Likeness | None = field(default=None, metadata=stored_as("on_its_own"))
    """Cross-layer features alone: later MLPs respond in place of their later decoders."""
    replaced: Likeness | None = None
    """All later features and the targets; predicted by the replacement model run for real. None of
    neurons, in brief reports and in those of earlier versions."""


@dataclass(frozen=True)
class IndirectEffects:
    """The test of indirect effects."""

    rows: tuple[int, ...]
    """The ablated features, rows of the node table."""
    ways: tuple[IndirectWay, ...] = field(metadata=_WAYS)
    by_layer: tuple[LayerSpearman, ...]
    """By layer of the ablated feature, attention and norms frozen."""

    def at(self, frozen: Frozen) -> IndirectWay:
        """What was found with this frozen."""
        return next(way for way in self.ways if way.frozen == frozen)


@dataclass(frozen=True)
class RankingWay:
    """Spearman correlations over features, with one thing frozen or another."""

    frozen: Frozen = field(metadata=_FROZEN)
    influence: Interval
    """Influence against the size of the effect: Anthropic's statistic."""
    direct: Interval
    """The size of the direct edge alone against the same."""
    influence_beyond: Interval
    """Influence through further features against the effect that came through further MLPs."""
    direct_beyond: Interval
    """The size of the direct edge alone against the same."""
    signed: Interval
    """The graph's signed sum over all routes against the effect."""
    signed_responding: Interval = field(metadata=stored_as("signed_answering"))
    """The prediction in which what is not frozen responds, against the effect."""


@dataclass(frozen=True)
class Ranking:
    """The test of influence."""

    features: int
    beyond: int
    """Those with a route through a further feature."""
    ways: tuple[RankingWay, ...] = field(metadata=_WAYS)

    def at(self, frozen: Frozen) -> RankingWay:
        """What was found with this frozen."""
        return next(way for way in self.ways if way.frozen == frozen)


@dataclass(frozen=True)
class AtDistance:
    """Medians over draws and starting layers."""

    layers_on: int
    cosine: float
    error: float
    """Norm of the difference / norm of what was measured."""
    draws: int


@dataclass(frozen=True)
class ByDistance:
    """The predicted response of later layers, with one thing frozen or another."""

    frozen: Frozen = field(metadata=_FROZEN)
    points: tuple[AtDistance, ...]


@dataclass(frozen=True)
class Random:
    """What stays with matched random sets in the place of the kept one."""

    median: float
    low: float
    high: float
    """Smallest and largest."""

    @property
    def words(self) -> str:
        """The median, and the largest in brackets."""
        return f"{percent(self.median)} ({percent(self.high)})"


@dataclass(frozen=True)
class AtThreshold:
    """What the features kept at one node threshold do."""

    threshold: float
    features: int
    """Kept features."""
    of: int
    """Active features."""
    sufficiency: float
    sufficiency_without_errors: float
    """NaN without error nodes."""
    random_sufficiency: Random
    necessity: float
    """What stays without the kept features: low, if they are needed."""
    random_necessity: Random

    @property
    def beats_random(self) -> bool:
        """Whether more stays than with any of the random sets."""
        return self.sufficiency > self.random_sufficiency.high


@dataclass(frozen=True)
class Sufficiency:
    """What kept features do alone and what is left without them, one thing frozen or another."""

    frozen: Frozen = field(metadata=_FROZEN)
    value: float
    """The target's value with nothing changed."""
    without: float
    """With all features ablated."""
    points: tuple[AtThreshold, ...]

    def at(self, threshold: float) -> AtThreshold:
        """The point whose threshold is nearest."""
        return min(self.points, key=lambda point: abs(point.threshold - threshold))


@dataclass(frozen=True)
class Departure:
    """Direct effects in the model with real gates against the graph's edges."""

    change: float
    """Share by which the sources change."""
    error: float
    """Norm of the difference over the norm of the edges, over later neurons: median of sources."""
    slope: float
    """How far the real activations move for each unit that the edges predict (least squares)."""
    spearman: float
    """Over all pairs of a source and a later neuron."""


@dataclass(frozen=True)
class DictionaryAgreement:
    """One graph against that of another dictionary."""

    other: str
    """Name of the other dictionary."""
    token_overlap: float
    """Of the influence that starts at tokens; 1 for the same shares."""
    same_first_token: bool
    """Whether most starts at the same token in both."""
    middle_layers: tuple[int, int]
    """First and last layer whose features were compared."""
    decoder_cosine: float
    """Influence-weighted mean of the best cosines."""
    decoder_cosine_by_chance: float
    shared_features: float
    """Influence-weighted share of features with a counterpart of cosine 0.7 or more."""
    other_replacement: float
    """The other graph's replacement score."""


@dataclass(frozen=True)
class NumberFormat:
    """Kept edges of the graph against the same edges of a bfloat16 sweep."""

    median: float
    """Relative change of an edge."""
    ninth_decile: float
    far_off: float
    """Share of edges that move by more than a tenth of themselves."""
    turned: int
    """Edges whose sign turns."""
    still_kept: float
    """Share of kept edges that pruning keeps again."""
    edges: int


@dataclass(frozen=True)
class Measurements:
    """What was found; None or empty for what was not measured."""

    has_errors: bool
    """Whether the dictionary leaves errors (neurons do not)."""
    node_threshold: float
    conservation: Conservation
    direct: DirectCheck | None
    scores: Scores
    places: Places
    indirect: IndirectEffects | None = field(default=None, metadata=stored_as("knock_on"))
    ranking: Ranking | None = None
    distance: tuple[ByDistance, ...] = ()
    sufficiency: tuple[Sufficiency, ...] = ()
    gates: tuple[Departure, ...] = ()
    agreement: DictionaryAgreement | None = None
    number_format: NumberFormat | None = None

    @property
    def free_sufficiency(self) -> Sufficiency | None:
        """The curve with nothing frozen; None if not measured."""
        return next((curve for curve in self.sufficiency if curve.frozen == "nothing"), None)


@dataclass(frozen=True)
class Trust:
    """The report."""

    prompt: str
    model: str
    dictionary: str
    fingerprint: str
    """Of the graph the report is about."""
    settings: TrustSettings
    verdict: Verdict
    measured: Measurements
    notes: tuple[str, ...]
    """Why something was not measured."""
    seconds: dict[str, float]
    """Wall time by stage."""
