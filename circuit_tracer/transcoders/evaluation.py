"""How good a dictionary is: reconstruction by layer, and the language model's loss with it.

Definitions. Let y(t) be a layer's true MLP output (or the residual stream after the layer: what is
where the dictionary writes) at token t, r(t) the dictionary's, m the mean of y over the evaluated
tokens. BOS, where rows start with it, is left out everywhere and passes its true output through.

* **FVU per token**: the mean over tokens of |y - r|^2 / |y - m|^2. Every token counts alike. A
  token whose output is close to the mean has a small denominator and can weigh much; where that
  happens, the median stays calm. A token whose output is the mean but for rounding has no ratio and
  is left out; a layer of such tokens has no FVU (NaN).
* **FVU pooled**: (sum over tokens of |y - r|^2) / (sum of |y - m|^2). A few tokens of huge norm
  decide it.
* **L0**: mean number of active features a token.
* **Dead**: share of features that are active on none of the evaluated tokens.
* **Recovered**: (loss_mean - loss_replaced) / (loss_mean - loss_original), the model's next-token
  loss in nats as it is, with *all* MLPs replaced at once by the dictionary (no error term, later
  layers read what the replaced earlier ones caused), and with all MLPs replaced by their mean m.
  Sparse autoencoders replace the residual stream after each of their layers in the same way.
  There is no such share (NaN) unless mean ablation raises the loss by more than `SURE` times the
  standard error of that rise over tokens: else the denominator is noise, as in a model that has
  learned nothing.

* **Jacobian**: cosine and relative error of the response to a change of what is read, along three
  kinds of directions, as medians over some of the tokens (fidelity.py).

Shapes: L layers, R rows, T positions of a row, N evaluated tokens, d model width, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.models import Model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.fidelity import Responses, Sample, fidelity
from circuit_tracer.transcoders.rows import RowReader, Rows, check_known

ROWS_AT_ONCE = 32
SURE = 2.0
"""Standard errors that a denominator must lie above zero for a share to mean something."""
ROUNDING = 8 * torch.finfo(torch.float32).eps
"""Of a vector's norm: differences below it are rounding."""


@dataclass(frozen=True)
class LayerFigures:
    """How well one layer's MLP output (or residual stream) is reconstructed, and by how many
    features."""

    layer: int
    fvu: float
    """Fraction of variance unexplained, mean over tokens."""
    fvu_median: float
    """The same, median over tokens."""
    fvu_pooled: float
    """Summed squared error over summed variance."""
    l0: float
    """Active features a token."""
    dead: float
    """Share of features active on no evaluated token."""
    jacobian: Responses | None = None
    """How near its response to a change is to the MLP's, by kind of direction (fidelity.py); none
    of sparse autoencoders, which stand for no MLP."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds."""

    tokens: int
    """Evaluated tokens (BOS not counted)."""
    layers: tuple[LayerFigures, ...]
    loss_original: float
    """The model's own loss, nats a token."""
    loss_replaced: float
    """With all MLPs replaced by the dictionary (or streams, see `replaced`)."""
    loss_mean_ablated: float
    """With all of them replaced by their mean."""
    effect_error: float
    """Standard error, over tokens, of loss_mean_ablated - loss_original."""
    replaced: str = "all MLPs"
    """What is replaced; of sparse autoencoders "the residual stream after layers 1, 2"."""

    @property
    def effect(self) -> float:
        """By how much mean ablation raises the loss."""
        return self.loss_mean_ablated - self.loss_original

    @property
    def recovered(self) -> float:
        """Share of that effect on the loss that the dictionary keeps; NaN where it is noise."""
        if not self.effect > SURE * self.effect_error:
            return math.nan
        return (self.loss_mean_ablated - self.loss_replaced) / self.effect

    @property
    def summary(self) -> str:
        """The losses, and the share of the loss that is recovered or why there is none."""
        recovered = f"{self.recovered:.4f} recovered"
        if math.isnan(self.recovered):
            recovered = (
                f"no share recovered, because mean ablation raises the loss by {self.effect:.4f} ± "
                f"{self.effect_error:.4f}, which is not clearly above zero"
            )
        return (
            f"loss {self.loss_original:.4f}, {self.replaced} replaced {self.loss_replaced:.4f}, "
            f"mean-ablated {self.loss_mean_ablated:.4f}: {recovered} ({self.tokens:,} tokens)"
        )

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values, None where there is none."""
        record: dict[str, Any] = plain({**asdict(self), "recovered": self.recovered})
        return record


def evaluate(
    model: Model,
    dictionary: Dictionary,
    text: Path,
    *,
    max_tokens: int = 20_000,
    row_length: int = 128,
    pack: bool = True,
    on_progress: OnStage = silent,
) -> Evaluation:
    """Evaluate a dictionary on a text file (a document a line), of which `max_tokens` are used."""
    reader = RowReader.of_model(text, model, row_length, pack=pack)
    return evaluate_rows(model, dictionary, reader, max_tokens=max_tokens, on_progress=on_progress)


@torch.no_grad()
def evaluate_rows(
    model: Model,
    dictionary: Dictionary,
    reader: RowReader,
    *,
    max_tokens: int,
    on_progress: OnStage = silent,
) -> Evaluation:
    """The same, on a reader's rows; they are gone through twice (the mean comes first)."""
    start = reader.state()
    check_known(reader)

    stages = iter(("taking means", "measuring"))

    def groups() -> Iterator[Rows]:
        reader.restore(start)
        stage, done = next(stages), 0
        for rows in reader.groups(ROWS_AT_ONCE, max_tokens):
            on_progress(stage, min(done, max_tokens), max_tokens)
            yield rows
            done += int(rows.real().sum())

    return evaluate_groups(model, dictionary, groups, name=f"the text {reader.path.name}")


@torch.no_grad()
def evaluate_groups(
    model: Model, dictionary: Dictionary, groups: Callable[[], Iterable[Rows]], *, name: str
) -> Evaluation:
    """The same, on groups of rows, which `groups` gives from the start each time.

    Raises UsageError where they hold no tokens; `name` is what the text is called then.
    """
    mean, tokens = _mean_outputs(model, dictionary, groups())
    if tokens == 0:
        raise UsageError(f"{name} holds no tokens to evaluate on")
    sums, sample = _Sums(dictionary), Sample()
    for rows in groups():
        activity = model.mlp_activity(rows.token_ids, dictionary.reads, dictionary.writes)
        real = activity.at(rows.real())
        sums.add_reconstruction(dictionary, real, mean)
        sums.add_losses(model, dictionary, rows, activity.outputs, mean)
        sample.add(real.inputs)
    responses = None
    if dictionary.writes != RESIDUAL:
        responses = fidelity(model, dictionary, sample.inputs)
    return sums.result(tokens, _replaced(dictionary), responses)


def _replaced(dictionary: Dictionary) -> str:
    """What a dictionary stands in for, in words."""
    if dictionary.writes != RESIDUAL:
        return "all MLPs"
    return f"the residual stream after {dictionary.named_layers}"


def _mean_outputs(
    model: Model, dictionary: Dictionary, groups: Iterable[Rows]
) -> tuple[Float[Tensor, "L d"], int]:
    total, tokens = torch.zeros(model.n_layers, model.d_model, dtype=torch.float64, device="cpu"), 0
    for rows in groups:
        activity = model.mlp_activity(rows.token_ids, dictionary.reads, dictionary.writes)
        outputs = activity.at(rows.real()).outputs
        total += outputs.cpu().double().sum(1)  # not every device has float64
        tokens += outputs.shape[1]
    return (total / max(tokens, 1)).float().to(model.device), tokens


class _Sums:
    """Figures that grow as rows go by."""

    def __init__(self, dictionary: Dictionary) -> None:
        n = dictionary.n_layers
        self.ratios: list[list[Tensor]] = [[] for _ in range(n)]
        self.squares = [0.0] * n
        self.variances = [0.0] * n
        self.rounding = [0.0] * n
        self.active = [0.0] * n
        self.fired = [
            torch.zeros(t.n_features, dtype=torch.bool, device="cpu") for t in dictionary.layers
        ]
        self.losses = [0.0, 0.0, 0.0]
        self.effect_squares = 0.0
        self.predicted = 0

    def add_reconstruction(
        self, dictionary: Dictionary, activity: MlpActivity, mean: Float[Tensor, "L d"]
    ) -> None:
        outputs, dtype = activity.outputs.float(), dictionary.layers[0].W_enc.dtype
        reads = list(activity.inputs.float().to(dtype))
        reconstructed = dictionary.reconstruct(reads, self._counted(dictionary, reads))
        for layer in dictionary.numbers:
            r = reconstructed[layer]
            error = (outputs[layer] - r.float()).pow(2).sum(-1)
            variance = (outputs[layer] - mean[layer]).pow(2).sum(-1)
            rounding = (ROUNDING * outputs[layer].norm(dim=-1)).pow(2)
            known = variance > rounding
            self.ratios[layer].append((error[known] / variance[known]).cpu())
            self.rounding[layer] += float(rounding.cpu().double().sum())
            self.squares[layer] += float(error.cpu().double().sum())
            self.variances[layer] += float(variance.cpu().double().sum())

    def _counted(
        self, dictionary: Dictionary, reads: Sequence[Float[Tensor, "N d"]]
    ) -> Iterator[Float[Tensor, "N _F"]]:
        """Activations by layer; which are active is counted as they pass."""
        for layer, (transcoder, x) in enumerate(zip(dictionary.layers, reads, strict=True)):
            activations = transcoder.encode(x)
            is_active = activations != 0
            self.active[layer] += float(is_active.sum())
            self.fired[layer] |= is_active.any(0).cpu()
            yield activations

    def add_losses(
        self,
        model: Model,
        dictionary: Dictionary,
        rows: Rows,
        true_outputs: Float[Tensor, "L R T d"],
        mean: Float[Tensor, "L d"],
    ) -> None:
        def by_mean(layer: int, mlp_in: Tensor) -> Tensor:
            if not dictionary.layers[layer].n_features:
                return mlp_in
            out = mean[layer].to(mlp_in.dtype).expand_as(mlp_in).clone()
            out[:, : rows.first] = true_outputs[layer, :, : rows.first]
            return out

        places = torch.arange(1, rows.token_ids.shape[1], device="cpu")
        predicted = places[None] < rows.lengths[:, None]
        replacements = (None, replacement(dictionary, true_outputs, rows.first), by_mean)
        losses = []
        for replace in replacements:
            loss = model.loss(
                rows.token_ids,
                replace=replace,
                reads=dictionary.reads,
                writes=dictionary.writes,
            )
            losses.append(loss[predicted.to(loss.device)].cpu().double())
        self.losses = [
            total + float(loss.sum()) for total, loss in zip(self.losses, losses, strict=True)
        ]
        self.effect_squares += float((losses[2] - losses[0]).pow(2).sum())
        self.predicted += int(predicted.sum())

    def result(
        self, tokens: int, replaced: str, responses: Mapping[int, Responses] | None
    ) -> Evaluation:
        layers = []
        for layer, parts in enumerate(self.ratios):
            if not parts:
                continue
            ratios, variance = torch.cat(parts).double(), self.variances[layer]
            is_known = len(ratios) > 0 and variance > self.rounding[layer]
            layers.append(
                LayerFigures(
                    layer=layer,
                    fvu=float(ratios.mean()) if is_known else math.nan,
                    fvu_median=float(ratios.median()) if is_known else math.nan,
                    fvu_pooled=self.squares[layer] / variance if is_known else math.nan,
                    l0=self.active[layer] / tokens,
                    dead=1 - float(self.fired[layer].float().mean()),
                    jacobian=None if responses is None else responses[layer],
                )
            )
        n = max(self.predicted, 1)
        original, with_dictionary, ablated = (total / n for total in self.losses)
        spread = max(self.effect_squares / n - (ablated - original) ** 2, 0.0)
        error = math.sqrt(spread / (n - 1)) if n > 1 else math.inf
        losses = original, with_dictionary, ablated
        return Evaluation(tokens, tuple(layers), *losses, error, replaced)


def replacement(
    dictionary: Dictionary, true_outputs: Float[Tensor, "L R T d"], first: int
) -> Callable[[int, Tensor], Tensor]:
    """A function (layer, what is read) -> output that puts the dictionary in the MLPs' place.

    A sparse autoencoder's puts its reconstruction in the stream's; it leaves other layers' streams
    as they are.
    It has to be called in layer order: a cross-layer dictionary keeps what earlier layers wrote.
    Positions before `first` (BOS) get their true output, which no later one changes.
    """
    written: dict[int, Tensor] = {}

    def replace(layer: int, mlp_in: Float[Tensor, "R T d"]) -> Float[Tensor, "R T d"]:
        if layer == 0:
            written.clear()
        transcoder = dictionary.layers[layer]
        if not transcoder.n_features:
            return mlp_in
        x = mlp_in.to(transcoder.W_enc.dtype)
        activations = transcoder.encode(x)
        for later in range(layer, layer + transcoder.n_written):
            part = transcoder.write(activations, later)
            before = written.get(later)
            written[later] = part if before is None else before + part
        out = written.pop(layer) + transcoder.b_dec + transcoder.skip(x)
        out = out.to(mlp_in.dtype)
        out[:, :first] = true_outputs[layer, :, :first]
        return out

    return replace
