"""The calls that open a model: trace a prompt, steer a text, run the dissociation experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import OnProgress
from circuit_tracer.bundled import DEFAULT_MODEL, shipped_specs
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.report import terminal
from circuit_tracer.experiments.dissociation.results import Report as Dissociation
from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.dissociation.study import Settings
from circuit_tracer.graphs import prune
from circuit_tracer.graphs.pruning import check_thresholds
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.interventions.selection import parse_feature
from circuit_tracer.interventions.steering import Steered, dose_curve
from circuit_tracer.models import Model
from circuit_tracer.models.chat import check_system
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.render.effects import steering_page
from circuit_tracer.transcoders.neurons import AnyDictionary
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.directions import Prompts, check_directions, direction_target
from circuit_tracer.workbench.dissociating import (
    EXPERIMENT,
    dictionary_for,
    folder_name,
    study_on,
)
from circuit_tracer.workbench.feature_edits import steer_prompts
from circuit_tracer.workbench.listings import totals_listed
from circuit_tracer.workbench.named_settings import made_from
from circuit_tracer.workbench.opening import Opened, accepted, parse_dtype
from circuit_tracer.workbench.report_folder import check_report_folder
from circuit_tracer.workbench.results import WIDTH, Listing, Report
from circuit_tracer.workbench.shipped import find_given
from circuit_tracer.workbench.traced_graph import TracedGraph
from circuit_tracer.workbench.tracing import totals_only, traced_prompt

AnyModel = str | Path | Model | Opened
"""A model by name (bundled, folder, GGUF file, hub), or opened, alone or with its dictionary."""
AnyTranscoders = str | Path | AnyDictionary
"""A dictionary by name or folder, "neurons", or opened."""


def trace(
    prompt: str,
    *,
    model: AnyModel = DEFAULT_MODEL,
    transcoders: AnyTranscoders | None = None,
    targets: str | Sequence[str] = (),
    target_feature: str | None = None,
    target_direction: str | Path | None = None,
    target_prompts: tuple[Prompts, Prompts] | None = None,
    target_layer: int | None = None,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    device: str = "auto",
    dtype: str = "float32",
    on_progress: OnProgress | None = None,
    **settings: Any,
) -> TracedGraph:
    """Trace a prompt into an attribution graph: which features lead to which answer.

    `model` and `transcoders` are names, folders or opened objects; the bundled dictionary or the
    model's own neurons by default. `targets` are tokens to explain, by default the model's own
    first choices. `target_feature` ("L1/355", of another dictionary "clt:L1/355"),
    `target_direction` (a safetensors file with one vector) or `target_prompts` (two prompt sets,
    compared after `target_layer`) explains a direction inside the model in place of tokens.
    The thresholds are the shares of influence that nodes and edges are kept to.
    `settings` are the other fields of `TraceSettings`: `contrast`, `why_not`, `position`,
    `max_n_logits`, `max_feature_nodes`, `chat`, ... `device` and `dtype` say how what is given by
    name is opened. Features have the labels of the dictionary's cards.

    Raises PromptError, ModelError, DictionaryError and UsageError, one sentence each, and
    ConservationError for a graph whose sums miss the model's values.

    >>> import circuit_tracer as ct
    >>> g = ct.trace("a banana is", model="sprout", transcoders="plt", targets=["yellow"])
    >>> [target.token for target in g.targets]
    ['yellow']
    """
    _check_prompt(prompt)
    check_arguments(trace, locals())
    check_thresholds(node_threshold, edge_threshold)
    weights, cotangents = parse_dtype(dtype)
    if cotangents is not None:
        settings.setdefault("cotangents", cotangents)
    wanted = target_feature, target_direction, target_prompts, target_layer
    asked = _asked(targets, wanted, settings)
    opened = accepted(model, transcoders, device=device, dtype=weights)
    direction = direction_target(opened, *wanted)
    traced = traced_prompt(opened, prompt, asked, direction, on_progress)
    pruned = prune(traced.graph, node_threshold=node_threshold, edge_threshold=edge_threshold)
    return TracedGraph(opened.labelled(pruned), opened=opened)


def totals(
    prompt: str,
    *,
    model: AnyModel = DEFAULT_MODEL,
    transcoders: AnyTranscoders | None = None,
    targets: str | Sequence[str] = (),
    target_feature: str | None = None,
    target_direction: str | Path | None = None,
    target_prompts: tuple[Prompts, Prompts] | None = None,
    target_layer: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    on_progress: OnProgress | None = None,
    **settings: Any,
) -> Listing[TokenTotals]:
    """What every token does to each target along all paths at once, without a graph.

    Arguments as in `trace`; what budgets a graph has no effect, because nothing is left out. An
    item for each target, as `g.totals()` gives them: `total`, `direct` and `shares` by position,
    `error`, `constant`, `value`. Raises what `trace` raises.

    >>> import circuit_tracer as ct
    >>> effects = ct.totals("a banana is", model="sprout", targets=["yellow"])[0]
    >>> [round(share, 1) for share in effects.shares]
    [0.1, 0.3, 0.5, 0.2]
    """
    _check_prompt(prompt)
    check_arguments(totals, locals())
    weights, cotangents = parse_dtype(dtype)
    if cotangents is not None:
        raise UsageError(f"`dtype` {dtype} is of a graph's rows; totals take the model's own")
    wanted = target_feature, target_direction, target_prompts, target_layer
    asked = _asked(targets, wanted, settings)
    opened = accepted(model, transcoders, device=device, dtype=weights)
    direction = direction_target(opened, *wanted)
    return totals_listed(totals_only(opened, prompt, asked, direction, on_progress).info)


def _asked(targets: str | Sequence[str], wanted: Any, settings: Mapping[str, Any]) -> TraceSettings:
    """The settings of a call, checked with what it explains."""
    check_directions(*wanted)
    words = (targets,) if isinstance(targets, str) else tuple(targets)
    return made_from(TraceSettings, {"targets": words, **settings})


def _check_prompt(prompt: object) -> None:
    """Raise UsageError for a model in its place: the engine's own `trace` takes one first."""
    if not isinstance(prompt, str):
        raise UsageError(
            f"`prompt` is a {type(prompt).__name__}; the call is trace(prompt, model=..., "
            "transcoders=...), and the engine's is `circuit_tracer.attribution.trace`"
        )


def steer(
    model: AnyModel,
    prompt: str | Sequence[str],
    features: Mapping[str, float],
    *,
    of_max: bool = False,
    times: bool = False,
    transcoders: AnyTranscoders | None = None,
    doses: Sequence[float] | None = None,
    at: str | int | Sequence[int] = "all",
    max_new_tokens: int = 20,
    target: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    system: str | None = None,
    device: str = "auto",
) -> Report[Steered]:
    """Continue a prompt with features clamped, and with nothing changed.

    `features` are names with strengths: activations, as in upstream, or with `of_max` multiples
    of each feature's maximum, with `times` of its activation in that very text.
    `.prompts[0][1]` has the text `before` and the `doses`, which are strengths of the strongest
    feature; the others keep their ratio to it. `at` is "all", "prompt", "generated" or positions.
    `target` is the token whose probability (0..1) is
    followed. `chat` puts prompts into the model's chat template, after a `system` turn. Raises
    UsageError for a name that is no feature.

    >>> import circuit_tracer as ct
    >>> steered = ct.steer("sprout", "the sky is", {"L4/288": 10}, of_max=True, max_new_tokens=2)
    >>> steered.features[0].name, steered.prompts[0][1].at(10).strength
    ('L4/288', 10.0)
    """
    if of_max and times:
        raise UsageError("`of_max` and `times` exclude each other; give one of them")
    try:
        named = [parse_feature(name) for name in features]
        amounts = [float(features[name]) for name in features]
    except (TypeError, ValueError, AttributeError):
        named = []
    if not named:
        raise UsageError('`features` must be names with strengths, such as {"L4/288": 10}')
    check_arguments(steer, locals())
    check_system(system, chat=chat)
    prompts = [prompt] if isinstance(prompt, str) else [*prompt]
    if not prompts:
        raise UsageError("there is no text to go on from; give one in `prompt`")
    if max_new_tokens < 1:
        raise UsageError(f"`max_new_tokens` {max_new_tokens} must be at least 1")
    amount = max(amounts, key=abs)
    are_equal = len(set(amounts)) == 1
    steered = steer_prompts(
        accepted(model, transcoders, device=device),
        prompts,
        named,
        amount,
        unit="of-max" if of_max else "times" if times else "value",
        doses=dose_curve(amount) if doses is None else sorted({*doses, amount}),
        at=at if isinstance(at, str) else ",".join(map(str, [at] if isinstance(at, int) else at)),
        max_new_tokens=max_new_tokens,
        target=target,
        temperature=temperature,
        seed=seed,
        chat=chat,
        system=system,
        shares=() if are_equal else [one / amount for one in amounts],
    )
    return Report(steered, steering_page(steered))


def dissociate(
    spec: str | Path,
    *,
    model: AnyModel | None = None,
    transcoders: AnyTranscoders | None = None,
    out: str | Path = "outputs",
    quick: bool = False,
    seed: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
    on_progress: OnStage | None = None,
) -> Report[Dissociation]:
    """Are a fact and the judgement of it two routes? Runs the experiment of a spec.

    `spec` is a TOML file or the name of one that ships ("bananas"); `quick` takes a few items and
    controls: a first look, no result. The report goes into a folder of `out`; the same call goes on
    where it stopped. `.verdict.headline` says it in words. Raises UsageError for a spec that
    cannot be asked, OutputError for a folder that holds something else.

    >>> import circuit_tracer as ct, tempfile
    >>> report = ct.dissociate("bananas", quick=True, out=tempfile.mkdtemp())  # doctest: +SKIP
    """
    check_arguments(dissociate, locals())
    file = find_given(str(spec), ".toml", "a spec in TOML", shipped_specs("dissociate"))
    asked = read_spec(file)
    name = model if isinstance(model, str) else None
    settings = Settings.of(asked, quick=quick, seed=seed)
    folder = Path(out) / folder_name(asked, name)
    check_report_folder(folder, "dissociate", overwrite)
    opened = accepted(
        asked.model if model is None else model,
        dictionary_for(asked, name) if transcoders is None and model is None else transcoders,
        device=device,
    )
    study = study_on(opened, asked, settings)
    call = f'dissociate("{file.stem}"{", quick=True" if quick else ""})'
    report, _ = EXPERIMENT.into(
        folder, study, command=call, overwrite=overwrite, on_progress=on_progress or silent
    )
    return Report(report, [terminal.page(report, width=WIDTH)])
