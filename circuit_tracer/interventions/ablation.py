"""Change nodes of a traced graph and compare what it predicted with what happened.

One row of the table is one intervention: a feature at its position, or several at once. For every
target it holds the change of its logit (minus the mean logit, as in the graph) as predicted and as
measured in each mode, and the probability it ends with. Predictions are

* the graph's *edge*, and the *sums* over all its routes: everything frozen;
* by mode, the *linear* prediction: the graph's features respond linearly in the MLPs' place, while
  norms and attention that the mode does not freeze do what they do in the model (`linear.py`);
* by mode, the *replacement model* run for real: its encoders as they are, errors constant
  (`responding.py`). None of neurons, whose replacement model is the model.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.targets import target_values
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Floats, Graph, NodeKind, Target, node_name
from circuit_tracer.graphs.named_tokens import check_explains_logits
from circuit_tracer.interventions.engine import Effects, intervene
from circuit_tracer.interventions.linear import LinearFeatures
from circuit_tracer.interventions.original import Original, run_again
from circuit_tracer.interventions.prediction import Prediction, change_shares, predict
from circuit_tracer.interventions.responding import ReplacedFeatures, RespondingFeatures
from circuit_tracer.interventions.selection import change_of, rows_named, share_of
from circuit_tracer.interventions.spec import (
    MODES,
    Change,
    Intervention,
    Mode,
    Strength,
    Writes,
)
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary

logger = logging.getLogger(__name__)

StrengthOf = Callable[[int, int], Strength]
"""How strongly a node of some layer and feature (-1 for none) is to act."""


@dataclass(frozen=True)
class Item:
    """What is changed together, and what the graph calls it."""

    name: str
    label: str
    changes: Intervention
    shares: dict[int, float] | None
    """By which share rows of the node table change; None where the graph has no such node."""


@dataclass(frozen=True)
class Measured:
    """What one intervention did in one mode; tuples go by target."""

    logits: tuple[float, ...]
    """Changes of the targets' logits minus the mean logit (differences, for contrasts)."""
    probabilities: tuple[float, ...]
    """The targets' (first) tokens' probabilities, with the change."""
    top: str
    """The model's first choice, with the change."""


@dataclass(frozen=True)
class AblationRow:
    """One intervention's line in the table."""

    name: str
    label: str
    predicted_direct: tuple[float, ...] | None
    """Along the graph's edges to the targets alone; None where the graph does not hold it."""
    predicted_total: tuple[float, ...] | None
    """The graph's sums along all its routes."""
    predicted: dict[Mode, tuple[float, ...]]
    """Its features linear, norms and attention responding as in the mode; none in direct mode, nor
    of a sparse autoencoder's features."""
    replaced: dict[Mode, tuple[float, ...]]
    """The replacement model run for real; none where `predicted` has none, and none of neurons."""
    measured: dict[Mode, Measured]


@dataclass(frozen=True)
class Ablation:
    """The whole table."""

    targets: tuple[Target, ...]
    probabilities: tuple[float, ...]
    """The targets' (first) tokens' probabilities, with nothing changed."""
    top: str
    """The model's first choice, with nothing changed."""
    rows: tuple[AblationRow, ...]

    def record(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {
            "targets": [
                {"token": target.token, "position": target.position, "probability": probability}
                for target, probability in zip(self.targets, self.probabilities, strict=True)
            ],
            "top": self.top,
            "interventions": self.rows,
        }


def item_of(graph: Graph, rows: Sequence[int], strength: Strength, name: str = "") -> Item:
    """An intervention on nodes of the graph, all with one strength."""
    labels = list(dict.fromkeys(graph.nodes.label[row] for row in rows))
    shares = {row: share_of(graph, row, strength) for row in rows}
    is_known = all(math.isfinite(share) for share in shares.values())
    return Item(
        name=name or " + ".join(node_name(graph, row) for row in rows),
        label=labels[0] if len(labels) == 1 else "",
        changes=tuple(change_of(graph, row, strength) for row in rows),
        shares=shares if is_known else None,
    )


def item_named(graph: Graph, node: Change, strength: Strength) -> Item:
    """An intervention on a node by name, wherever it fires if no position was given.

    Raises UsageError for one that does not fire, unless a value is to be set.
    """
    rows = rows_named(graph, node)
    if rows:
        return item_of(graph, rows, strength, node.name)
    last = max(target.position for target in graph.info.targets)
    if node.position is not None and node.position > last:
        raise UsageError(f"{node.name}: there are positions 0 to {last}; choose one of them")
    if node.kind != NodeKind.FEATURE:
        raise UsageError(
            f"{node.name} is not in this graph; choose a node that `circuit-tracer show` lists"
        )
    if strength.is_multiple:
        at = "on this prompt" if node.position is None else f"at position {node.position}"
        raise UsageError(
            f"{node.name} is not in this graph: it does not fire {at}, so there is nothing to "
            "multiply; choose a node that `circuit-tracer show` lists, or set it with `value`"
        )
    return item_outside(node, strength)


def item_outside(node: Change, strength: Strength) -> Item:
    """An intervention on something that is no node of the graph, which predicts nothing of it."""
    return Item(node.name, "", (replace(node, strength=strength),), None)


def items_of(
    graph: Graph, named: Sequence[Change], rows: Sequence[int], strength: StrengthOf
) -> list[Item]:
    """An intervention for each named node and each row of the node table, each node once."""
    nodes = graph.nodes
    items = [item_named(graph, node, strength(node.layer, node.feature)) for node in named]
    covered = {row for item in items for row in item.shares or ()}
    items += [
        item_of(graph, [row], strength(int(nodes.layer[row]), int(nodes.feature[row])))
        for row in rows
        if row not in covered
    ]
    return items


def item_together(items: Sequence[Item]) -> Item:
    """All items as one intervention, each node once."""
    changes = tuple(dict.fromkeys(change for item in items for change in item.changes))
    known = [item.shares for item in items if item.shares is not None]
    shares = {row: share for one in known for row, share in one.items()}
    name = items[0].name if len(items) == 1 else f"all {len(items)} together"
    return Item(name, "", changes, shares if len(known) == len(items) else None)


def check_modes(
    modes: Sequence[Mode],
    end_layer: int | None = None,
    freeze_attention: bool | None = None,
    freeze_norms: bool | None = None,
) -> None:
    """Refuse what none of the modes would heed; raises UsageError."""
    if end_layer is not None and "constrained" not in modes:
        raise UsageError("`end_layer` is for constrained runs; add `mode` constrained")
    for name, freeze in (("freeze_attention", freeze_attention), ("freeze_norms", freeze_norms)):
        if freeze is False and list(modes) == ["direct"]:
            raise UsageError(f"a direct run freezes everything; `{name}` is for the other modes")


def ablate(
    model: Model,
    dictionary: AnyDictionary,
    graph: Graph,
    items: Sequence[Item],
    *,
    modes: Sequence[Mode] = MODES,
    end_layer: int | None = None,
    freeze_attention: bool | None = None,
    freeze_norms: bool | None = None,
    writes: Writes = "all",
) -> Ablation:
    """Measure what items do to the graph's targets, beside what the graph predicts.

    `end_layer` counts for the constrained mode; `freeze_attention`, `freeze_norms` and `writes`,
    as in `intervene`, for all but the direct one. Raises UsageError for a graph of another model,
    dictionary or tokenizer, and as `intervene`.
    """
    check_modes(modes, end_layer, freeze_attention, freeze_norms)
    check_explains_logits(graph.info)
    if dictionary.kind == "clt" and writes == "all" and end_layer is None:
        _note_double_writes(model, modes)
    if not items:
        raise UsageError("nothing is to be changed; name features, a label or a route")
    targets, original = graph.info.targets, run_again(model, dictionary, graph)

    def run(mode: Mode, responding: RespondingFeatures | None = None) -> Effects:
        return intervene(
            model,
            dictionary,
            original.token_ids,
            [item.changes for item in items],
            mode=mode,
            end_layer=end_layer if mode == "constrained" else None,
            freeze_attention=None if mode == "direct" else freeze_attention,
            freeze_norms=None if mode == "direct" else freeze_norms,
            writes=writes,
            positions=[max(target.position for target in targets)],
            original=original,
            responding=responding,
        )

    respond = [mode for mode in modes if mode != "direct" and dictionary.kind != "sae"]
    linear, whole = _responding(dictionary, graph, original) if respond else (None, None)
    runs = _Runs(
        measured={mode: run(mode) for mode in modes},
        predicted={mode: run(mode, linear) for mode in respond},
        replaced={mode: run(mode, whole) for mode in respond if whole is not None},
    )
    shares = change_shares(graph, (item.shares or {} for item in items))
    prediction = predict(graph, shares, targets_only=True)
    (before, *_) = next(iter(runs.measured.values())).baseline
    return Ablation(
        targets=targets,
        probabilities=_of_targets(model.probabilities(before), targets),
        top=model.token_text(int(before.argmax())),
        rows=tuple(_row(model, runs, prediction, targets, *one) for one in enumerate(items)),
    )


class _Runs(NamedTuple):
    """Effects of all items by mode."""

    measured: dict[Mode, Effects]
    predicted: dict[Mode, Effects]
    replaced: dict[Mode, Effects]


def _row(
    model: Model,
    runs: _Runs,
    prediction: Prediction,
    targets: tuple[Target, ...],
    number: int,
    item: Item,
) -> AblationRow:
    return AblationRow(
        name=item.name,
        label=item.label,
        predicted_direct=_predicted(item, prediction.direct[:, number]),
        predicted_total=_predicted(item, prediction.total[:, number]),
        predicted={m: _moved(one, number, targets) for m, one in runs.predicted.items()},
        replaced={m: _moved(one, number, targets) for m, one in runs.replaced.items()},
        measured={m: _measured(model, one, number, targets) for m, one in runs.measured.items()},
    )


def _responding(
    dictionary: AnyDictionary, graph: Graph, original: Original
) -> tuple[LinearFeatures, ReplacedFeatures | None]:
    """The graph's features in the MLPs' place, and the whole dictionary where neurons are none."""
    linear = LinearFeatures.of(graph, original)
    if not isinstance(dictionary, Dictionary):
        return linear, None
    return linear, ReplacedFeatures(dictionary, original)


def _note_double_writes(model: Model, modes: Sequence[Mode]) -> None:
    """Cross-layer features write where later MLPs also respond to them, in all modes but one."""
    if set(modes) != {"direct"}:
        logger.info(
            "where later MLPs are recomputed, they respond to a cross-layer feature while its own "
            "writes there count as well; `writes` frozen leaves those out, `end_layer` "
            f"{model.n_layers - 1} freezes these MLPs"
        )


def _predicted(item: Item, changes: Floats) -> tuple[float, ...] | None:
    return None if item.shares is None else tuple(changes.tolist())


def _measured(model: Model, effects: Effects, row: int, targets: tuple[Target, ...]) -> Measured:
    after = effects.logits[row, 0]
    return Measured(
        logits=_moved(effects, row, targets),
        probabilities=_of_targets(model.probabilities(effects.logits)[row, 0], targets),
        top=model.token_text(int(after.argmax())),
    )


def _moved(effects: Effects, row: int, targets: tuple[Target, ...]) -> tuple[float, ...]:
    """Changes of the targets' logits minus the mean logit (differences, for contrasts)."""
    after, before = effects.logits[row, 0], effects.baseline[0]
    ids = [target.vocabulary_ids for target in targets]
    return tuple((target_values(after, ids) - target_values(before, ids)).tolist())


def _of_targets(probabilities: Float[Tensor, "V"], targets: Sequence[Target]) -> tuple[float, ...]:
    return tuple(float(probabilities[target.vocabulary_ids[0]]) for target in targets)
