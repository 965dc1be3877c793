"""Inside one pass: what is held, what is read, and what is written in a batch of interventions.

Every pass runs the model's own modules; what a mode holds is put back in as it runs:

1. an embedding that is changed is scaled;
2. held attention mixes the model's own values with the original pattern, held norms divide as they
   did (`holding.py`);
3. at each layer the dictionary reads what the model computed there. A changed feature's new
   activation is `times` its activation in the original pass, or the value given; the *change* is
   that minus what the MLP output there already holds of it: the original activation where the MLP
   output is held, the activation in this very pass where it is computed anew. So a feature that is
   clamped at many positions and layers ends at the value asked for, whatever the others did to it;
4. (change x decoder) is added where the dictionary writes, at every layer it writes to. All else in
   the MLP's output stays, the error term included.

Shapes: B rows (one intervention each), T tokens, L layers, d model width, n entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.interventions.holding import HeldNorm, mix_values
from circuit_tracer.interventions.original import Original
from circuit_tracer.interventions.plan import Entries, Plan
from circuit_tracer.interventions.spec import LARGEST
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Place
from circuit_tracer.transcoders.neurons import AnyDictionary, NeuronLayer, Neurons


@dataclass(frozen=True)
class Inside:
    """What went on inside a batch of passes."""

    seen: Float[Tensor, "L B T d"]
    """What the dictionary reads at every layer: its encoder gives all features' activations."""
    streams: Float[Tensor, "levels B T d"]
    """Residual stream in front of each layer's MLP (and its norm), and of the final norm."""


def check_finite(logits: Float[Tensor, "..."], run: EditedRun) -> None:
    """Raise UsageError where a pass overflowed; norms could hide that from the logits."""
    if not bool(torch.isfinite(logits).all()) or run.largest_change() > LARGEST:
        raise UsageError(
            "the model's numbers overflow under these strengths; give smaller ones "
            "(--times, --value, --of-max)"
        )


@dataclass
class _Pass:
    """What one pass leaves behind on its way up; the layers' lists grow as it runs."""

    mid: Tensor | None = None
    """Residual stream in front of the current MLP's norm."""
    seen: list[Tensor] = field(default_factory=list)
    streams: list[Tensor] = field(default_factory=list)
    changed: dict[int, tuple[Entries, Tensor]] = field(default_factory=dict)
    """By reading layer: entries and the changes of their activations (n,)."""


class EditedRun:
    """One batch's edits (`Edits`): what is asked while the model runs."""

    def __init__(
        self,
        model: Model,
        dictionary: AnyDictionary,
        plan: Plan,
        *,
        original: Original | None = None,
        end: Int[Tensor, "B"] | None = None,
        freeze_attention: bool = False,
        norms: dict[tuple[Place, int], HeldNorm] | None = None,
        keep_inside: bool = False,
        n_zeroed: int = 1,
        start: int = 0,
    ) -> None:
        """Without `original` nothing can be held, and "natural" is what this pass computes.

        `start` is the position of the first token of the pass, for text that is being generated.
        With `norms` (direct mode) every norm is held, and skips carry on.
        """
        self.model, self.wiring, self.dictionary, self.plan = model, model.wiring, dictionary, plan
        self.original, self.norms = original, norms or {}
        self.end = torch.full((plan.n_rows,), -1, device=model.device) if end is None else end
        self.highest_end = int(self.end.max())
        self.freeze_attention, self.keep_inside = freeze_attention, keep_inside
        self.n_zeroed, self.start = n_zeroed, start
        self.kept = _Pass()
        behind = self.wiring.paths.mlp_post_norm is not None
        at_post_norm = behind and dictionary.writes == "hook_mlp_out"
        self.write_place: Place = "mlp_post_norm" if at_post_norm else "mlp"
        self.has_mlp_norm = self.wiring.paths.mlp_norm is not None

    def wants(self, place: Place, layer: int) -> bool:
        """Only places where something is held, changed or kept."""
        if (place, layer) in self.norms:
            return True
        if place == "embedding":
            return bool(self.plan.embeddings)
        if place == "attention":
            return self.freeze_attention
        reads = self.keep_inside or bool(self.norms) or layer in self.plan.features
        if place == "mlp_norm" or (place == "mlp" and reads):
            return reads
        if place == "final_norm":
            return self.keep_inside
        return place == self.write_place and self._writes(layer)

    def _writes(self, layer: int) -> bool:
        """Whether the output of a layer's MLP is not left as the model has it."""
        if layer <= self.highest_end or layer in self.plan.errors:
            return True
        return any(self._reaches(reading, layer) for reading in self.plan.features)

    def _reaches(self, reading: int, layer: int) -> bool:
        transcoder = self.dictionary.layers[reading]
        n_written = 1 if isinstance(transcoder, NeuronLayer) else transcoder.n_written
        return reading <= layer < reading + n_written

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """One module's output."""
        if place == "embedding":
            return self._scaled(given)
        if place == "attention":
            return self._attended(layer, seen)
        if place == "mlp_norm":
            self.kept.mid = seen
        if place == "final_norm" and self.keep_inside:
            self.kept.streams.append(seen)
        if place == "mlp":
            self._read(layer, seen)
        if place == self.write_place and self._writes(layer):
            held = self.norms.get((place, layer))
            return self._rewritten(layer, given if held is None else held(seen))
        held = self.norms.get((place, layer))
        return given if held is None else held(seen)

    def inside(self) -> Inside:
        """What was kept of a pass that is over."""
        return Inside(torch.stack(self.kept.seen), torch.stack(self.kept.streams))

    def largest_change(self) -> float:
        """Of all activations, in a pass that is over."""
        changes = [change.abs().max() for _, change in self.kept.changed.values() if len(change)]
        return float(torch.stack(changes).max()) if changes else 0.0

    def _scaled(self, embeddings: Tensor) -> Tensor:
        scaled = embeddings.clone()
        for row, position, amount in self.plan.embeddings:
            scaled[row, position] = amount * embeddings[row, position]
        return scaled

    def _attended(self, layer: int, seen: Tensor) -> Tensor:
        assert self.original is not None, "only a pattern that was seen can be held"
        return mix_values(self.wiring, layer, self.original.capture.patterns[layer], seen)

    # Reading: what the changed features' activations are and by how much they are to change

    def _read(self, layer: int, mlp_in: Tensor) -> None:
        mid = mlp_in if self.kept.mid is None or not self.has_mlp_norm else self.kept.mid
        read = self.wiring.read(self.dictionary.reads, layer, mid, mlp_in)
        if self.keep_inside or self.norms:
            self.kept.seen.append(read)
        if self.keep_inside:
            self.kept.streams.append(mid)
        if layer in self.plan.features:
            first = max(self.start, self.n_zeroed)
            entries = self.plan.features[layer].between(first, self.start + read.shape[1])
            self.kept.changed[layer] = (entries, self._changes(layer, entries, read))

    def _changes(
        self, layer: int, entries: Entries, read: Float[Tensor, "B T d"]
    ) -> Float[Tensor, "n"]:
        """New activations minus those that the MLP outputs hold."""
        held = self.end[entries.row] >= layer
        first = None
        if self.original is not None:
            first = self.original.activations[layer][entries.position, entries.index]
        current = read.new_zeros(len(entries)) if first is None else first.clone()
        anew = (~held).nonzero().squeeze(1)
        if len(anew):
            x = read[entries.row[anew], entries.position[anew] - self.start]
            acts = self.dictionary.layers[layer].encode(x)
            current[anew] = acts.gather(1, entries.index[anew, None]).squeeze(1)
        natural = current if first is None else first
        return torch.where(entries.is_multiple, entries.amount * natural, entries.amount) - current

    # Writing: what is held of an MLP's output, and what is added to it

    def _rewritten(self, layer: int, given: Tensor) -> Tensor:
        out = given.clone()
        held = (self.end >= layer).nonzero().squeeze(1)
        if len(held):
            assert self.original is not None, "only an output that was seen can be held"
            out[held] = self.original.written[layer].to(out.dtype)
            if self.norms:
                self._carry_skip(layer, out)
        for reading, (entries, change) in self.kept.changed.items():
            if self._reaches(reading, layer):
                rows = self.dictionary.layers[reading].decoder_rows(entries.index, layer)
                places = (entries.row, entries.position - self.start)
                out.index_put_(places, change[:, None] * rows, accumulate=True)
        for row, position, amount in self.plan.errors.get(layer, ()):
            assert self.original is not None, "errors are those of the original pass"
            out[row, position] += (amount - 1) * self.original.errors[layer][position]
        return out

    def _carry_skip(self, layer: int, out: Tensor) -> None:
        """What an affine skip makes of the change in what it reads, in direct runs."""
        W_skip: Any = self.dictionary.layers[layer].W_skip
        if W_skip is None or self.original is None or isinstance(self.dictionary, Neurons):
            return
        moved = self.kept.seen[layer] - self.original.seen[layer]
        moved[:, : self.n_zeroed] = 0  # zeroed positions hold their true outputs
        out += moved @ W_skip.T
