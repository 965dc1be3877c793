"""Make feature cards from a text: two passes of the model, memory bounded by the cards' size.

Pass 1 keeps, for every feature, its strongest places and a uniform random sample of all places
where it fires (each token draws one random number; the tokens with the largest ones stay), along
with counts. Then contexts are chosen and labels made. Pass 2 reads the activations around the
chosen places.

Shapes: L layers, N tokens of a group of rows, R rows, T positions, F features, n strongest and m
sampled places, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.bundled import CARDS_FILE
from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model
from circuit_tracer.models.token_names import TokenNames
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.transcoders.card_places import KeptPlaces
from circuit_tracer.transcoders.cards import write_cards
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.label_places import REACH, Background, Occurrence
from circuit_tracer.transcoders.labels import make_label
from circuit_tracer.transcoders.promotions import promotions
from circuit_tracer.transcoders.rows import RowReader, Rows

BEFORE, AFTER = 10, 3
"""Tokens shown before and after a peak."""
TOP_SHOWN, BAND_SHOWN = 5, 2
"""Examples on a card: strongest, and from each third of the range."""
ROWS_AT_ONCE = 64
BACKGROUND_PLACES = 2000
"""Places of the text, whatever fires there, that labels tell a feature's own from."""


class _Text(NamedTuple):
    """The text as plain values, and what its tokens are called."""

    token_rows: list[list[int]]
    lengths: list[int]
    first: int
    """First position with text."""
    occurring: list[int]
    """Tokens that occur, BOS not counted."""
    names: dict[int, str]
    """Readable texts of these and of what rows begin with, leading blank kept."""
    frequencies: dict[str, float]
    """Share of the text, by readable text."""


class _Example(NamedTuple):
    """A place where a feature fires, for its card."""

    feature: int
    quantile: int
    row: int
    position: int


@torch.no_grad()
def make_cards(
    model: Model,
    dictionary: Dictionary,
    text: Path,
    folder: Path,
    *,
    max_tokens: int = 200_000,
    row_length: int = 128,
    pack: bool = True,
    seed: int = 0,
    on_progress: OnStage | None = None,
) -> Path:
    """Make the cards of every feature from a text file and write `cards.parquet` into `folder`.

    `on_progress` gets a stage's name, and rows of text (or layers) that are done and in all.
    Raises UsageError for a text without tokens.
    """
    report = on_progress or silent
    reader = RowReader.of_model(text, model, row_length, pack=pack)
    rows = _first_rows(reader, max_tokens)
    kept = _first_pass(model, dictionary, rows, seed, report)
    plain = _as_plain(rows, TokenNames(model.tokenizer))
    chosen = [_choose(layer, plain.token_rows) for layer in kept]
    windows = _second_pass(model, dictionary, rows, chosen, report)
    write_cards(
        folder / CARDS_FILE,
        _card_rows(model, dictionary, plain, kept, chosen, windows, seed, report),
        vocabulary=plain.names,
        dictionary_sha256=dictionary.identity.sha256,
    )
    return folder / CARDS_FILE


def _first_rows(reader: RowReader, max_tokens: int) -> Rows:
    """Rows of about `max_tokens` tokens: token ids only, which is what memory grows by."""
    groups = list(reader.groups(ROWS_AT_ONCE, max_tokens))
    if not groups:
        raise UsageError(f"the text {reader.path.name} holds no tokens to make cards from")
    token_ids = torch.zeros(
        sum(len(g.lengths) for g in groups), reader.row_length, device="cpu"
    ).int()
    start = 0
    for group in groups:
        end = start + len(group.lengths)
        token_ids[start:end, : group.token_ids.shape[1]] = group.token_ids.int()
        start = end
    return Rows(token_ids, torch.cat([g.lengths for g in groups]), groups[0].first)


def _as_plain(rows: Rows, names: TokenNames) -> _Text:
    token_rows = rows.token_ids.tolist()
    counts = torch.bincount(rows.token_ids[rows.real()].long())
    total = max(int(counts.sum()), 1)
    occurring: list[int] = counts.nonzero()[:, 0].tolist()
    texts = {token: names.text(token) for token in {*occurring, *(row[0] for row in token_rows)}}
    frequencies: dict[str, float] = {}
    for token in occurring:
        share = int(counts[token]) / total
        frequencies[texts[token]] = frequencies.get(texts[token], 0.0) + share
    return _Text(token_rows, rows.lengths.tolist(), rows.first, occurring, texts, frequencies)


def _groups(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """The rows some at a time, each group with its first row's number."""
    for start in range(0, len(rows.lengths), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        lengths = rows.lengths[part]
        yield start, Rows(rows.token_ids[part, : int(lengths.max())].long(), lengths, rows.first)


def _first_pass(
    model: Model, dictionary: Dictionary, rows: Rows, seed: int, report: OnStage
) -> list[KeptPlaces]:
    kept = [KeptPlaces.empty(t.n_features) for t in dictionary.layers]
    generator = torch.Generator(device="cpu").manual_seed(seed)
    width = rows.token_ids.shape[1]
    for start, group in _groups(rows):
        inputs = model.mlp_activity(group.token_ids, dictionary.reads).inputs
        real = group.real()
        row, position = real.nonzero(as_tuple=True)
        places = (row + start) * width + position
        numbers = torch.rand(len(places), generator=generator, device="cpu").clamp_min(1e-7)
        for layer, transcoder in enumerate(dictionary.layers):
            x = inputs[layer, real.to(inputs.device)].to(transcoder.W_enc.dtype)
            kept[layer].add(transcoder.encode(x).float().cpu(), places, numbers)
        report("finding where features fire", start + len(group.lengths), len(rows.lengths))
    return kept


def _choose(kept: KeptPlaces, token_rows: list[list[int]]) -> list[_Example]:
    """Examples with different contexts: the strongest, then some from each third of the range."""
    chosen: list[_Example] = []
    tops, top_places = kept.top.tolist(), kept.top_places.tolist()
    drawn, drawn_places = kept.drawn_values.tolist(), kept.drawn_places.tolist()
    for feature in range(len(tops)):
        seen: set[tuple[int, ...]] = set()
        largest = tops[feature][0]
        counts = [0] * 4
        candidates = [(0, p) for v, p in zip(tops[feature], top_places[feature], strict=True) if v]
        for value, code in zip(drawn[feature], drawn_places[feature], strict=True):
            if value > 0:
                third = min(int(3 * value / largest), 2)
                candidates.append((3 - third, code))
        for quantile, code in candidates:
            row, position = divmod(code, len(token_rows[0]))
            context = tuple(token_rows[row][max(position - 5, 0) : position + 1])
            full = counts[quantile] >= (BAND_SHOWN if quantile else TOP_SHOWN)
            if full or context in seen:
                continue
            seen.add(context)
            counts[quantile] += 1
            chosen.append(_Example(feature, quantile, row, position))
    return sorted(chosen, key=lambda e: (e.feature, e.quantile))


def _second_pass(
    model: Model,
    dictionary: Dictionary,
    rows: Rows,
    chosen: list[list[_Example]],
    report: OnStage,
) -> list[Float[Tensor, "_M window"]]:
    """Activations around every chosen place of every layer, in the order of `chosen`."""
    offsets = torch.arange(-BEFORE, AFTER + 1, device="cpu")
    windows = [torch.zeros(len(layer), len(offsets), device="cpu") for layer in chosen]
    where = [
        torch.tensor([[e.feature, e.row, e.position] for e in layer], device="cpu").view(-1, 3)
        for layer in chosen
    ]
    for start, group in _groups(rows):
        inputs = model.mlp_activity(group.token_ids, dictionary.reads).inputs
        for layer, transcoder in enumerate(dictionary.layers):
            feature, row, position = where[layer].unbind(1)
            here = ((row >= start) & (row < start + len(group.lengths))).nonzero()[:, 0]
            if len(here) == 0:
                continue
            activations = transcoder.encode(inputs[layer].to(transcoder.W_enc.dtype)).float().cpu()
            positions = position[here, None] + offsets
            inside = (positions >= group.first) & (positions < activations.shape[1])
            values = activations[
                row[here, None] - start,
                positions.clamp(0, activations.shape[1] - 1),
                feature[here, None],
            ]
            windows[layer][here] = torch.where(inside, values, 0.0)
        report("reading contexts", start + len(group.lengths), len(rows.lengths))
    return windows


def _card_rows(
    model: Model,
    dictionary: Dictionary,
    text: _Text,
    kept: list[KeptPlaces],
    chosen: list[list[_Example]],
    windows: list[Float[Tensor, "_M window"]],
    seed: int,
    report: OnStage,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of every layer's cards, by feature."""
    total = sum(text.lengths) - text.first * len(text.lengths)
    name, background = text.names.__getitem__, _background(text, seed)
    for layer in range(len(dictionary.layers)):
        report("labelling layers", layer, len(dictionary.layers))
        effects = promotions(model, _added(model, dictionary, layer), text.occurring, name)
        examples = _examples_by_feature(chosen[layer], windows[layer], kept[layer], text)
        yield [
            {
                "layer": layer,
                "feature": feature,
                "label": make_label(
                    _occurrences(kept[layer], feature, text),
                    effect.stand_out,
                    effect.stand_out_down,
                    background,
                ),
                "frequency": int(kept[layer].active[feature]) / total,
                "max_activation": float(kept[layer].top[feature, 0]),
                "promotes": effect.promotes,
                "suppresses": effect.suppresses,
                **examples[feature],
            }
            for feature, effect in enumerate(effects)
        ]


def _added(model: Model, dictionary: Dictionary, layer: int) -> Float[Tensor, "F d"]:
    """What a layer's features add to the residual stream, summed over the layers written to: where
    a norm follows the MLP, times its weight (its denominator depends on the prompt)."""
    transcoder = dictionary.layers[layer]
    if dictionary.writes != "mlp.hook_out" or model.wiring.paths.mlp_post_norm is None:
        return transcoder.summed_decoder()
    every = torch.arange(transcoder.n_features, device=transcoder.W_enc.device)
    added = torch.zeros_like(transcoder.W_enc, dtype=torch.float32)
    for written in range(layer, layer + transcoder.n_written):
        rows = transcoder.decoder_rows(every, written).float()
        norm = model.wiring.norm("mlp_post_norm", written)
        added += rows if norm is None else rows * norm.weight.to(rows)
    return added


def _occurrences(kept: KeptPlaces, feature: int, text: _Text) -> list[Occurrence]:
    """The sampled places of a feature, as the label maker wants them."""
    values, places = kept.drawn_values[feature].tolist(), kept.drawn_places[feature].tolist()
    width = len(text.token_rows[0])
    return [
        _occurrence(text, code // width, code % width, value)
        for value, code in zip(values, places, strict=True)
        if value > 0
    ]


def _background(text: _Text, seed: int) -> Background:
    """Places drawn from the whole text."""
    places = [
        (row, position)
        for row, length in enumerate(text.lengths)
        for position in range(text.first, length)
    ]
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randperm(len(places), generator=generator, device="cpu")[:BACKGROUND_PLACES]
    some = [places[number] for number in drawn.tolist()]
    return Background([_occurrence(text, row, at, 1.0) for row, at in some], text.frequencies)


def _occurrence(text: _Text, row: int, position: int, value: float) -> Occurrence:
    start = max(position - REACH, text.first)
    tokens = [text.names[token] for token in text.token_rows[row][start : position + 1]]
    return Occurrence(tokens[:-1], tokens[-1], value)


def _examples_by_feature(
    chosen: Sequence[_Example],
    windows: Float[Tensor, "M window"],
    kept: KeptPlaces,
    text: _Text,
) -> list[dict[str, list[int]]]:
    """The example columns of every feature."""
    names = ("example_quantiles", "example_lengths", "example_tokens", "example_activations")
    table: list[dict[str, list[int]]] = [{n: [] for n in names} for _ in range(len(kept.top))]
    largest = kept.top[:, 0].clamp_min(1e-12)
    features = torch.tensor([e.feature for e in chosen], dtype=torch.long, device="cpu")
    steps = (255 * windows / largest[features, None]).clamp(0, 255)
    shown = torch.where(windows > 0, steps.round().clamp_min(1), 0.0).int().tolist()
    for (feature, quantile, row, position), window in zip(chosen, shown, strict=True):
        start, end = max(position - BEFORE, 0), min(position + AFTER + 1, text.lengths[row])
        first = start - (position - BEFORE)
        entry = table[feature]
        entry["example_quantiles"].append(quantile)
        entry["example_lengths"].append(end - start)
        entry["example_tokens"] += text.token_rows[row][start:end]
        entry["example_activations"] += window[first : first + end - start]
    return table
