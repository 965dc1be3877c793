"""Options that decide what is traced of a prompt and how: those of `trace` and of `batch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from circuit_tracer.attribution import settings
from circuit_tracer.cli import invocation
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import option

if TYPE_CHECKING:
    from circuit_tracer.attribution.settings import Cotangents

Chat = Annotated[
    bool, option("--chat", help="Put the prompt into the model's chat template, as the user's.")
]
System = Annotated[str | None, option("--system", help="The system turn before it; needs --chat.")]
Target = Annotated[
    list[str] | None,
    option(
        "--target",
        help="Explain this token, exactly as typed or by id:343, not the model's own; repeatable.",
    ),
]
Contrast = Annotated[
    str | None,
    option(
        "--contrast", help='"yes,no": explain logit(yes) - logit(no); a comma of a token is \\,.'
    ),
]
WhyNot = Annotated[
    str | None,
    option("--why-not", help="A token the model did not choose: explain what kept it down."),
]
Position = Annotated[
    int,
    option(
        "--position", help="Explain what follows this token; 0 is the first one (BOS), -1 the last."
    ),
]
TargetFeature = Annotated[
    str | None,
    option(
        "--target-feature",
        help="SET:L1/355: explain a feature's pre-activation, of this dictionary or SET.",
    ),
]
TargetDirection = Annotated[
    Path | None,
    option("--target-direction", help="Explain the direction in this safetensors file."),
]
TargetPrompts = Annotated[
    tuple[Path, Path] | None,
    option(
        "--target-prompts",
        metavar="POSITIVE NEGATIVE",
        help="Explain the mean difference of two prompt files at their last tokens.",
    ),
]
TargetLayer = Annotated[
    int | None,
    option("--target-layer", min=0, help="After which layer that direction lies."),
]
MaxNLogits = Annotated[
    int, option("--max-n-logits", min=1, help="Most targets the model's own choice may take.")
]
DesiredLogitProb = Annotated[
    float, option("--desired-logit-prob", help="Probability these targets reach together.")
]
MaxFeatureNodes = Annotated[
    int | None,
    option(
        "--max-feature-nodes",
        min=0,
        help="Most features whose inputs are computed; by default 7500, or 3,000,000 / tokens.",
    ),
]
Coverage = Annotated[
    float | None,
    option("--coverage", help="Stop when less than 1 - this influence can still hide."),
]
EdgeFloor = Annotated[
    float | None,
    option(
        "--edge-floor",
        help="Edges with less of the influence stay as exact sums; by default none, or 2e-8 "
        "from 20 million edges on.",
    ),
]
ZeroPositions = Annotated[
    int | None,
    option(
        "--zero-positions",
        min=0,
        help="Leading positions without features; by default 1 if the prompt starts with a special "
        "token (BOS), 4 in Gemma 3 chats.",
    ),
]
BatchSize = Annotated[
    int, option("--batch-size", min=1, help="Rows at a time; the graph does not depend on it.")
]

_SETTINGS = (
    "chat",
    "system",
    "contrast",
    "why_not",
    "position",
    "max_n_logits",
    "desired_logit_prob",
    "max_feature_nodes",
    "coverage",
    "edge_floor",
    "batch_size",
)
"""Options that are settings of the same name."""
TRACED = ("target", "zero_positions", *_SETTINGS)
"""All options that a graph's settings are made of, but for --dtype."""


def refuse_idle(target: list[str] | None, contrast: str | None, why_not: str | None) -> None:
    """Refuse options of the model's own choice of targets where the caller chooses them."""
    given = invocation.values()
    named = {"--target": target, "--contrast": contrast, "--why-not": why_not} | {
        f"--{name.replace('_', '-')}": given.get(name)
        for name in ("target_feature", "target_direction", "target_prompts")
    }
    for flag, value in named.items():
        refuse_with("--max-n-logits", "--desired-logit-prob", other=flag, there=value)


def trace_settings(cotangents: Cotangents | None) -> settings.TraceSettings:
    """The settings that the running command's options say. Raises UsageError for what cannot be."""
    given = invocation.values()
    return settings.TraceSettings(
        targets=tuple(given["target"] or ()),
        zeroed_positions=given["zero_positions"],
        cotangents=cotangents,
        **{name: given[name] for name in _SETTINGS},
    )
