"""What a training run says of itself while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """One report; figures are running means over the steps since the last report."""

    stage: Literal["counting", "training", "evaluating"]
    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Tokens done."""
    total_tokens: int = 0
    """Tokens of the whole run (0 while they are being counted)."""
    tokens_per_second: float = 0.0
    """Speed since the start or the last resume."""
    learning_rate: float = 0.0
    loss: float = math.nan
    """The training loss, summed over layers; about the sum of the layers' FVU."""
    fvu: tuple[float, ...] = ()
    """Pooled fraction of variance unexplained, by layer, on the training batches; none but while
    training, like the figures below."""
    l0: tuple[float, ...] = ()
    """Active features a token, by layer."""
    dead: tuple[int, ...] = ()
    """Features silent for `dead_steps` steps, by layer."""

    @property
    def seconds_left(self) -> float:
        """Time to the end of training at the present speed."""
        left = self.total_tokens - self.tokens
        return left / self.tokens_per_second if self.tokens_per_second > 0 else float("inf")

    @property
    def line(self) -> str:
        """Loss, FVU, L0, dead features and speed in one line."""
        if self.stage != "training":
            return self.stage
        fvu = sum(self.fvu) / max(1, len(self.fvu))
        l0 = sum(self.l0) / max(1, len(self.l0))
        return (
            f"training: loss {self.loss:.3f}  FVU {fvu:.3f}  L0 {l0:.1f}  "
            f"dead {sum(self.dead)}  {self.tokens_per_second:,.0f} tokens/s"
        )


OnProgress = Callable[[Progress], None]
