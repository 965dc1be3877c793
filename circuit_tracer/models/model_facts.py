"""What is known of an open model, for a person who looks at it."""

from __future__ import annotations

from typing import Any

from circuit_tracer.models.model import Model


def model_facts(model: Model) -> dict[str, Any]:
    """Its name, hash, architecture, sizes, and where its MLPs are read and written."""
    wiring, identity = model.wiring, model.identity
    return {
        "name": identity.name,
        "source": identity.source,
        "sha256": identity.sha256,
        "family": wiring.family,
        "weights_dtype": model.weights_dtype,
        "parameters": sum(p.numel() for p in model.module.parameters()),
        "layers": wiring.n_layers,
        "d_model": wiring.d_model,
        "heads": wiring.n_heads,
        "kv_heads": wiring.n_kv_heads,
        "d_head": wiring.d_head,
        "vocabulary": wiring.n_vocabulary,
        "max_length": wiring.max_length,
        "bos": None if model.bos_id is None else model.token_text(model.bos_id),
        "mlp_input": f"{wiring.paths.layer.format('i')}.{wiring.paths.mlp_norm}.output",
        "mlp_output": f"{wiring.paths.layer.format('i')}.{wiring.paths.mlp}.output",
    }
