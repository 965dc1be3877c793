"""Rows of text as tensors, and the loss they are trained by."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from transcoders.growing.language.sentences import Text
from transcoders.growing.language.tokenizer import BOS


class Batch(NamedTuple):
    """The rows of one step."""

    tokens: Tensor
    """(rows, 1 + words) token ids, BOS first."""
    weights: Tensor
    """(rows, words) loss weights of the words."""


def batch_of(texts: Iterable[Text], ids: dict[str, int]) -> Batch:
    """Rows of equally many words, BOS before each."""
    rows = list(texts)
    tokens = [[ids[BOS], *(ids[word] for word in row.words)] for row in rows]
    return Batch(torch.tensor(tokens), torch.tensor([row.weights for row in rows]))


def loss_of(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Cross entropy of the words, weighted."""
    return weighted_loss(model(input_ids=batch.tokens[:, :-1]).logits, batch)


def weighted_loss(logits: Tensor, batch: Batch) -> Tensor:
    """The same of logits (rows, words, vocabulary) that are there."""
    losses = cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    weights = batch.weights.flatten()
    return (losses * weights).sum() / weights.sum()
