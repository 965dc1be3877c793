"""A stand-in for a model: MLP activity computed from token ids by a fixed random network."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.training import TrainingConfig
from tests.device import DEVICE
from tests.tiny import WORDS, tiny_tokenizer


class FakeSource:
    """L layers whose MLP input depends on the token and the one before, output a small ReLU net."""

    n_layers = 2
    d_model = 12
    max_length = steady_length = 64
    bos_id = 0
    device = DEVICE
    torch_dtype = torch.float32
    identity = Identity(name="fake", source="memory", sha256="fake-weights", kind="fake")
    wiring = None

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def random_tensor(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(DEVICE)

        self.tokenizer: Any = tiny_tokenizer()
        L, d = self.n_layers, self.d_model
        self.tokens = random_tensor(L, len(self.tokenizer), d) + 3.0
        self.previous = random_tensor(L, len(self.tokenizer), d) / 2
        self.up, self.down = random_tensor(L, 24, d) / d**0.5, random_tensor(L, d, 24)
        self.calls = 0

    def mlp_activity(
        self,
        token_ids: Tensor,
        reads: str = "mlp.hook_in",
        writes: str = "mlp.hook_out",
        at: Sequence[int] | None = None,
        places: Tensor | None = None,
        into: MlpActivity | None = None,
    ) -> MlpActivity:
        """Inputs and outputs (L, B, T, d); the inputs are the residual streams."""
        if into is not None:
            found = self.mlp_activity(token_ids, reads, writes, at)
            for given, part in zip(into, found, strict=True):
                given.copy_(part.flatten(1, 2)[:, places])
            return into
        self.calls += 1
        token_ids = token_ids.to(DEVICE)
        before = token_ids.roll(1, dims=1)
        inputs = self.tokens[:, token_ids] + self.previous[:, before]
        if reads == "hook_resid_post":
            streams = inputs if at is None else inputs[list(at)]
            return MlpActivity(streams, streams)
        hidden = torch.einsum("lfd,lbtd->lbtf", self.up, inputs).relu()
        return MlpActivity(inputs, torch.einsum("ldf,lbtf->lbtd", self.down, hidden) + 1.0)


def text_file(folder: Path, *, documents: int = 250, seed: int = 0) -> Path:
    """Random documents of 3 to 20 words of the tiny vocabulary, one a line."""
    rng = random.Random(seed)
    lines = [
        " ".join(rng.choice(WORDS[2:]) for _ in range(rng.randint(3, 20))) for _ in range(documents)
    ]
    path = folder / f"text-{documents}-{seed}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def small_config(**overrides: Any) -> TrainingConfig:
    """A run of a second or less."""
    settings: dict[str, Any] = {
        "n_features": 48,
        "row_length": 16,
        "batch_size": 128,
        "rows_per_forward": 8,
        "buffer_tokens": 512,
        "checkpoint_steps": 0,
        "precision": "float32",
        "epochs": 4,
    }
    if overrides.get("activation") != "jumprelu":
        settings["k"] = 4
    return TrainingConfig(**{**settings, **overrides})
