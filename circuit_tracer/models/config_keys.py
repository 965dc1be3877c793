"""Keys of a config.json: used by the model's class, known to change nothing, noted or refused.

transformers keeps keys that a config class does not know and computes without them. Here
* a key that some architecture computes with (`residual_multiplier`, `final_logit_softcapping`, ...)
  and this one does not is refused, unless it has the value that changes nothing;
* a key under another name than the class's has to say the same (`n_ctx` and `n_positions`);
* metadata, generation settings, dropout and initialisation are harmless;
* what is left is named in a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import transformers

from circuit_tracer.errors import ModelError

_METADATA = re.compile(
    r"_.*|architectures|model_type|(torch_)?dtype|transformers[._].*|auto_map|quantization_config|"
    r"compression_config|.*_version|unsloth_.*|is_llama_config|name_or_path|license|language|"
    r"task_specific_params|tokenizer_class|cache_implementation|use_cache|gradient_checkpointing|"
    r"seq_length|seq_len|max_seq(uence)?_len(gth)?|model_max_length|.*_token_(id|index)|summary_.*|"
    r".*drop(out)?|initializer_.*|init_.*|use_flash.*|attn_implementation|attn_impl|pretraining_tp|"
    r"use_bfloat16|torchscript|tf_legacy_loss|tie_encoder_decoder|.*_softmax_in_fp32|"
    r"output_(attentions|hidden_states|scores|logits)|"
    r"id2label|label2id|num_labels|problem_type|finetuning_task|return_dict(_in_generate)?|prefix|"
    r"classifier_\w+|mm_tokens_per_image|vision_\w+|chat_template|vocab_size|use_return_dict"
)
_BY_SHAPE = {"head_dim", "num_key_value_heads", "intermediate_size", "attention_bias", "mlp_bias"}
_BY_SHAPE |= {"qkv_bias", "bias", "use_bias", "pruned_heads", "hidden_size", "n_inner"}
"""What these say is checked by the shapes and names of the weights."""
_ROPE = {"rope_theta", "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings"}
_OLDER = {
    "gpt_neox": {"rotary_pct", "rotary_emb_base"},
    "gemma3_text": {"sliding_window_pattern", "rope_local_base_freq"},
}
"""Names in published configs that the class takes besides its own."""
_SAME_AS = {
    "hidden_act": ("hidden_activation", "activation_function"),
    "hidden_activation": ("hidden_act", "activation_function"),
    "activation_function": ("hidden_act", "hidden_activation"),
    "n_ctx": ("n_positions",),
    "sliding_window_size": ("sliding_window",),
    "layer_norm_eps": ("rms_norm_eps", "layer_norm_epsilon"),
    "layer_norm_epsilon": ("rms_norm_eps", "layer_norm_eps"),
    "rms_norm_eps": ("layer_norm_eps", "layer_norm_epsilon"),
    "norm_eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
}
"""Names that say the same thing: the class's own decides, so this one must agree with it."""
_COMPUTES = re.compile(
    r"\w*(multiplier|softcap|scal(e|ing|es)\b|scal(e|ing)_|alibi|rope|rotary|experts?\b|clip_qkv|"
    r"qk_?(layer)?_?norm|nope|lambda|temperature_tuning|mup|chunk_size|parallel|cross_attention)\w*|"
    r"is_causal|use_bidirectional_attention|query_pre_attn_scalar|norm_type|layer_norm_type|"
    r"post_norm|pre_norm|position_embedding_type|no_rope_layers|embedding_norm|dim_model_base|"
    r"sliding_window|layer_types|window_size|attention_window_size|attention_types|logit_\w+"
)
"""Names of what some architectures compute with."""
_ROPE_ENTRIES = {"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor"}
_ROPE_ENTRIES |= {"original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"}
_ROPE_ENTRIES |= {"mscale", "mscale_all_dim", "short_factor", "long_factor", "truncate"}
_ROPE_ENTRIES |= {"partial_rotary_factor", "finetuned"}
_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")


def check_config(raw: Mapping[str, Any], config: Any, name: str) -> tuple[str, ...]:
    """Notes on keys that the model does not use; ModelError for one that would change it.

    `raw` is what config.json says and `config` what transformers made of it.
    """
    _check_code(raw, name)
    if getattr(config.get_text_config(), "use_bidirectional_attention", None):
        raise ModelError(
            f'config.json of {name} says "use_bidirectional_attention", so its tokens see later '
            "ones; graphs are of models that predict the next token from earlier ones"
        )
    parts = [(raw, config)]
    if isinstance(raw.get("text_config"), Mapping):
        parts.append((raw["text_config"], config.get_text_config()))
    unused = []
    for part, made in parts:
        _check_rope(part, name)
        for key in _unknown(part, made):
            if _would_change(key, part, made):
                raise ModelError(
                    f'config.json of {name} says "{key}": {str(part[key])[:60]}, which '
                    f"{type(made).__name__} of transformers does not compute with, so another "
                    "model would be traced; correct the model_type, or remove the key if it "
                    "changes nothing"
                )
            if key not in _SAME_AS and not _is_neutral(key, part[key]):
                unused.append(key)
    if not unused:
        return ()
    return (f"config.json says {', '.join(unused[:8])}, which this architecture does not use",)


def _check_code(raw: Mapping[str, Any], name: str) -> None:
    """Code that comes with a model is not run, so a model computed by it cannot be traced."""
    code = raw.get("auto_map") or {}
    own = [key for key in code if key.startswith("AutoModel")] if isinstance(code, Mapping) else []
    if own:
        raise ModelError(
            f"config.json of {name} asks for code of its own ({own[0]}: "
            f"{str(code[own[0]])[:60]}), which is never run; if transformers' own "
            "architecture computes the same, remove auto_map from config.json"
        )


def _unknown(part: Mapping[str, Any], made: Any) -> Iterator[str]:
    """Keys that neither the class nor anybody else computes with, as far as names say."""
    known = {
        name
        for kind in (type(made), transformers.PreTrainedConfig)
        for name in getattr(kind, "__dataclass_fields__", ())
    }
    known |= set(made.attribute_map) | set(transformers.GenerationConfig().to_dict()) | _BY_SHAPE
    known |= _OLDER.get(made.model_type, set())
    if "rope_parameters" in known:
        known |= _ROPE
    for key in part:
        if key not in known and not _METADATA.fullmatch(key):
            yield key


def _would_change(key: str, part: Mapping[str, Any], made: Any) -> bool:
    """Whether a key that the class does not know asks for another computation."""
    value = part[key]
    if key in _SAME_AS:
        own = [getattr(made, other) for other in _SAME_AS[key] if hasattr(made, other)]
        return bool(own) and not _is_neutral(key, value) and value not in own
    if key == "use_sliding_window":  # a class without the key slides wherever there is a window
        return value is False and bool(getattr(made, "sliding_window", None))
    if _is_neutral(key, value) or not _COMPUTES.fullmatch(key):
        return False
    if key == "layer_types":
        return set(value) != {"full_attention"}
    if key in ("sliding_window", "max_window_layers") and part.get("use_sliding_window") is False:
        return False
    if key == "sliding_window":
        return not value >= (getattr(made, "max_position_embeddings", None) or 0)
    return True


def _is_neutral(key: str, value: Any) -> bool:
    """Whether a value is the one that changes nothing."""
    if key == "is_causal":
        return value in (None, True)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        factor = re.search(r"multiplier|scal|ratio|factor", key)
        return value == (1 if factor else 0)
    return not value or value in ("none", "default", "rope", "rotary", "rmsnorm")


def _check_rope(part: Mapping[str, Any], name: str) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        given = part.get(key)
        if not isinstance(given, Mapping):
            continue
        nested = [entry for entry in given.values() if isinstance(entry, Mapping)]
        for entry in nested or [given]:
            kind = entry.get("rope_type", entry.get("type", "default" if nested else None))
            odd = sorted(set(entry) - _ROPE_ENTRIES)
            scaled = entry.get("factor") not in (None, 1)
            if (
                odd
                or (kind or "default") not in _ROPE_TYPES
                or (scaled and kind in (None, "default"))
            ):
                raise ModelError(
                    f'config.json of {name} says "{key}": {str(dict(given))[:80]}, whose '
                    f"{f'entry {odd[0]}' if odd else f'type {kind}'} is not known, so rotary "
                    "positions would be others than the model's; correct it"
                )
