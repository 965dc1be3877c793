"""Dictionaries as others publish them: written from raw tensors, and computed from them directly.

Every case writes its own layout with the awkward things that layout allows (layers out of order,
transposed matrices, features differing by layer, scalar thresholds), and says what the dictionary
computes by the published definition, in float64, without any code of the package.

Shapes: L layers, T tokens, d model width, F features.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from circuit_tracer.graphs.graph import Identity

L, D = 3, 6
JUMP = 0.21
FEATURES = (5, 8, 7)
Raw = list[dict[str, Tensor]]
Outcome = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Case:
    """One published layout."""

    format: str
    write: Callable[[Path, Raw], None]
    forward: Callable[[Raw, list[Tensor]], Outcome]
    """Activations and outputs of every layer from what is read there, both (T, ...)."""
    reads: str
    writes: str
    kind: str = "plt"
    exact: bool = True
    """Whether weights come in as they are stored (nothing is folded)."""


class FakeModel:
    """A model of the right size; opening asks no more of it."""

    n_layers, d_model = L, D
    device, torch_dtype = torch.device("cpu"), torch.float64
    identity = Identity("fake", "memory", "", "fake")
    wiring = None


def raw_layers(seed: int = 0, *, dtype: torch.dtype = torch.float32, same: bool = False) -> Raw:
    """Random weights under neutral names; `same` gives every layer as many features."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    layers = []
    for layer in range(L):
        F = FEATURES[0] if same else FEATURES[layer]
        layers.append(
            {
                "enc": random(F, D),
                "b_enc": random(F) / 4,
                "dec": random(F, D),
                "decs": random(F, L - layer, D),
                "b_dec": random(D),
                "threshold": random(F).abs() / 2,
                "skip": random(D, D) / 3,
            }
        )
    return layers


def inputs(seed: int = 1) -> list[Tensor]:
    """What every layer reads, float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(9, D, generator=generator, dtype=torch.float64) for _ in range(L)]


def save(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_yaml(path: Path, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


# Activations by their definitions


def relu(pre: Tensor) -> Tensor:
    return pre.clamp_min(0)


def top(pre: Tensor, k: int) -> Tensor:
    kept = pre.argsort(dim=-1, descending=True)[:, :k]
    mask = torch.zeros_like(pre)
    for row, places in enumerate(kept):
        mask[row, places] = 1
    return pre * mask


def jump(pre: Tensor, threshold: Tensor | float) -> Tensor:
    return pre * (pre > threshold)


def each(raw: Raw, xs: list[Tensor], one: Callable[..., tuple[Tensor, Tensor]]) -> Outcome:
    """A layer at a time, all tensors in float64."""
    pairs = [
        one({n: t.double() for n, t in layer.items()}, x) for layer, x in zip(raw, xs, strict=True)
    ]
    return [acts for acts, _ in pairs], [out for _, out in pairs]


# circuit-tracer

CT_CONFIG = {
    "model_kind": "transcoder_set",
    "model_name": "meta-llama/Llama-3.2-1B",
    "feature_input_hook": "hook_resid_mid",
    "feature_output_hook": "mlp.hook_out",
    "scan": "x",
}


def write_ct_skip(folder: Path, raw: Raw) -> None:
    save_yaml(folder / "config.yaml", **CT_CONFIG)
    for layer in (2, 0, 1):
        r = raw[layer]
        save(
            folder / f"layer_{layer}.safetensors",
            {
                "W_enc": r["enc"],
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "W_skip": r["skip"],
            },
        )


def forward_ct_skip(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        acts = relu(x @ r["enc"].T + r["b_enc"])
        return acts, acts @ r["dec"] + r["b_dec"] + x @ r["skip"].T

    return each(raw, xs, one)


def write_ct_jump(folder: Path, raw: Raw) -> None:
    save_yaml(folder / "config.yaml", **{**CT_CONFIG, "feature_input_hook": "mlp.hook_in"})
    for layer, r in enumerate(raw):
        save(
            folder / f"layer_{layer}.safetensors",
            {
                "W_enc": r["enc"],
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "activation_function.threshold": r["threshold"] - 0.3,  # some are negative
            },
        )


def forward_ct_jump(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        threshold = (r["threshold"].float() - 0.3).double()
        acts = jump(x @ r["enc"].T + r["b_enc"], threshold)
        return acts, acts @ r["dec"] + r["b_dec"]

    return each(raw, xs, one)


def write_ct_topk(folder: Path, raw: Raw) -> None:
    save_yaml(folder / "config.yaml", **{**CT_CONFIG, "activation": "topk", "k": 4})
    for layer, r in enumerate(raw):
        save(
            folder / f"layer_{layer}.safetensors",
            {"W_enc": r["enc"], "W_dec": r["dec"], "b_enc": r["b_enc"], "b_dec": r["b_dec"]},
        )


def forward_ct_topk(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        acts = top(x @ r["enc"].T + r["b_enc"], 4)  # no ReLU: negative values may pass
        return acts, acts @ r["dec"] + r["b_dec"]

    return each(raw, xs, one)


def write_ct_clt(folder: Path, raw: Raw) -> None:
    config = {**CT_CONFIG, "model_kind": "cross_layer_transcoder"}
    save_yaml(folder / "config.yaml", **{**config, "feature_output_hook": "hook_mlp_out"})
    for i, r in enumerate(raw):
        encoder = {"W_enc": "enc", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
        tensors = {f"{name}_{i}": r[key] for name, key in encoder.items()}
        save(folder / f"W_enc_{i}.safetensors", {**tensors, f"W_skip_{i}": r["skip"]})
        save(folder / f"W_dec_{i}.safetensors", {f"W_dec_{i}": r["decs"]})


def forward_clt(raw: Raw, xs: list[Tensor]) -> Outcome:
    """JumpReLU, skips used as x @ W."""
    acts = [
        jump(x @ r["enc"].double().T + r["b_enc"].double(), r["threshold"].double())
        for r, x in zip(raw, xs, strict=True)
    ]
    outs = [r["b_dec"].double() + x @ r["skip"].double() for r, x in zip(raw, xs, strict=True)]
    for i in range(L):
        for m in range(i, L):
            outs[m] = outs[m] + acts[i] @ raw[i]["decs"][:, m - i].double()
    return acts, outs


# Gemma Scope


def write_gemma_scope(folder: Path, raw: Raw) -> None:
    for layer in (1, 2, 0):
        r = raw[layer]
        place = folder / f"layer_{layer}/width_16k/average_l0_{60 + 7 * layer}"
        place.mkdir(parents=True)
        np.savez(
            place / "params.npz",
            W_enc=r["enc"].T.numpy(),  # a transposed view: stored in Fortran order
            W_dec=r["dec"].numpy(),
            b_enc=r["b_enc"].numpy(),
            b_dec=r["b_dec"].numpy(),
            threshold=r["threshold"].numpy(),
        )


def forward_gemma(raw: Raw, xs: list[Tensor], *, skip: bool = False) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ r["enc"].T + r["b_enc"]
        acts = (pre > r["threshold"]) * relu(pre)
        out = acts @ r["dec"] + r["b_dec"]
        return acts, out + x @ r["skip"] if skip else out

    return each(raw, xs, one)


def gemma_2_config(layer: int, **more: Any) -> dict[str, Any]:
    return {
        "architecture": "jump_relu",
        "hf_hook_point_in": f"model.layers.{layer}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"model.layers.{layer}.post_feedforward_layernorm.output",
        "width": 16384,
        "l0": 20,
        "affine_connection": True,
        "model_name": "google/gemma-3-1b-it",
        "type": "transcoder",
        **more,
    }


def gemma_2_tensors(r: dict[str, Tensor], dec: Tensor) -> dict[str, Tensor]:
    return {
        "w_enc": r["enc"].T,
        "w_dec": dec,
        "b_enc": r["b_enc"],
        "b_dec": r["b_dec"],
        "threshold": r["threshold"],
        "affine_skip_connection": r["skip"],
    }


def write_gemma_scope_2(folder: Path, raw: Raw) -> None:
    for layer in (2, 1, 0):
        place = folder / f"transcoder_all/layer_{layer}_width_16k_l0_small_affine"
        save(place / "params.safetensors", gemma_2_tensors(raw[layer], raw[layer]["dec"]))
        save_json(place / "config.json", gemma_2_config(layer))


def write_gemma_scope_2_clt(folder: Path, raw: Raw) -> None:
    for i, r in enumerate(raw):
        decoder = torch.zeros(r["enc"].shape[0], L, D)
        decoder[:, i:] = r["decs"]
        place = folder / "clt/width_262k_l0_big_affine"
        save(place / f"params_layer_{i}.safetensors", gemma_2_tensors(r, decoder))


def forward_gemma_2_clt(raw: Raw, xs: list[Tensor]) -> Outcome:
    return forward_clt(raw, xs)  # thresholds are positive: ReLU in front changes nothing


# SAELens


def write_saelens(folder: Path, raw: Raw) -> None:
    for layer, name in ((2, "c"), (0, "b"), (1, "a")):  # folders say nothing of layers
        r = raw[layer]
        save(
            folder / name / "sae_weights.safetensors",
            {
                "W_enc": r["enc"].T,
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "threshold": r["threshold"],
                "W_skip": r["skip"],
            },
        )
        save_json(
            folder / name / "cfg.json",
            {
                "architecture": "jumprelu_skip_transcoder",
                "d_in": D,
                "d_out": D,
                "apply_b_dec_to_input": False,
                "normalize_activations": "none",
                "metadata": {
                    "sae_lens_version": "6.1.0",
                    "model_name": "gemma-2-2b",
                    "hook_name": f"blocks.{layer}.ln2.hook_normalized",
                    "hook_name_out": f"blocks.{layer}.hook_mlp_out",
                },
            },
        )


def forward_saelens(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ r["enc"].T + r["b_enc"]
        acts = relu(pre) * (pre > r["threshold"])
        return acts, acts @ r["dec"] + r["b_dec"] + x @ r["skip"].T

    return each(raw, xs, one)


SCALE = 1.7


def write_saelens_flat(folder: Path, raw: Raw) -> None:
    """An older, flat config with everything that has to be folded in."""
    for layer, r in enumerate(raw):
        save(
            folder / f"layer{layer}" / "sae_weights.safetensors",
            {
                "W_enc": r["enc"].T,
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "scaling_factor": r["threshold"] + 1,
            },
        )
        save_json(
            folder / f"layer{layer}" / "cfg.json",
            {
                "architecture": "transcoder",
                "model_name": "gpt2-small",
                "hook_point": f"blocks.{layer}.hook_resid_mid",
                "hook_point_out": f"blocks.{layer}.mlp.hook_out",
                "activation_fn_str": "topk",
                "activation_fn_kwargs": {"k": 3},
                "apply_b_dec_to_input": False,
                "normalize_activations": "expected_average_only_in",
                "norm_scaling_factor": SCALE,
            },
        )


def forward_saelens_flat(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        acts = relu(top(SCALE * x @ r["enc"].T + r["b_enc"], 3))
        rows = r["dec"] * (r["threshold"].float() + 1).double()[:, None]
        return acts, (acts @ rows + r["b_dec"]) / SCALE

    return each(raw, xs, one)


def write_saelens_topk(folder: Path, raw: Raw) -> None:
    """TopK by the lengths of decoder rows, with a skip."""
    for layer, r in enumerate(raw):
        save(
            folder / f"layer{layer}" / "sae_weights.safetensors",
            {
                "W_enc": r["enc"].T,
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "W_skip": r["skip"],
            },
        )
        save_json(
            folder / f"layer{layer}" / "cfg.json",
            {
                "architecture": "topk_skip_transcoder",
                "d_in": D,
                "d_out": D,
                "d_sae": r["enc"].shape[0],
                "k": 3,
                "rescale_acts_by_decoder_norm": True,
                "apply_b_dec_to_input": False,
                "normalize_activations": "none",
                "reshape_activations": "none",
                "dtype": "float32",
                "metadata": {
                    "sae_lens_version": "6.20.0",
                    "sae_lens_training_version": "6.20.0",
                    "model_name": "gpt2",
                    "hook_name": f"blocks.{layer}.hook_resid_mid",
                    "hook_name_out": f"blocks.{layer}.mlp.hook_out",
                    "hook_head_index": None,
                    "context_size": 128,
                },
            },
        )


def forward_saelens_topk(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        lengths = r["dec"].norm(dim=-1)
        acts = relu(top((x @ r["enc"].T + r["b_enc"]) * lengths, 3))
        return acts, (acts / lengths) @ r["dec"] + r["b_dec"] + x @ r["skip"].T

    return each(raw, xs, one)


def write_saelens_batchtopk(folder: Path, raw: Raw) -> None:
    """BatchTopK as it is saved for inference: one threshold for all features."""
    for layer, r in enumerate(raw):
        save(
            folder / f"layer{layer}" / "sae_weights.safetensors",
            {
                "W_enc": r["enc"].T,
                "W_dec": r["dec"],
                "b_enc": r["b_enc"],
                "b_dec": r["b_dec"],
                "threshold": torch.full_like(r["b_enc"], JUMP),
            },
        )
        save_json(
            folder / f"layer{layer}" / "cfg.json",
            {
                "architecture": "batchtopk_transcoder",
                "k": 3,
                "metadata": {
                    "model_name": "gpt2",
                    "hook_name": f"blocks.{layer}.hook_resid_mid",
                    "hook_name_out": f"blocks.{layer}.mlp.hook_out",
                },
            },
        )


def forward_saelens_batchtopk(raw: Raw, xs: list[Tensor]) -> Outcome:
    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        threshold = torch.full_like(r["b_enc"].float(), JUMP).double()
        acts = jump(x @ r["enc"].T + r["b_enc"], threshold)
        return acts, acts @ r["dec"] + r["b_dec"]

    return each(raw, xs, one)


# sparsify


def write_sparsify(folder: Path, raw: Raw) -> None:
    save_json(folder / "config.json", {"model": "HuggingFaceTB/SmolLM2-135M"})
    for layer, r in enumerate(raw):
        place = folder / f"layers.{layer}.mlp"
        save(
            place / "sae.safetensors",
            {
                "encoder.weight": r["enc"],
                "encoder.bias": r["b_enc"] - 1,  # so that fewer than k are positive
                "W_dec": r["dec"],
                "b_dec": r["b_dec"],
                "W_skip": r["skip"],
            },
        )
        config = {"activation": "topk", "k": 4, "num_latents": r["enc"].shape[0], "d_in": D}
        save_json(place / "cfg.json", {**config, "transcode": True, "skip_connection": True})


def write_sparsify_early(folder: Path, raw: Raw) -> None:
    """As it was before February 2025: the run alone says what it is."""
    write_sparsify(folder, raw)
    save_json(folder / "config.json", {"model": "HuggingFaceTB/SmolLM2-135M", "transcode": True})
    for layer, r in enumerate(raw):
        config = {"expansion_factor": r["enc"].shape[0] // D, "num_latents": r["enc"].shape[0]}
        config |= {"normalize_decoder": True, "k": 4, "multi_topk": False, "d_in": D}
        save_json(folder / f"layers.{layer}.mlp/cfg.json", {**config, "skip_connection": True})


def forward_sparsify(raw: Raw, xs: list[Tensor], early: bool = False) -> Outcome:
    """Early ones encoded what they read without the decoder's bias."""

    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        read = x - r["b_dec"] if early else x
        acts = top(relu(read @ r["enc"].T + (r["b_enc"].float() - 1).double()), 4)
        return acts, acts @ r["dec"] + r["b_dec"] + x @ r["skip"].T

    return each(raw, xs, one)


# Llama Scope

NORMS = {"in": 64.0, "out": 3.390625}


def write_llama_scope(folder: Path, raw: Raw) -> None:
    for layer in (1, 0, 2):
        r = raw[layer]
        place = folder / f"Llama3_1-8B-Base-L{layer}TC-8x"
        save(
            place / "checkpoints" / "final.safetensors",
            {
                "encoder.weight": r["enc"],
                "encoder.bias": r["b_enc"],
                "decoder.weight": r["dec"].T,
                "decoder.bias": r["b_dec"],
            },
        )
        save_json(
            place / "hyperparams.json",
            {
                "hook_point_in": f"blocks.{layer}.ln2.hook_normalized",
                "hook_point_out": f"blocks.{layer}.hook_mlp_out",
                "act_fn": "jumprelu",
                "jump_relu_threshold": JUMP,
                "norm_activation": "dataset-wise",
                "dataset_average_activation_norm": NORMS,
                "sparsity_include_decoder_norm": True,
                "apply_decoder_bias_to_pre_encoder": False,
                "use_decoder_bias": True,
                "use_glu_encoder": False,
                "top_k": 50,
            },
        )


def forward_llama_scope(raw: Raw, xs: list[Tensor]) -> Outcome:
    """In the trained space: both normalised, a feature on where its contribution is long enough."""
    scale_in, scale_out = math.sqrt(D) / NORMS["in"], math.sqrt(D) / NORMS["out"]

    def one(r: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        pre = (x * scale_in) @ r["enc"].T + r["b_enc"]
        contribution = pre * r["dec"].norm(dim=1) / scale_out  # in the output's own units
        on = contribution > JUMP
        out = ((pre * on) @ r["dec"] + r["b_dec"]) / scale_out
        return contribution * on, out

    return each(raw, xs, one)


CASES = {
    "circuit-tracer, skip": Case(
        "circuit-tracer", write_ct_skip, forward_ct_skip, "hook_resid_mid", "mlp.hook_out"
    ),
    "circuit-tracer, jumprelu": Case(
        "circuit-tracer", write_ct_jump, forward_ct_jump, "mlp.hook_in", "mlp.hook_out"
    ),
    "circuit-tracer, topk": Case(
        "circuit-tracer", write_ct_topk, forward_ct_topk, "hook_resid_mid", "mlp.hook_out"
    ),
    "circuit-tracer, clt": Case(
        "circuit-tracer", write_ct_clt, forward_clt, "hook_resid_mid", "hook_mlp_out", "clt"
    ),
    "gemma-scope": Case(
        "gemma-scope", write_gemma_scope, forward_gemma, "ln2.hook_normalized", "hook_mlp_out"
    ),
    "gemma-scope-2": Case(
        "gemma-scope-2",
        write_gemma_scope_2,
        lambda raw, xs: forward_gemma(raw, xs, skip=True),
        "mlp.hook_in",
        "hook_mlp_out",
    ),
    "gemma-scope-2, clt": Case(
        "gemma-scope-2",
        write_gemma_scope_2_clt,
        forward_gemma_2_clt,
        "mlp.hook_in",
        "hook_mlp_out",
        "clt",
    ),
    "saelens": Case(
        "saelens", write_saelens, forward_saelens, "ln2.hook_normalized", "hook_mlp_out"
    ),
    "saelens, flat": Case(
        "saelens",
        write_saelens_flat,
        forward_saelens_flat,
        "hook_resid_mid",
        "mlp.hook_out",
        exact=False,
    ),
    "saelens, topk": Case(
        "saelens",
        write_saelens_topk,
        forward_saelens_topk,
        "hook_resid_mid",
        "mlp.hook_out",
        exact=False,
    ),
    "saelens, batchtopk": Case(
        "saelens",
        write_saelens_batchtopk,
        forward_saelens_batchtopk,
        "hook_resid_mid",
        "mlp.hook_out",
    ),
    "sparsify": Case("sparsify", write_sparsify, forward_sparsify, "mlp.hook_in", "mlp.hook_out"),
    "sparsify, early": Case(
        "sparsify",
        write_sparsify_early,
        lambda raw, xs: forward_sparsify(raw, xs, early=True),
        "mlp.hook_in",
        "mlp.hook_out",
        exact=False,
    ),
    "llama-scope": Case(
        "llama-scope",
        write_llama_scope,
        forward_llama_scope,
        "ln2.hook_normalized",
        "hook_mlp_out",
        exact=False,
    ),
}
