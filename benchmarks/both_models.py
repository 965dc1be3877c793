"""A sparse autoencoder of two models' activations: it can only say which model is which.

No command trains one. `benchmarks/diff.py` gives it to `diff`, which should call its features model
identity and no persona.

Shapes: d model width.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models import Model, open_model
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.parts import RESIDUAL
from circuit_tracer.transcoders.dictionary import Dictionary, every_layer
from circuit_tracer.transcoders.formats.native import save_dictionary
from circuit_tracer.transcoders.training import TrainingConfig
from circuit_tracer.transcoders.training.trainer import Trainer
from circuit_tracer.transcoders.training.weights import export_layers
from transcoders.growing.language.corpus import rows

ROWS, EPOCHS, LAYER = 1500, 6, 1
"""Of text, passes over it, and after which layer."""
CONFIG = TrainingConfig(
    reads=RESIDUAL, writes=RESIDUAL, layers=(LAYER,), n_features=256, k=16, learning_rate=2e-3
)


@torch.no_grad()
def activity(model: Model) -> Float[Tensor, "1 tokens d"]:
    """The stream after the layer on some text, without the first token of a row."""
    texts = [model.tokenize(" ".join(one.words)) for one in islice(rows("both"), ROWS)]
    length = min(map(len, texts))
    ids = torch.tensor([one[:length] for one in texts])
    read = model.mlp_activity(ids, RESIDUAL, RESIDUAL, (LAYER,)).inputs
    return read[:, :, 1:].flatten(1, 2)


def train_on_both(base: str, tuned: str, folder: Path) -> Path:
    """Train and store it as a dictionary of the base, unless it is there."""
    if folder.is_dir():
        return folder
    models = [open_model(name, device="cpu") for name in (base, tuned)]
    given = torch.cat([activity(model) for model in models], 1)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(given.shape[1], generator=generator) for _ in range(EPOCHS)]
    start = given[:, orders[0]]
    trainer = Trainer.start(CONFIG, MlpActivity(start, start))
    for places in torch.cat(orders).split(CONFIG.batch_size):
        batch = given[:, places]
        trainer.step(MlpActivity(batch, batch), EPOCHS * given.shape[1])
    made = export_layers(trainer.weights, trainer.units, CONFIG, stored_as=torch.float32)
    identity = Identity(name=folder.name, source="memory", sha256="", kind="sae")
    owner = {"name": models[0].identity.name, "sha256": models[0].identity.sha256}
    layers = every_layer(made, models[0].n_layers)
    dictionary = Dictionary("sae", layers, RESIDUAL, identity, RESIDUAL, {"model": owner})
    save_dictionary(dictionary, folder)
    return folder
