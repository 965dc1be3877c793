"""What can be set for a trace, and what the prompt decides where nothing is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model
from circuit_tracer.models.chat import check_system

MOST_ROWS = 7500
"""Features that get a row by default, as in upstream's tool."""
ROW_TOKENS = 3_000_000
"""Above 400 tokens rows are fewer, so that rows x tokens stays at this: a row costs what its cone
does, and 7,500 of 2,048 tokens would take hours on a laptop."""
MANY_EDGES = 20_000_000
"""Graphs of up to so many edges are kept whole by default (240 MB in float32)."""
DEFAULT_FLOOR = 2e-8
"""The edge floor of larger graphs: of SmolLM2's some 4 to 8 million edges stay, and a tenth of the
influence at most passes the others; at ten times this it was up to a half."""

Cotangents = Literal["bf16", "tf32"]
"""Arithmetic in which cotangents are walked down: bfloat16, or float32 rounded to TF32 in products
(NVIDIA GPUs)."""


@dataclass(frozen=True)
class TraceSettings:
    """What can be set for a trace; every field is stored with the graph."""

    targets: tuple[str, ...] = ()
    """Tokens to explain; empty means the model's own first choices."""
    contrast: str | None = None
    """"yes,no": explain logit(yes) - logit(no) instead."""
    why_not: str | None = None
    """A token that was not chosen: explain its logit, and by how much the first choice beats it."""
    position: int = -1
    """Position whose output is explained."""
    max_n_logits: int = 10
    """Most tokens the model's own choice may take."""
    desired_logit_prob: float = 0.95
    """Probability these tokens should reach together."""
    max_feature_nodes: int | None = None
    """Most features that get a row. None: `MOST_ROWS`, on long prompts `ROW_TOKENS` / tokens."""
    coverage: float | None = None
    """Stop expanding when the influence hidden in features without a row is below 1 - coverage."""
    batch_size: int = 64
    """Rows per walk through the layers; changes time and memory, not the graph."""
    edge_floor: float | None = None
    """Least share of the targets' influence that an edge must carry to be kept one by one; of
    smaller ones exact sums stay. None: 0 for graphs of up to `MANY_EDGES` edges, else
    `DEFAULT_FLOOR`."""
    cotangents: Cotangents | None = None
    """Precision of the sweep's products alone; None is the model's own. What is lost is measured
    on some rows and stored with the graph (`Audit`)."""
    zeroed_positions: int | None = None
    """Leading positions without features and errors; None decides by the prompt's tokens (1 where
    it starts with a special one such as BOS, 4 in chats with Gemma 3), 0 keeps everything."""
    chat: bool = False
    """Put the prompt into the model's chat template as one user turn."""
    system: str | None = None
    """The system turn before it."""

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be, before anything is opened."""
        check_system(self.system, chat=self.chat)
        if self.targets and self.contrast:
            raise UsageError("`targets` and `contrast` exclude each other; give one of them")
        if self.why_not is not None and (self.targets or self.contrast):
            other = "`targets`" if self.targets else "`contrast`"
            raise UsageError(f"{other} and `why_not` exclude each other; give one of them")
        if not 0 < self.desired_logit_prob <= 1:
            raise UsageError(
                f"`desired_logit_prob` {self.desired_logit_prob} must lie above 0 and at most at 1"
            )
        if self.edge_floor is not None and not 0 <= self.edge_floor < 1:
            raise UsageError(f"`edge_floor` {self.edge_floor} must be at least 0 and below 1")
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise UsageError(f"`coverage` {self.coverage} must lie above 0 and at most at 1")
        for flag, value, least in (
            ("`max_n_logits`", self.max_n_logits, 1),
            ("`batch_size`", self.batch_size, 1),
            ("`max_feature_nodes`", self.max_feature_nodes or 0, 0),
            ("`zeroed_positions`", self.zeroed_positions or 0, 0),
        ):
            if value < least:
                raise UsageError(f"{flag} {value} must be at least {least}")

    def resolved(self, model: Model, ids: list[int]) -> TraceSettings:
        """With what is left to the prompt filled in; raises UsageError where it cannot be."""
        settings = self
        if settings.zeroed_positions is None:
            settings = replace(settings, zeroed_positions=model.zeroed_positions(ids))
        if settings.max_feature_nodes is None:
            rows = min(MOST_ROWS, max(1, ROW_TOKENS // len(ids)))
            settings = replace(settings, max_feature_nodes=rows)
        if settings.cotangents == "tf32" and model.device.type != "cuda":
            raise UsageError("`cotangents` tf32 needs an NVIDIA GPU; take float32 or bf16 here")
        if settings.cotangents and model.torch_dtype == torch.float64:
            raise UsageError("a float64 model is not swept in lower precision; open it in float32")
        return settings

    def edge_floor_for(self, n_rows: int, n_sources: int) -> float:
        """The floor given, or one that fits the size of the graph."""
        if self.edge_floor is not None:
            return self.edge_floor
        # A target has, on average, half of all nodes below it.
        return DEFAULT_FLOOR if n_rows * n_sources / 2 > MANY_EDGES else 0.0
