"""An opened model: tokenizer, wiring and the forward passes the tool needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import ModelError, PromptError, UsageError
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.models.capture import (
    Capture,
    Edits,
    MlpActivity,
    Replacement,
    capture_forward,
    capture_mlps,
    run_edited,
    run_with_mlps,
    wrap,
)
from circuit_tracer.models.chat import (
    chat_text,
    default_zeroed_positions,
    leading_id,
    starts_whole,
)
from circuit_tracer.models.devices import parse_device, parse_dtype
from circuit_tracer.models.families import wiring_class
from circuit_tracer.models.opening import find_model, identity_of, load_module, load_tokenizer
from circuit_tracer.models.parallel import is_finite
from circuit_tracer.models.parts import ReadPoint, WritePoint
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.models.patterns import stores_patterns, with_patterns
from circuit_tracer.models.token_names import TokenNames, plain_ids, unknown_word
from circuit_tracer.models.wiring import Wiring


@dataclass(frozen=True)
class Model:
    """A causal language model, its tokenizer and its wiring. Made by `open_model`."""

    module: Any = field(repr=False)
    """The Hugging Face module."""
    tokenizer: Any = field(repr=False)
    wiring: Wiring = field(repr=False)
    identity: Identity
    wrapped: Any = field(repr=False)
    """The nnsight view of the module."""
    weights_dtype: str
    """What the weights were rounded to ("bfloat16", ...); computing is in `torch_dtype`."""
    notes: tuple[str, ...] = ()
    """What was done to weights or left out when it was opened, in sentences for the user."""

    @classmethod
    def from_module(
        cls,
        module: Any,
        tokenizer: Any,
        *,
        weights_dtype: torch.dtype | None = None,
    ) -> Model:
        """Wire a module already in memory (a random one in tests, a fine-tuned one).

        The module itself is changed: eval mode, no gradients, eager attention, half precision
        computed with in float32, and in float64 norms that compute in float64.
        """
        rounded = weights_dtype or next(module.parameters()).dtype
        if next(module.parameters()).dtype in (torch.bfloat16, torch.float16):
            # Sums of a residual stream rounded at every step are not linear, and small edges come
            # out wrong by factors: keep the rounded weights, compute in float32.
            module = module.float()
        wiring = wiring_class(type(module).__name__)(module)
        module.eval().requires_grad_(False)
        module.set_attn_implementation("eager")
        if next(module.parameters()).dtype == torch.float64:
            wiring.make_exact()
        return cls(
            module,
            tokenizer,
            wiring,
            Identity(name=type(module).__name__, source="memory", sha256="", kind=wiring.family),
            wrap(module, tokenizer),
            str(rounded).removeprefix("torch."),
        )

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return self.wiring.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.wiring.d_model

    @property
    def max_length(self) -> int:
        """Longest prompt in tokens, BOS included."""
        return self.wiring.max_length

    @property
    def steady_length(self) -> int:
        """Longest row of tokens whose pass does not depend on its length, padding included."""
        return min(self.max_length, self.wiring.steady_length or self.max_length)

    @property
    def device(self) -> torch.device:
        """Where prompts go in (the embedding's device)."""
        device: torch.device = self.module.get_input_embeddings().weight.device
        return device

    @property
    def torch_dtype(self) -> torch.dtype:
        """dtype of the weights."""
        dtype: torch.dtype = next(self.module.parameters()).dtype
        return dtype

    @property
    def bos_id(self) -> int | None:
        """Vocabulary id of the token rows start with: BOS, or what takes its place."""
        return leading_id(self.tokenizer, self.wiring.n_vocabulary)

    @property
    def unembedding(self) -> Float[Tensor, "V d"]:
        """Output directions of the vocabulary."""
        return self.wiring.unembedding()

    def tokenize(self, prompt: str, *, chat: bool = False, system: str | None = None) -> list[int]:
        """Token ids of a prompt, led by the token that `models/chat.py` describes.

        With `chat`, the prompt is one user turn (after a system turn) in the tokenizer's template.
        Raises PromptError for an empty prompt, a word the tokenizer does not know (named), a
        prompt longer than the model's context, and what a chat template does not take.
        """
        if not prompt.strip():
            raise PromptError("the prompt is empty; give some text to trace")
        try:
            (prompt + (system or "")).encode()
        except UnicodeEncodeError as error:
            raise PromptError("the prompt is not valid UTF-8 text; type it again") from error
        text = chat_text(self.tokenizer, prompt, system=system) if chat else prompt
        ids = self._text_ids(text)
        first = self.bos_id
        # The tokenizer's own marks were left out: some would put an end mark after the prompt.
        if first is not None and not starts_whole(self.tokenizer, ids, first, chat=chat):
            ids = [first, *ids]
        while first is not None and ids[:2] == [first, first]:
            del ids[1]  # a prompt pasted with its BOS
        if max(ids, default=0) >= self.wiring.n_vocabulary:
            raise ModelError(
                f"the tokenizer of {self.identity.name} knows tokens that the model does not "
                f"({max(ids)} of {self.wiring.n_vocabulary}); it belongs to another model"
            )
        if len(ids) > self.max_length:
            raise PromptError(
                f"the prompt has {len(ids)} tokens and {self.identity.name} takes at most "
                f"{self.max_length}; shorten it"
            )
        return ids

    def _text_ids(self, text: str) -> list[int]:
        """Token ids of a text, with nothing added."""
        ids = plain_ids(self.tokenizer, text, self.identity.name)
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in ids and unknown != self.bos_id:
            word = unknown_word(self.tokenizer, text, unknown)
            raise PromptError(
                f'the tokenizer of {self.identity.name} does not know "{word}"; use other words '
                f"(`circuit-tracer models inspect {self.identity.name} --vocabulary` lists them)"
            )
        return ids

    def zeroed_positions(self, token_ids: list[int]) -> int:
        """How many leading positions carry no features and no errors by default."""
        family = str(getattr(self.module.config, "model_type", ""))
        return default_zeroed_positions(self.tokenizer, token_ids, family=family)

    @cached_property
    def token_names(self) -> TokenNames:
        """The names of the vocabulary; made when the first one is asked for."""
        return TokenNames(self.tokenizer, owner=self.identity.name, size=self.wiring.n_vocabulary)

    def token_text(self, token_id: int) -> str:
        """One token as text, leading blank kept; `token_id` gives the token back."""
        return self.token_names.text(token_id)

    def token_id(self, text: str, *, continues: bool = False) -> int:
        """The single token a user means by `text`: exactly as typed, as shown (␣yes), or id:343.

        A text that is no token is looked for with a leading blank; with `continues` that comes
        first, for words that are to follow others. Raises PromptError when it is no single token.
        """
        return self.token_names.token_id(text, continues=continues)

    def needed(self, token_ids: list[int], first: int | None = None) -> list[int]:
        """The tokens to run for what a prompt's pass is at its first positions.

        Those alone, the model being causal, unless rotations depend on the whole prompt's length.
        """
        if first is None or self.wiring.turns_by_length(len(token_ids)):
            return token_ids
        return token_ids[:first]

    def capture(self, token_ids: list[int], first: int | None = None) -> Capture:
        """One forward pass with everything the local replacement model needs.

        `first` limits it to so many positions of the prompt's pass.
        """
        return self.captures([token_ids], first)[0]

    def captures(self, token_ids: list[list[int]], first: int | None = None) -> list[Capture]:
        """Several prompts in one pass; what is `needed` of them must be equally long."""
        needed = [self.needed(ids, first) for ids in token_ids]
        ids = torch.tensor(needed, dtype=torch.long, device=self.device)
        stored = stores_patterns(self.wiring, *ids.shape)
        found = capture_forward(self.wrapped, self.wiring, ids, keep_patterns=stored)
        found = found if first is None else [one.first(first) for one in found]
        return found if stored else [with_patterns(one, self.wiring) for one in found]

    def mlp_activity(
        self,
        token_ids: Tensor,
        reads: ReadPoint = "mlp.hook_in",
        writes: WritePoint = "mlp.hook_out",
        at: Sequence[int] | None = None,
        places: Int[Tensor, "n"] | None = None,
        into: MlpActivity | None = None,
    ) -> MlpActivity:
        """What a dictionary reads and has to write, for rows of token ids (B, T).

        At every layer, or at the layers `at` alone, in rising order; at every token, or at some
        `places` (row * T + position), put `into` tensors (L, n, d) where such are given.
        """
        ids, points = token_ids.to(self.device), (reads, writes, at, places, into)
        return capture_mlps(self.wrapped, self.wiring, ids, *points)

    def edited(
        self,
        token_ids: Int[Tensor, "B T"],
        edits: Edits,
        *,
        positions: Int[Tensor, "P"] | None = None,
        cache: Any = None,
        gradients: bool = False,
    ) -> Float[Tensor, "B P V"]:
        """Logits before a soft-cap of a pass in which modules' outputs are edited.

        With `gradients` they can be differentiated by what `edits` gave that requires it.
        """
        with torch.set_grad_enabled(gradients):
            return run_edited(
                self.wrapped,
                self.wiring,
                token_ids.to(self.device),
                edits,
                positions=positions,
                cache=cache,
            )

    def probabilities(self, logits: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
        """From logits before a soft-cap; at least in float32."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        cap = self.wiring.logit_softcap
        return (wide if cap is None else cap * (wide / cap).tanh()).softmax(-1)

    def replaced(
        self,
        token_ids: Tensor,
        replace: Replacement | None,
        reads: ReadPoint = "mlp.hook_in",
        writes: WritePoint = "mlp.hook_out",
    ) -> Float[Tensor, "B T V"]:
        """The model's logits with what a dictionary writes replaced at every layer."""
        ids = token_ids.to(self.device)
        return run_with_mlps(self.wrapped, self.wiring, ids, replace, reads, writes)

    def loss(
        self,
        token_ids: Tensor,
        replace: Replacement | None = None,
        reads: ReadPoint = "mlp.hook_in",
        writes: WritePoint = "mlp.hook_out",
    ) -> Tensor:
        """Next-token cross-entropy in nats (B, T - 1), optionally with what a dictionary writes
        replaced at every layer."""
        ids = token_ids.to(self.device)
        logits = self.replaced(ids, replace, reads, writes)
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none"
        )


@gradients_recorded()
def open_model(
    reference: str | Path,
    *,
    dtype: str | torch.dtype = "float32",
    device: str = "auto",
    device_map: str | None = None,
    tensor_parallel: bool = False,
) -> Model:
    """Open a model by bundled name, folder, GGUF file or hub name ("org/name@revision").

    "bfloat16" and "float16" round the weights; all computing is then in float32. `device_map`
    ("auto", ...) spreads layers over the GPUs of this machine, `tensor_parallel` heads and neurons
    over the processes of `torchrun`. Raises ModelError (unknown, damaged, unsupported architecture,
    NaN weights, not to be spread) and UsageError (dtype, device), each with one sentence.
    """
    torch_dtype = parse_dtype(dtype) if isinstance(dtype, str) else dtype
    if device_map is not None and tensor_parallel:
        raise UsageError(
            "`device_map` spreads a model from one process and torchrun over several; "
            "leave out one of them"
        )
    spread = device_map is not None or tensor_parallel
    source = find_model(reference)
    loaded = load_module(
        source,
        dtype=torch_dtype,
        device=device if spread else parse_device(device, torch_dtype),
        device_map=device_map,
        tensor_parallel=tensor_parallel,
    )
    module = loaded.module
    for name, parameter in module.named_parameters():
        if not is_finite(parameter):
            raise ModelError(
                f"the model {source.name} has NaN or infinite weights in {name}; "
                "get its files again"
            )
    tokenizer = load_tokenizer(source)
    rounded = loaded.stored_dtype or torch_dtype
    model = Model.from_module(module, tokenizer, weights_dtype=rounded)
    identity = identity_of(source, model.wiring.family, loaded.files)
    return replace(model, identity=identity, notes=loaded.notes)
