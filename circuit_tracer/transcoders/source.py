"""What opening, training, evaluation and cards need of a model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.parts import ReadPoint, WritePoint


@runtime_checkable
class DictionaryModel(Protocol):
    """What opening needs of a model; `circuit_tracer.models.Model` is one."""

    @property
    def identity(self) -> Identity:
        """Which weights these are."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where training happens."""

    @property
    def torch_dtype(self) -> torch.dtype:
        """What it computes in."""


@runtime_checkable
class ActivitySource(DictionaryModel, Protocol):
    """What training needs of a model; `circuit_tracer.models.Model` is one."""

    @property
    def tokenizer(self) -> Any:
        """Hugging Face tokenizer."""

    @property
    def max_length(self) -> int:
        """Longest row the model takes."""

    @property
    def steady_length(self) -> int:
        """Longest row whose pass does not depend on its length, padding included."""

    @property
    def bos_id(self) -> int | None:
        """Token that begins every row, if the model has one."""

    def mlp_activity(
        self,
        token_ids: Int[Tensor, "B T"],
        reads: ReadPoint = ...,
        writes: WritePoint = ...,
    ) -> MlpActivity:
        """What is read and what has to be written at every MLP, at these points."""
