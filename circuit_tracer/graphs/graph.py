"""The attribution graph: what a trace produces and everything else reads.

A `Graph` is plain numpy columns: a table of nodes, a table of edges and the facts about the run.
It knows nothing of torch, models or dictionaries, so that reading, drawing and comparing graphs
is instant. Node order is topological: embeddings first, then layer by layer the features and the
error nodes, then the targets; every edge goes from a lower to a higher row of the node table.

A node's incoming edges (its row) may be stored sparse: the strongest edges, and of the others
nothing but sums, in the `dropped...` columns of the node. Those sums are exact, so the row's
conservation and its absolute total are, too. Nodes that no kept edge reaches need not be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.token_totals import TokenTotals

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
IntColumn = NDArray[np.integer[Any]]
IntLike = int | np.integer[Any]


class NodeKind(IntEnum):
    """What a node stands for (method.md section 3)."""

    EMBEDDING = 0
    FEATURE = 1
    ERROR = 2
    LOGIT = 3

    @property
    def word(self) -> str:
        """The kind as a lower-case word: "embedding", "feature", "error" or "logit"."""
        return self.name.lower()


DROPPED_OF = {
    NodeKind.EMBEDDING: "dropped_embeddings",
    NodeKind.ERROR: "dropped_errors",
    NodeKind.FEATURE: "dropped_features",
}
"""The columns of `Nodes` that hold absolute sums of edges that were not kept, by kind of source."""
DROPPED = ("dropped", *DROPPED_OF.values())
"""The columns of `Nodes` that hold what was not kept of a row."""


def _nothing() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True)
class Nodes:
    """One row a node; every column has length n."""

    kind: NDArray[np.int8]
    """A `NodeKind`."""
    layer: NDArray[np.int32]
    """Layer of a feature or error; -1 for embeddings, the number of layers for targets."""
    position: NDArray[np.int32]
    """Token position, BOS included."""
    feature: Ints
    """Feature index; vocabulary id of an embedding or token target; -1 for errors and contrasts."""
    activation: Floats
    """Activation of a feature; NaN for the others."""
    value: Floats
    """What the incoming edges and the constant sum to: a feature's pre-activation, a target's
    (centred) logit; NaN where the node has no incoming edges."""
    constant: Floats
    """The part of `value` that comes from no node (biases, decoder biases, what was zeroed at
    BOS); NaN where the node has no incoming edges."""
    expanded: Bools
    """Whether the incoming edges were computed (features left out by a budget are False)."""
    weight: Floats
    """Weight of a target in the influence; 0 for every other node. Sums to 1."""
    label: tuple[str, ...]
    """Short text: a feature's automatic label, a token, a target's text; "" if there is none."""
    dropped: Floats = field(default_factory=_nothing)
    """Signed sum of the incoming edges that were not kept. Edges + dropped + constant = value.
    This and the next three: 0 where nothing was dropped; left out, they are 0 everywhere."""
    dropped_embeddings: Floats = field(default_factory=_nothing)
    """Absolute sum of the incoming edges from embeddings that were not kept."""
    dropped_errors: Floats = field(default_factory=_nothing)
    """Absolute sum of the incoming edges from errors that were not kept."""
    dropped_features: Floats = field(default_factory=_nothing)
    """Absolute sum of the incoming edges from features that were not kept."""

    def __post_init__(self) -> None:
        """Fill in the `dropped...` columns that were not given."""
        for name in DROPPED:
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(len(self.kind)))

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def dropped_total(self) -> Floats:
        """(n,) absolute sum of all incoming edges that were not kept."""
        return self.dropped_embeddings + self.dropped_errors + self.dropped_features

    def with_nothing_dropped(self) -> Nodes:
        """The table of a graph whose rows are just their edges."""
        none: dict[str, Any] = dict.fromkeys(DROPPED, np.zeros(len(self)))
        return replace(self, **none)

    def of_kind(self, kind: NodeKind) -> Ints:
        """Row numbers of all nodes of one kind, ascending."""
        return np.flatnonzero(self.kind == kind)

    def take(self, rows: Ints) -> Nodes:
        """The table restricted to `rows`, in that order."""
        columns = {name: getattr(self, name)[rows] for name in column_types(Nodes)}
        return Nodes(**columns, label=tuple(self.label[int(i)] for i in rows))

    def joined(self, other: Nodes) -> Nodes:
        """The rows of this table, then those of another."""
        columns = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in column_types(Nodes)
        }
        return Nodes(**columns, label=self.label + other.label)


@dataclass(frozen=True)
class Edges:
    """One row an edge, in a `Graph` sorted by (target, source); every column has length m.

    The columns of a graph past its memory budget are `np.memmap`s: read them in slices.
    """

    source: NDArray[np.int32]
    """Row of the source node."""
    target: NDArray[np.int32]
    """Row of the target node; always greater than `source`."""
    weight: NDArray[np.floating[Any]]
    """Signed contribution to the target's value, in the dtype of the trace."""

    def __len__(self) -> int:
        return len(self.source)

    def into(self, first: int, end: int) -> slice:
        """Where the edges into the rows `first` to `end` (not included) of the node table lie."""
        rows = np.array([first, end], dtype=self.target.dtype)  # another would copy the column
        return slice(*np.searchsorted(self.target, rows).tolist())

    def take(self, which: slice | IntColumn | Bools) -> Edges:
        """Some of the edges: a view for a slice, else a copy in memory."""
        return Edges(self.source[which], self.target[which], self.weight[which])

    @property
    def columns(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Sources, targets and weights."""
        return self.source, self.target, self.weight

    @staticmethod
    def joined(parts: Iterable[Edges]) -> Edges:
        """Several parts, one after the other."""
        return Edges(*map(np.concatenate, zip(*(part.columns for part in parts), strict=True)))


def column_types(table: type) -> dict[str, type[np.generic]]:
    """The scalar type of every array column of a table (a dataclass), by its annotations."""
    hints = get_type_hints(table).items()
    arrays = {name: get_args(hint) for name, hint in hints if get_origin(hint) is np.ndarray}
    return {name: get_args(dtype)[0] for name, (_, dtype) in arrays.items()}


def edge_keys(source: IntColumn, target: IntColumn, n: int) -> Ints:
    """One number for each edge of a graph of n nodes; they rise in the order of a graph's edges."""
    return target.astype(np.int64) * n + source


StreamPoint = Literal["hook_resid_post", "mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
"""Where a direction reads at its layer: the residual stream after it, or where a transcoder reads
(TransformerLens names, `ReadPoint`)."""


@dataclass(frozen=True)
class Direction:
    """A direction inside the model as what a graph explains: vector . stream + constant."""

    layer: int
    reads: StreamPoint
    vector: tuple[float, ...] = field(repr=False)
    """(d,), so that the graph can be asked further without the file that gave it."""
    constant: float
    """A feature's own bias; 0 for a bare direction. Part of the target's constant."""


@dataclass(frozen=True)
class Target:
    """What the graph explains: a token's logit, a contrast between two, or a direction."""

    token: str
    """The token as text, "yes - no" for a contrast, the name of a direction."""
    vocabulary_ids: tuple[int, ...]
    """One id, two for a contrast (plus, minus), none for a direction."""
    position: int
    """Position whose output is explained, or whose stream a direction reads."""
    probability: float
    """Probability of the token (of the plus token, for a contrast); 0 for a direction."""
    logit: float
    """The model's own logit (difference of logits for a contrast, value of a direction)."""
    rank: int
    """0 for the model's first choice at that position, and for a direction."""
    direction: Direction | None = None
    """What is explained in place of logits."""

    @property
    def is_contrast(self) -> bool:
        """Whether the target is a difference of two logits."""
        return len(self.vocabulary_ids) == 2

    @property
    def is_token(self) -> bool:
        """Whether the target is one token's logit; others have a value and no probability."""
        return len(self.vocabulary_ids) == 1


@dataclass(frozen=True)
class Identity:
    """Which weights were used, so that a reader can get the same ones."""

    name: str
    """The name the user typed, or the folder's name."""
    source: str
    """Where it came from: "bundled", a hub reference, a folder's name (never a full path)."""
    sha256: str
    """Hash over the weight files."""
    kind: str = ""
    """"llama", ... for a model; "plt" or "clt" for a dictionary."""
    location: str = field(default="", compare=False, repr=False)
    """Absolute path of a folder or file, so that it can be reopened; empty where `source` and
    `name` say where it is. Stays in the trace's own folder and is never exported."""
    format: str = field(default="", compare=False)
    """Format of a dictionary's files, where it was given and not found out."""

    def as_plain(self) -> dict[str, str]:
        """The fields as JSON values; location and format only where there are any."""
        optional = ("location", "format")
        return {k: v for k, v in asdict(self).items() if v or k not in optional}


@dataclass(frozen=True)
class GraphInfo:
    """The facts of one run that are not nodes or edges."""

    prompt: str
    tokens: tuple[str, ...]
    """Tokens as text, BOS included."""
    token_ids: tuple[int, ...]
    n_layers: int
    targets: tuple[Target, ...]
    """In the order of the LOGIT nodes."""
    model: Identity
    dictionary: Identity
    dtype: str
    """"float32", ...: what the sweep computed in."""
    conservation_residual: float
    """Largest relative conservation residual over all expanded nodes."""
    conservation_tolerance: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings of the run: plain JSON values."""
    versions: Mapping[str, str] = field(default_factory=dict)
    logit_softcap: float | None = None
    """The cap c of a model that ends in c * tanh(logit / c), as Gemma 2 does. The targets' logits
    and edges are then before the cap, their probabilities after it. None without one."""
    totals: tuple[TokenTotals, ...] = ()
    """What every token does to each target; empty where it is not known (imported graphs)."""


@dataclass(frozen=True)
class Graph:
    """A whole (unpruned) attribution graph."""

    info: GraphInfo
    nodes: Nodes
    edges: Edges

    def __repr__(self) -> str:
        counts = f"{len(self.nodes):,} nodes, {len(self.edges):,} edges"
        return f"Graph({self.info.prompt!r}, {counts})"

    @property
    def target_rows(self) -> Ints:
        """Rows of the target (LOGIT) nodes, in the order of `info.targets`."""
        return self.nodes.of_kind(NodeKind.LOGIT)

    def token_of(self, row: int) -> str:
        """The prompt token at the node's position."""
        return self.info.tokens[int(self.nodes.position[row])]


def node_name(graph: Graph, row: int) -> str:
    """The short, unique name users type and see.

    "L3/117@4" feature 117 of layer 3 at position 4, "L3/error@4", "embedding@4", and
    "logit:yellow@4" for targets.
    """
    nodes, kind = graph.nodes, NodeKind(int(graph.nodes.kind[row]))
    if kind is NodeKind.LOGIT:
        return f"logit:{nodes.label[row]}@{nodes.position[row]}"
    return source_name(kind, nodes.layer[row], nodes.feature[row], nodes.position[row])


def source_name(
    kind: NodeKind, layer: IntLike, feature: IntLike, position: IntLike | None = None
) -> str:
    """The name of an embedding, feature or error; without a position it is meant at every one."""
    at = "" if position is None else f"@{position}"
    if kind is NodeKind.EMBEDDING:
        return f"embedding{at}"
    return f"L{layer}/{'error' if kind is NodeKind.ERROR else feature}{at}"


def node_names(graph: Graph) -> list[str]:
    """`node_name` of every row, made unique.

    Two token ids can have the same text, so two targets can have the same `node_name`.
    """
    return unique_names([node_name(graph, row) for row in range(len(graph.nodes))], "#")


def unique_names(names: Iterable[str], mark: str) -> list[str]:
    """The names; one that came before gets the mark and 2, 3, ..."""
    seen: set[str] = set()
    unique = []
    for name in names:
        numbered, count = name, 1
        while numbered in seen:
            count += 1
            numbered = f"{name}{mark}{count}"
        seen.add(numbered)
        unique.append(numbered)
    return unique
