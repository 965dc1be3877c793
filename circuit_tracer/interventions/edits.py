"""Inside one pass: what is frozen, what is read, and what is written in a batch of interventions.

Every pass runs the model's own modules; what a mode freezes is put back in as it runs:

1. an embedding that is changed is scaled;
2. frozen attention mixes the model's own values with the original pattern, frozen norms divide as
   they did (`freezing.py`);
3. at each layer the dictionary reads what the model computed there. A changed feature's new
   activation is `times` its activation in the original pass, or the value given; the *change* is
   that minus what the MLP output there already contains of it: the original activation where the
   MLP output is frozen, the activation in this very pass where it is recomputed. So a feature that
   is clamped at many positions and layers ends at the value asked for, whatever the others did;
4. (change x decoder) is added where the dictionary writes, at the layers `Writes` says. All else in
   the MLP's output stays, the error term included;
   A sparse autoencoder reads and writes the residual stream after its layer. No MLP output contains
   its features, so the activation in this very pass counts unless all is linear;
5. with `Freezing.features`, all MLP outputs are frozen and features respond on top where MLPs
   would: a graph's linearly (`linear.py`), or a dictionary's as they are (`responding.py`).

Shapes: B rows (one intervention each), T tokens, L layers, d model width, n entries.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import StrengthError
from circuit_tracer.interventions.freezing import Freezing, mix_values
from circuit_tracer.interventions.original import Original
from circuit_tracer.interventions.plan import Entries, Plan
from circuit_tracer.interventions.responding import RespondingFeatures
from circuit_tracer.interventions.spec import LARGEST
from circuit_tracer.models import Model
from circuit_tracer.models.parts import RESIDUAL, Place
from circuit_tracer.transcoders.neurons import AnyDictionary

MOST_ENCODED = 1 << 25
"""Feature activations computed at a time where changed features are read."""


def check_finite(logits: Float[Tensor, "..."], run: EditedRun) -> None:
    """Raise StrengthError where a pass overflowed; norms could hide that from the logits."""
    if not bool(torch.isfinite(logits).all()) or run.largest_change() > LARGEST:
        raise StrengthError(
            "the model's numbers overflow under these strengths; give smaller ones "
            "(`times`, `value`, `of_max`)"
        )


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
        freezing: Freezing | None = None,
        keep_seen: bool = False,
        n_zeroed: int = 1,
        start: int = 0,
    ) -> None:
        """Without `original` nothing can be frozen, and "natural" is what this pass computes.

        `end` is the last layer whose MLP output is frozen, for each row (-1: none); where features
        respond in the MLPs' place, the last layer at which nothing responds. `start` is the
        position of the first token of the pass, for text that is being generated.
        """
        self.model, self.wiring, self.dictionary, self.plan = model, model.wiring, dictionary, plan
        self.original = original
        self.end = torch.full((plan.n_rows,), -1, device=model.device) if end is None else end
        self.freezing = freezing or Freezing()
        self.silent_to = self.end
        """By row, the last layer at which no feature responds."""
        if self.freezing.features is not None:
            self.end = torch.full_like(self.end, model.n_layers - 1)
        self.highest_end = int(self.end.max())
        responding = self.freezing.skips_carry or self.freezing.features is not None
        self.keeps_reading = keep_seen or responding
        self.n_zeroed, self.start = n_zeroed, start
        self.mid: Tensor | None = None
        """Residual stream before the current MLP's norm."""
        self.seen: list[Tensor] = []
        """By layer so far (B, T, d): what the dictionary reads, where it is kept."""
        self.changed: dict[int, tuple[Entries, Tensor]] = {}
        """By reading layer: entries and the changes of their activations (n,)."""
        self.responses: dict[int, Tensor] = {}
        """By reading layer: changes of the activations of features that respond (B, n)."""
        paths = self.wiring.paths
        at_post_norm = paths.mlp_post_norm is not None and dictionary.writes == "hook_mlp_out"
        self.frozen_place: Place = "mlp_post_norm" if at_post_norm else "mlp"
        self.is_residual = dictionary.writes == RESIDUAL
        self.write_place: Place = "layer" if self.is_residual else self.frozen_place
        self.has_mlp_norm = paths.mlp_norm is not None

    def wants(self, place: Place, layer: int) -> bool:
        """Only places where something is frozen, changed or kept."""
        if (place, layer) in self.freezing.norms:
            return True
        if place == "embedding":
            return bool(self.plan.embeddings)
        if place == "attention":
            return self.freezing.attention
        reads = self.keeps_reading or layer in self.plan.features
        if place in (("layer",) if self.is_residual else ("mlp_norm", "mlp")) and reads:
            return True
        return self._freezes(place, layer) or self._writes(place, layer)

    def _freezes(self, place: Place, layer: int) -> bool:
        """Whether this is an MLP's output that is frozen in some row."""
        return place == self.frozen_place and layer <= self.highest_end

    def _writes(self, place: Place, layer: int) -> bool:
        """Whether something is added here."""
        if place != self.write_place:
            return False
        return layer in self.plan.errors or any(
            self._reaches(reading, layer) for reading in self.plan.features
        )

    def _reaches(self, reading: int, layer: int) -> bool:
        return reading <= layer < reading + self.dictionary.layers[reading].n_written

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """One module's output."""
        if place == "embedding":
            return self._scaled(given)
        if place == "attention":
            return self._attended(layer, seen)
        if place == "mlp_norm":
            self.mid = seen
        if place == ("layer" if self.is_residual else "mlp"):
            self._read(layer, seen)
        norm = self.freezing.norms.get((place, layer))
        out = given if norm is None else norm(seen)
        freezes = self._freezes(place, layer)
        if not freezes and not self._writes(place, layer):
            return out
        out = out.clone()
        if freezes:
            self._freeze(layer, out)
        if place == self.write_place:
            self._add(layer, out)
        return out

    def largest_change(self) -> float:
        """The largest change of an activation in a pass that is over."""
        changes = [change.abs().max() for _, change in self.changed.values() if len(change)]
        return float(torch.stack(changes).max()) if changes else 0.0

    def _scaled(self, embeddings: Tensor) -> Tensor:
        scaled = embeddings.clone()
        for row, position, amount in self.plan.embeddings:
            scaled[row, position] = amount * embeddings[row, position]
        return scaled

    def _attended(self, layer: int, seen: Tensor) -> Tensor:
        assert self.original is not None, "only a pattern that was seen can be frozen"
        return mix_values(self.wiring, layer, self.original.capture.patterns[layer], seen)

    # Reading: what the changed features' activations are and by how much they are to change

    def _read(self, layer: int, seen: Tensor) -> None:
        read, reads = seen, self.dictionary.reads
        if reads != RESIDUAL:
            mid = seen if self.mid is None or not self.has_mlp_norm else self.mid
            read = self.wiring.read(reads, layer, mid, seen)
        if self.keeps_reading:
            self.seen.append(read)
        if layer in self.plan.features:
            first = max(self.start, self.n_zeroed)
            entries = self.plan.features[layer].between(first, self.start + read.shape[1])
            self.changed[layer] = (entries, self._changes(layer, entries, read))
        if self.freezing.features is not None:
            self.responses[layer] = self._responses(self.freezing.features, layer, read)

    def _changes(
        self, layer: int, entries: Entries, read: Float[Tensor, "B T d"]
    ) -> Float[Tensor, "n"]:
        """New activations minus those that the MLP outputs contain."""
        frozen = self.end[entries.row] >= layer
        if self.is_residual:
            frozen = torch.full_like(frozen, self.freezing.skips_carry)
        first = None
        if self.original is not None:
            first = self.original.activations[layer][entries.position, entries.index]
        current = read.new_zeros(len(entries)) if first is None else first.clone()
        free = (~frozen).nonzero().squeeze(1)
        if len(free):
            place = entries.row[free] * read.shape[1] + entries.position[free] - self.start
            current[free] = self._encoded(layer, read.flatten(0, 1), place, entries.index[free])
        natural = current if first is None else first
        return torch.where(entries.is_multiple, entries.amount * natural, entries.amount) - current

    def _encoded(
        self,
        layer: int,
        read: Float[Tensor, "BT d"],
        place: Int[Tensor, "n"],
        index: Int[Tensor, "n"],
    ) -> Float[Tensor, "n"]:
        """Activations of features at places; a place is encoded once, whatever is asked of it."""
        transcoder = self.dictionary.layers[layer]
        asked = torch.zeros(len(read), dtype=torch.bool, device=read.device)
        asked[place] = True
        places, which = asked.nonzero().squeeze(1), asked.cumsum(0)[place] - 1
        found = read.new_empty(len(place))
        step = max(1, MOST_ENCODED // transcoder.n_features)
        for start in range(0, len(places), step):
            here = ((which >= start) & (which < start + step)).nonzero().squeeze(1)
            acts = transcoder.encode(read[places[start : start + step]])
            found[here] = acts[which[here] - start, index[here]]
        return found

    def _responses(
        self, features: RespondingFeatures, layer: int, read: Float[Tensor, "B T d"]
    ) -> Float[Tensor, "B n"]:
        """By how much features change that respond; those that are set do not."""
        assert self.original is not None, "features respond to a change of the original pass"
        found = features.changes(layer, read, self.original.seen[layer])
        found[self.silent_to >= layer] = 0
        if layer in self.changed:
            found[features.places(layer, self.changed[layer][0])] = 0
        return found

    # Writing: what is frozen of an MLP's output, and what is added to it

    def _freeze(self, layer: int, out: Tensor) -> None:
        assert self.original is not None, "only an output that was seen can be frozen"
        rows = (self.end >= layer).nonzero().squeeze(1)
        out[rows] = self.original.mlp_written(layer).to(out.dtype)
        if self.freezing.skips_carry and not self.is_residual:
            self._carry_skip(layer, out, rows)

    def _add(self, layer: int, out: Tensor) -> None:
        for reading, (entries, change) in self.changed.items():
            if self._reaches(reading, layer):
                self._write(reading, layer, entries, change, out)
        for reading, response in self.responses.items():
            if self.freezing.features is not None and self._reaches(reading, layer):
                self.freezing.features.write(reading, layer, response, out)
        for row, position, amount in self.plan.errors.get(layer, ()):
            assert self.original is not None, "errors are those of the original pass"
            out[row, position] += (amount - 1) * self.original.errors[layer][position]

    def _write(
        self, reading: int, layer: int, entries: Entries, change: Float[Tensor, "n"], out: Tensor
    ) -> None:
        """Add what changed features of one layer write to the output of another."""
        if reading < layer and self.freezing.writes == "own":
            return
        if reading < layer and self.freezing.writes == "frozen":
            change = torch.where(self.end[entries.row] >= layer, change, torch.zeros_like(change))
        moved = change.nonzero().squeeze(1)  # of many features at many positions, few fire
        rows = self.dictionary.layers[reading].decoder_rows(entries.index[moved], layer)
        places = (entries.row[moved], entries.position[moved] - self.start)
        out.index_put_(places, change[moved, None] * rows, accumulate=True)

    def _carry_skip(self, layer: int, out: Tensor, frozen: Int[Tensor, "n"]) -> None:
        """What an affine skip makes of the change in what it reads, where outputs are frozen."""
        W_skip: Any = self.dictionary.layers[layer].W_skip
        if W_skip is None or self.original is None:
            return
        if self.freezing.features is not None:
            frozen = (self.silent_to < layer).nonzero().squeeze(1)
        moved = self.seen[layer][frozen] - self.original.seen[layer]
        out[frozen] += moved @ W_skip.T
