"""The settings of a training run: one dataclass, its defaults and every check of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.models.parts import RESIDUAL, ReadPoint, WritePoint
from circuit_tracer.transcoders.dictionary import Kind

ROW_LENGTH = 128
"""Tokens in a row of text where neither the settings nor the model's context say less."""
READS: dict[str, ReadPoint] = {
    "mlp": "mlp.hook_in",
    "hook_resid_mid": "hook_resid_mid",
    "resid": RESIDUAL,
}
WRITES: dict[str, WritePoint] = {"mlp": "mlp.hook_out", "resid": RESIDUAL}
"""Short names of where features read and write."""
_CHOICES = {
    "kind": ("plt", "clt"),
    "activation": ("topk", "jumprelu"),
    "token_weighting": ("per-token", "pooled"),
    "sparsity": ("l0", "tanh"),
    "reads": get_args(ReadPoint),
    "writes": get_args(WritePoint),
    "jacobian_directions": ("iso", "dec", "act", "mix"),
    "precision": ("auto", "fused", "bfloat16", "float32"),
}
_MAY_BE_NONE = ("sparsity", "jacobian_directions")
_POSITIVE = (
    *("n_features", "epochs", "rows_per_forward", "evaluation_tokens", "batch_size"),
    *("dead_steps", "k", "max_tokens", "buffer_tokens", "aux_k"),
)
_NOT_NEGATIVE = ("checkpoint_steps", "aux_weight", "sparsity_weight", "target_l0", "jacobian")
_AT_LEAST = {**dict.fromkeys(_POSITIVE, 1), **dict.fromkeys(_NOT_NEGATIVE, 0), "row_length": 2}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run. Raises UsageError for values that cannot be or that clash."""

    kind: Kind = "plt"
    """Features of each layer alone ("plt") or cross-layer ("clt") transcoders."""
    activation: Literal["topk", "jumprelu"] = "topk"
    """TopK keeps the k largest of every token; JumpReLU learns a threshold for every feature."""
    n_features: int = 1024
    """Features a layer."""
    k: int | None = None
    """Active features a token and layer, for TopK; 16 by default."""
    skip: bool = False
    """Add an affine skip from MLP input to MLP output (starts at zero)."""
    reads: ReadPoint = "mlp.hook_in"
    """Where features read: at the MLP's input, before its norm, or, for sparse autoencoders, the
    residual stream."""
    writes: WritePoint = "mlp.hook_out"
    """Where they write."""
    layers: tuple[int, ...] | None = None
    """The layers after which sparse autoencoders are trained; all of them if None."""

    max_tokens: int | None = None
    """Stop after so many tokens (BOS not counted); the whole text if None."""
    epochs: int = 1
    """Passes over the text at most."""
    row_length: int | None = None
    """Tokens in a row of text, BOS included; 128, or the model's context if that is less."""
    pack: bool = True
    """Fill rows with several documents; without it every document is a row of its own."""
    rows_per_forward: int = 16
    """Rows the model runs at once."""
    buffer_tokens: int | None = None
    """Tokens in the shuffle buffer; as many as fit in 1 GiB if None."""
    held_out_share: float = 0.05
    """Share of the documents kept from training for the evaluation, without a held-out text; 0.5 at
    most."""
    evaluation_tokens: int = 20_000
    """Tokens of held-out text in the evaluation at the end."""

    batch_size: int = 1024
    """Tokens a step."""
    learning_rate: float = 3e-3
    """Adam's rate at its flat part."""
    warm_up: float = 0.02
    """Share of the run in which the rate rises from zero."""
    decay_from: float = 0.4
    """Share of the run after which the rate falls linearly to zero."""
    token_weighting: Literal["per-token", "pooled"] = "per-token"
    """"pooled" minimises the squared error; "per-token" divides each token's by its own variance,
    so that a few tokens of huge norm do not decide everything."""

    jacobian: float = 0.0
    """Weight of the Jacobian term: features respond to a change as the MLP does, so that graphs
    predict what interventions do (jacobian.py); 0 turns it off."""
    jacobian_directions: Literal["iso", "dec", "act", "mix"] | None = None
    """Along which directions: even in the stream (iso, the default), decoder rows of earlier
    layers' active features (dec), changes by interventions on them (act), or the last two in turn
    (mix)."""

    dead_steps: int = 25
    """A feature silent for so many steps counts as dead, and AuxK tries to revive it."""
    aux_weight: float = 1 / 32
    """Weight of the AuxK loss: dead features reconstruct the error; 0 turns it off."""
    aux_k: int | None = None
    """Dead features used a token; half the model's width if None."""

    sparsity: Literal["l0", "tanh"] | None = None
    """JumpReLU: penalise the count of active features (the default), or tanh of their size."""
    target_l0: float | None = None
    """JumpReLU: steer each layer's penalty until so many features are active; 16 by default."""
    sparsity_weight: float | None = None
    """JumpReLU: a fixed weight of the penalty instead of a target."""
    sparsity_warm_up: float = 0.3
    """JumpReLU: share of the run in which L0 is led down to its target, or in which a fixed penalty
    rises from zero."""
    bandwidth: float = 0.5
    """JumpReLU: width of the rectangle that lets thresholds learn, in units of the input's rms."""
    initial_threshold: float = 0.5
    """JumpReLU: where thresholds start, in the same units."""

    precision: Literal["auto", "fused", "bfloat16", "float32"] = "auto"
    """"float32" computes as the earliest version did, to the bit. "fused" is float32, too, with
    fused attention, a faster TopK and dense products for dead features; "bfloat16" also multiplies
    in it, in the model's pass and in the encoder. "auto" is "bfloat16" where the processor has such
    products and the model is in float32, else "fused"."""

    checkpoint_steps: int = 500
    """Write a checkpoint every so many steps; 0 for none."""
    seed: int = 0
    """Seed of the first features and of the shuffling."""

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_places()
        self._check_clashes()

    @property
    def is_residual(self) -> bool:
        """Whether these are sparse autoencoders of the residual stream."""
        return self.reads == RESIDUAL

    @property
    def made_kind(self) -> Kind:
        """The kind of the dictionary that comes out."""
        return "sae" if self.is_residual else self.kind

    @property
    def active(self) -> int:
        """TopK's k with its default filled in."""
        return 16 if self.k is None else self.k

    @property
    def needs_changes(self) -> bool:
        """Whether the Jacobian term is taken along changes that interventions make."""
        return self.jacobian > 0 and self.jacobian_directions in ("act", "mix")

    @property
    def l0_goal(self) -> float | None:
        """JumpReLU's target L0 with its default filled in; None if the weight is fixed."""
        if self.sparsity_weight is not None:
            return None
        return 16.0 if self.target_l0 is None else self.target_l0

    def as_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingConfig:
        """Settings from plain values; UsageError names an unknown one."""
        known = {f.name for f in fields(cls)}
        for name in values:
            if name not in known:
                raise UsageError(
                    f'there is no training setting "{name}"; the settings are '
                    f"{', '.join(sorted(known))}"
                )
        if isinstance(listed := values.get("layers"), list):  # as JSON has it
            values = {**values, "layers": tuple(listed)}
        return cls(**{"precision": "float32", **values})  # as it was before there was a choice

    def _check_ranges(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) is not None or name not in _MAY_BE_NONE:
                one_of(f"`{name}`", value, allowed)
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"`{name}` is {value}; it has to be at least {least}")
        for name in ("learning_rate", "bandwidth", "initial_threshold"):
            if not getattr(self, name) > 0:
                value = getattr(self, name)
                raise UsageError(f"`{name}` is {value}; it has to be above 0")
        for name in ("warm_up", "decay_from", "sparsity_warm_up", "held_out_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it is a share from 0 to 1")
        if self.held_out_share > 0.5:  # every n-th document is kept, and the first is an n-th
            raise UsageError(
                f"held_out_share is {self.held_out_share}; at most every other document (0.5) can "
                "be kept from training"
            )

    def _check_places(self) -> None:
        if self.is_residual != (self.writes == RESIDUAL):
            raise UsageError(
                f"`reads` {self.reads} and `writes` {self.writes} clash: a sparse autoencoder "
                "reads and writes the residual stream, and a transcoder neither; give both as "
                "resid, or leave both out"
            )
        if self.is_residual and self.jacobian:
            raise UsageError(
                "`jacobian` is for transcoders of MLPs, whose response it teaches, and this is a "
                "sparse autoencoder of the residual stream; leave it out"
            )
        if self.is_residual and (self.kind == "clt" or self.skip):
            raise UsageError(
                f"`{'skip' if self.skip else 'kind'}` is for transcoders of MLPs, and this is a "
                "sparse autoencoder of the residual stream; leave it out"
            )
        if self.layers is None:
            return
        if not self.is_residual:
            raise UsageError(
                "`layers` is for sparse autoencoders of the residual stream (`reads` resid, "
                "`writes` resid): transcoders have every layer; leave it out"
            )
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise UsageError(
                f"`layers` {','.join(map(str, self.layers))} must be different layers in rising "
                "order, such as 1,2,3"
            )

    def _check_clashes(self) -> None:
        topk = self.activation == "topk"
        if topk:
            for name in ("sparsity", "target_l0", "sparsity_weight"):
                if getattr(self, name) is not None:
                    raise UsageError(
                        f"`{name}` and `activation` topk clash: TopK's sparsity is `k`; "
                        f"leave `{name}` out or choose `activation` jumprelu"
                    )
        elif self.k is not None:
            raise UsageError(
                "`k` and `activation` jumprelu clash: JumpReLU's sparsity is `target_l0` (or "
                "sparsity_weight); leave `k` out or choose `activation` topk"
            )
        if self.target_l0 is not None and self.sparsity_weight is not None:
            raise UsageError(
                "`target_l0` and sparsity_weight clash: a target steers the weight itself; give one"
            )
        if topk and self.active > self.n_features:
            raise UsageError(
                f"`k` ({self.active}) and `n_features` ({self.n_features}) clash: no more features "
                "can be active than there are; lower `k` or raise `n_features`"
            )
        if self.jacobian_directions is not None and not self.jacobian:
            raise UsageError(
                "`jacobian_directions` is used with `jacobian` alone; give its weight (0.1, say), "
                "or leave it out"
            )
        if self.warm_up > self.decay_from:
            raise UsageError(
                f"warm_up ({self.warm_up}) and decay_from ({self.decay_from}) clash: the rate "
                "would fall before it has risen; lower warm_up or raise decay_from"
            )
        if self.buffer_tokens is not None and self.buffer_tokens < self.batch_size:
            raise UsageError(
                f"buffer_tokens ({self.buffer_tokens}) and `batch_size` ({self.batch_size}) "
                "clash: the buffer has to hold a batch; raise buffer_tokens or lower `batch_size`"
            )
