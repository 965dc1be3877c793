"""Where dictionaries read and write, in the vocabularies that files use: one place for all names.

TransformerLens names: `blocks.5.mlp.hook_in`, `blocks.{layer}.ln2.hook_normalized`. Hugging Face
module paths: `model.layers.5.pre_feedforward_layernorm.output`, `layers.5.mlp`. Some mean different
things to different people:

* `hook_mlp_in` is, in TransformerLens itself, the residual stream entering the MLP block, before
  the norm, so it is read as `hook_resid_mid`. Some authors write it for what the MLP module gets.
  A note says what was taken, and `transcoders validate` tries the other points on the model.
* `hook_resid_post` and Hugging Face's `model.layers.5.output` are the residual stream after a
  layer, which sparse autoencoders read and write. `hook_resid_pre` of the next layer is the same
  stream.
* `post_attention_layernorm.output` is the MLP's input in Llama, Mistral, Qwen and NeoX, and the end
  of the attention block in Gemma 2, Gemma 3 and OLMo 2, where no transcoder of an MLP can read. The
  model's wiring decides; without a model its name does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from circuit_tracer.errors import DictionaryError
from circuit_tracer.models.families import WIRINGS
from circuit_tracer.models.parts import RESIDUAL, Paths, ReadPoint, WritePoint
from circuit_tracer.models.wiring import Wiring

READ_NAMES: dict[str, ReadPoint] = {
    "mlp.hook_in": "mlp.hook_in",
    "ln2.hook_normalized": "ln2.hook_normalized",
    "hook_resid_mid": "hook_resid_mid",
    "hook_mlp_in": "hook_resid_mid",
    "mlp": "mlp.hook_in",
    "mlp.input": "mlp.hook_in",
    "post_attention_layernorm": "mlp.hook_in",
    "post_attention_layernorm.output": "mlp.hook_in",
    "post_attention_layernorm.input": "hook_resid_mid",
    "pre_feedforward_layernorm": "mlp.hook_in",
    "pre_feedforward_layernorm.output": "mlp.hook_in",
    "pre_feedforward_layernorm.input": "hook_resid_mid",
    "ln_2": "mlp.hook_in",
    "ln_2.output": "mlp.hook_in",
    "ln_2.input": "hook_resid_mid",
}
"""What follows the layer in a name -> the reading point. A norm's output has its weight in it."""

WRITE_NAMES: dict[str, WritePoint] = {
    "mlp.hook_out": "mlp.hook_out",
    "hook_mlp_out": "hook_mlp_out",
    "mlp": "mlp.hook_out",
    "mlp.output": "mlp.hook_out",
    "post_feedforward_layernorm": "hook_mlp_out",
    "post_feedforward_layernorm.output": "hook_mlp_out",
}

_LAYER = re.compile(
    r"(?:blocks|(?:[\w.]+\.)?layers|(?:[\w.]+\.)?h)(?:\.|\[)(\d+|\{+layer\}+|\{\}|\*)\]?\.(.+)"
)
_STREAM = re.compile(
    r"blocks\.(\d+)\.hook_resid_(post|pre)|(?:[\w.]+\.)?(?:layers|h)\.(\d+)(?:\.output)?"
)
_NORMS = ("post_attention_layernorm", "pre_feedforward_layernorm", "ln_2")

_FAMILIES = (
    (r"gemma-?2", "Gemma2ForCausalLM"),
    (r"gemma-?3", "Gemma3ForCausalLM"),
    (r"olmo-?2", "Olmo2ForCausalLM"),
    (r"qwen-?3", "Qwen3ForCausalLM"),
    (r"qwen-?2", "Qwen2ForCausalLM"),
    (r"mistral", "MistralForCausalLM"),
    (r"gpt-?2", "GPT2LMHeadModel"),
    (r"pythia|neox", "GPTNeoXForCausalLM"),
    (r"llama|sprout|smollm", "LlamaForCausalLM"),
)
"""What model names contain -> their architecture, for when no model is at hand."""


class Place(NamedTuple):
    """One place by both names."""

    transformer_lens: str
    module: str


def stream_after(name: object) -> int | None:
    """The layer after which a name has the residual stream, -1 before the first; None for names of
    other places."""
    match = _STREAM.fullmatch(str(name or "").strip())
    if match is None:
        return None
    return int(match[1] or match[3]) - (match[2] == "pre")


def read_point(
    name: object,
    *,
    layer: int | None = None,
    wiring: Wiring | None = None,
    model: str | None = None,
) -> ReadPoint:
    """The reading point a name stands for.

    `layer` is the layer the name must speak of. `wiring`, or else the model's name, decides which
    norm comes before the MLP. Raises DictionaryError for a name that is no reading point.
    """
    if layer is not None and stream_after(name) == layer:
        return RESIDUAL
    end = _ending(name, layer, "read", READ_NAMES)
    paths = _paths(wiring, model)
    norm = next((norm for norm in _NORMS if end.split(".")[0] == norm), None)
    if paths is not None and norm is not None and norm != paths.mlp_norm:
        raise DictionaryError(
            f'the dictionary reads at "{name}", which in {_called(wiring, model)} is not before '
            f"the MLP ({paths.mlp_norm or 'no norm'} is), so it is no transcoder of its MLPs"
        )
    return READ_NAMES[end]


def write_point(name: object, *, layer: int | None = None) -> WritePoint:
    """The writing point a name stands for; DictionaryError for a name that is none."""
    if layer is not None and stream_after(name) == layer:
        return RESIDUAL
    return WRITE_NAMES[_ending(name, layer, "write", WRITE_NAMES)]


def ambiguity(name: object) -> tuple[str, ...]:
    """A note for names that are used for two different tensors."""
    if str(name).endswith("hook_mlp_in"):
        return (
            f'"{name}" is taken as TransformerLens means it, the residual stream before the '
            "MLP's norm (hook_resid_mid); `transcoders validate` tells whether its author did",
        )
    return ()


def read_places(reads: ReadPoint, model: str | None = None, layer: str = "{layer}") -> Place:
    """A reading point by both names, for a model of this name (of the Llama family if unknown)."""
    paths = _paths(None, model) or Wiring.paths
    here = paths.layer.format(layer)
    if reads == RESIDUAL:
        return Place(f"blocks.{layer}.{reads}", f"{here}.output")
    if paths.mlp_norm is None:
        module = f"{here}.{paths.mlp}.input"
    elif reads == "hook_resid_mid":
        module = f"{here}.{paths.mlp_norm}.input"
    else:
        without = " without its weight" if reads == "ln2.hook_normalized" else ""
        module = f"{here}.{paths.mlp_norm}.output{without}"
    return Place(f"blocks.{layer}.{reads}", module)


def write_places(writes: WritePoint, model: str | None = None, layer: str = "{layer}") -> Place:
    """A writing point by both names."""
    if writes == RESIDUAL:
        return read_places(writes, model, layer)
    paths = _paths(None, model) or Wiring.paths
    norm = paths.mlp_post_norm if writes == "hook_mlp_out" else None
    return Place(
        f"blocks.{layer}.{writes}", f"{paths.layer.format(layer)}.{norm or paths.mlp}.output"
    )


def _ending(name: object, layer: int | None, verb: str, known: object) -> str:
    """What follows the layer in a name."""
    text = str(name or "").strip()
    match = _LAYER.fullmatch(text)
    end = match[2] if match else text
    names = sorted(known) if isinstance(known, dict) else []
    if end not in names:
        raise DictionaryError(
            f'the files let the dictionary {verb} at "{text[:80]}", which is no place of an MLP '
            f"that is known here (known: {', '.join(names)}); it is no transcoder of MLPs, or its "
            "config has to name the place otherwise"
        )
    if match and match[1].isdigit() and layer is not None and int(match[1]) != layer:
        raise DictionaryError(
            f'the files let layer {layer} of the dictionary {verb} at "{text[:80]}", in another '
            "layer; put the file where its config says it belongs"
        )
    return end


def _paths(wiring: Wiring | None, model: str | None) -> Paths | None:
    if wiring is not None:
        return wiring.paths
    if model is None:
        return None
    name = model.lower()
    architecture = next((a for pattern, a in _FAMILIES if re.search(pattern, name)), None)
    return None if architecture is None else WIRINGS[architecture].paths


def _called(wiring: Wiring | None, model: str | None) -> str:
    return model or (wiring.family if wiring is not None else "this model")
