"""What a training run says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """One report; figures are running means over the steps since the last report."""

    stage: Literal["counting", "training", "evaluating"]
    step: int
    """Steps done."""
    tokens: int
    """Tokens done."""
    total_tokens: int
    """Tokens of the whole run (0 while they are being counted)."""
    tokens_per_second: float
    """Speed since the start or the last resume."""
    learning_rate: float
    loss: float
    """The training loss, summed over layers; about the sum of the layers' FVU."""
    fvu: tuple[float, ...]
    """Pooled fraction of variance unexplained, by layer, on the training batches."""
    l0: tuple[float, ...]
    """Active features a token, by layer."""
    dead: tuple[int, ...]
    """Features silent for `dead_steps` steps, by layer."""

    @property
    def seconds_left(self) -> float:
        """Time to the end of training at the present speed."""
        left = self.total_tokens - self.tokens
        return left / self.tokens_per_second if self.tokens_per_second > 0 else float("inf")


OnProgress = Callable[[Progress], None]
