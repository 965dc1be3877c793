"""Carry out interventions in the model itself: many at once, in one pass over the same prompt.

What happens inside a pass is in `edits.py`; here is what a mode holds.

direct: attention, norms and MLP outputs are held; an affine skip carries on, being linear.
constrained: MLP outputs are held up to the end layer (by default the highest changed one),
attention patterns everywhere; norms are computed anew. free: nothing is held. A cross-layer
feature's decoder at a later layer stands for what that layer's MLP makes of it: where that MLP is
computed anew, both count, so cross-layer features are best measured with the last layer as end
layer.
Source: method.md section 7; "Circuit Tracing" (Anthropic, March 2025), interventions.

Shapes: B rows (one intervention each), T tokens, P positions asked for, L layers, d model width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.interventions.edits import EditedRun, Inside, check_finite
from circuit_tracer.interventions.holding import hold_norms
from circuit_tracer.interventions.original import Original, run_original
from circuit_tracer.interventions.plan import Plan, check_places
from circuit_tracer.interventions.spec import Intervention, Mode, highest_layer
from circuit_tracer.models import Model
from circuit_tracer.transcoders.decoders import memory_budget
from circuit_tracer.transcoders.neurons import AnyDictionary

MOST_ROWS = 512
"""Rows of one pass, however much memory there is."""


@dataclass(frozen=True)
class Effects:
    """What a batch of interventions did."""

    logits: Float[Tensor, "B P V"]
    """In front of a soft-cap, at `positions`."""
    baseline: Float[Tensor, "P V"]
    """The same without any change."""
    positions: Int[Tensor, "P"]
    softcap: float | None
    inside: Inside | None = None
    """Only where it was asked for."""
    baseline_inside: Inside | None = None
    """The same without any change: B is 1."""

    def probabilities(self) -> Float[Tensor, "B P V"]:
        """With the changes, behind the soft-cap where there is one."""
        return _softmax(self.logits, self.softcap)

    def baseline_probabilities(self) -> Float[Tensor, "P V"]:
        """Without any change."""
        return _softmax(self.baseline, self.softcap)


def _softmax(logits: Tensor, cap: float | None) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return (wide if cap is None else cap * (wide / cap).tanh()).softmax(-1)


@torch.no_grad()
def intervene(
    model: Model,
    dictionary: AnyDictionary,
    token_ids: list[int],
    interventions: Sequence[Intervention],
    *,
    mode: Mode = "constrained",
    end_layer: int | None = None,
    freeze_attention: bool | None = None,
    positions: Sequence[int] | None = None,
    keep_inside: bool = False,
    n_zeroed: int | None = None,
    original: Original | None = None,
) -> Effects:
    """Run one prompt once for every intervention, in as few passes as memory allows.

    `end_layer` is for constrained runs: the last layer whose MLP output is held, for every row the
    highest changed layer unless told (-1 holds none). `freeze_attention` holds attention patterns;
    unless told, all modes but free do. `positions` limits the logits. `keep_inside` keeps what
    later features read. `original` spares the prompt's own pass. Raises UsageError for layers,
    features and positions that are not there, for options that do not go together, and where the
    result is not finite.
    """
    if original is None:
        original = run_original(model, dictionary, token_ids, n_zeroed=n_zeroed)
    T = original.n_tokens
    check_places(interventions, dictionary, n_tokens=T, n_zeroed=original.n_zeroed)
    if freeze_attention is None:
        freeze_attention = mode != "free"
    _check_together(mode, end_layer, freeze_attention, model.n_layers)
    at = torch.tensor(range(T) if positions is None else positions, device=model.device)
    at = torch.where(at < 0, at + T, at)
    rows: list[Intervention] = [(), *interventions]
    ends = [_end(changes, mode, end_layer, model.n_layers) for changes in rows]
    size = rows_at_once(model, T, len(at), keep_inside=keep_inside)
    norms = hold_norms(model.wiring, original.capture) if mode == "direct" else {}
    logits, insides = [], []
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        run = EditedRun(
            model,
            dictionary,
            Plan.of(rows[some], original.capture.embeddings),
            original=original,
            end=torch.tensor(ends[some], device=model.device),
            freeze_attention=freeze_attention,
            norms=norms,
            keep_inside=keep_inside,
            n_zeroed=original.n_zeroed,
        )
        batch = original.capture.token_ids.expand(len(rows[some]), T)
        logits.append(model.edited(batch, run, positions=at))
        check_finite(logits[-1], run)
        if keep_inside:
            insides.append(run.inside())
    found = torch.cat(logits)
    inside = _joined(insides) if keep_inside else None
    return Effects(
        logits=found[1:],
        baseline=found[0],
        positions=at,
        softcap=model.wiring.logit_softcap,
        inside=None if inside is None else _rows(inside, slice(1, None)),
        baseline_inside=None if inside is None else _rows(inside, slice(0, 1)),
    )


def _joined(insides: list[Inside]) -> Inside:
    return Inside(
        torch.cat([one.seen for one in insides], 1), torch.cat([one.streams for one in insides], 1)
    )


def _rows(inside: Inside, which: slice) -> Inside:
    return Inside(inside.seen[:, which], inside.streams[:, which])


def _end(changes: Intervention, mode: Mode, end_layer: int | None, n_layers: int) -> int:
    """Last layer whose MLP output is held."""
    if mode == "direct":
        return n_layers - 1
    if mode == "free":
        return -1
    return highest_layer(changes) if end_layer is None else end_layer


def _check_together(
    mode: Mode, end_layer: int | None, freeze_attention: bool, n_layers: int
) -> None:
    if end_layer is not None and mode != "constrained":
        raise UsageError(f"--end-layer is for constrained runs, not for {mode} ones; leave it out")
    if end_layer is not None and not -1 <= end_layer < n_layers:
        raise UsageError(
            f"--end-layer {end_layer} is no layer of this model; give 0 to {n_layers - 1}, or -1 "
            "to hold no MLP"
        )
    if mode == "direct" and not freeze_attention:
        raise UsageError("a direct run holds everything; let attention go in another mode")


def rows_at_once(model: Model, n_tokens: int, n_positions: int, *, keep_inside: bool) -> int:
    """How many rows a pass can carry in a quarter of the memory that decoders might take."""
    wiring = model.wiring
    width = wiring.mlp_weights(0).gate.shape[0] if wiring.n_layers else wiring.d_model
    a_token = 16 * wiring.d_model + 4 * width + 3 * wiring.n_heads * n_tokens
    if keep_inside:
        a_token += 3 * wiring.n_layers * wiring.d_model
    numbers = n_tokens * a_token + 4 * n_positions * wiring.n_vocabulary
    size = numbers * torch.empty((), dtype=model.torch_dtype).element_size()
    return int(max(1, min(MOST_ROWS, memory_budget(model.device) // 4 // size)))
