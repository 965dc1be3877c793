"""What the headers and configs of dictionaries say of them, without opening the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuit_tracer.bundled import bundled_dictionaries, bundled_models
from circuit_tracer.transcoders.formats.hooks import read_places, write_places
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.formats.plan import Plan
from circuit_tracer.transcoders.opening import find_dictionary


def bundled_facts() -> list[dict[str, Any]]:
    """One row a dictionary that comes with the tool."""
    return [
        {
            "model": model,
            "name": name,
            **config_facts(read_config(find_dictionary(f"{model}/{name}").path)),
        }
        for model in bundled_models()
        for name in bundled_dictionaries(model)
    ]


def config_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored dictionary says of itself; figures are None if it was never evaluated."""
    figures = config.get("evaluation") or {}
    layers = figures.get("layers") or []
    return {
        "kind": config["kind"],
        "layers": config["n_layers"],
        "d_model": config["d_model"],
        "features_per_layer": max(config["n_features"]),
        "activation": config["activation"],
        "k": config.get("k"),
        "skip": config.get("skip", False),
        "reads": config["reads"],
        "made_for": (config.get("model") or {}).get("name"),
        "largest_fvu": max(
            (layer["fvu"] for layer in layers if layer["fvu"] is not None), default=None
        ),
        "recovered": figures.get("recovered"),
    }


def plan_facts(plan: Plan) -> dict[str, Any]:
    """What the headers of a dictionary say, with its places in both vocabularies."""
    features = [layer.n_features for layer in plan.layers]
    ks = [layer.k for layer in plan.layers] if plan.activation == "topk" else [None]
    reads = read_places(plan.reads, plan.model_name)
    writes = write_places(plan.writes, plan.model_name)
    figures = plan.config.get("evaluation") or {}
    return {
        "format": plan.format,
        "kind": plan.kind,
        "layers": plan.n_layers,
        "after_layers": [one.layer for one in plan.layers] if plan.kind == "sae" else None,
        "d_model": plan.d_model,
        "features_per_layer": features[0] if len(set(features)) == 1 else features,
        "activation": plan.activation + ("" if plan.rectified else " without ReLU"),
        "k": ks[0] if len(set(ks)) == 1 else ks,
        "skip": "W_skip" in plan.layers[0].tensors,
        "reads": reads.transformer_lens,
        "reads_module": reads.module,
        "reads_in_the_files": plan.reads_as,
        "writes": writes.transformer_lens,
        "writes_module": writes.module,
        "writes_in_the_files": plan.writes_as,
        "made_for": plan.model_name,
        "megabytes": round(sum(path.stat().st_size for path in plan.files) / 1e6, 2),
        "recovered": figures.get("recovered"),
    }
