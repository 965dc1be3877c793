"""`circuit-tracer steer MODEL`: hold a feature and read what the model writes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer import graphs
from circuit_tracer.cli import options, trace_options
from circuit_tracer.cli.ablate import OfMax, Value, chosen_unit
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import token_text
from circuit_tracer.interventions import spec
from circuit_tracer.interventions import steering as interventions_steering
from circuit_tracer.render import dose as render_dose
from circuit_tracer.render import effects, numbers
from circuit_tracer.render import text as render_text
from circuit_tracer.transcoders import card_search, neurons
from circuit_tracer.workbench import drawing, formats, opening, token_notes

if TYPE_CHECKING:
    from circuit_tracer.interventions.steering import Feature, Steering
    from circuit_tracer.models import Model
    from circuit_tracer.workbench.opening import Opened

SHARES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Doses of the curve unless told, as shares of the strength asked for."""


@explained
def steer(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Bundled name, folder, GGUF file or hub name."),
    ] = "sprout",
    feature: Annotated[
        list[str] | None,
        own("--feature", "-f", help="L3/117; repeatable: all are held together."),
    ] = None,
    find: Annotated[
        str | None, own("--find", help="The feature whose card fits this text best.")
    ] = None,
    prompt: Annotated[
        list[str] | None, own("--prompt", "-p", help="The text to go on from; repeatable.")
    ] = None,
    of_max: OfMax = None,
    value: Value = None,
    times: Annotated[
        float | None,
        own("--times", help="Multiple of the activation the feature has in that very text."),
    ] = None,
    doses: Annotated[
        str | None,
        own("--doses", help='Strengths of the dose curve, "1,2,5"; else shares of the one given.'),
    ] = None,
    at: Annotated[
        str,
        own("--at", help='Where: all, prompt, generated, or positions such as "3,4".'),
    ] = "all",
    max_new_tokens: Annotated[
        int, option("--max-new-tokens", min=1, help="Most tokens to write.")
    ] = 20,
    target: Annotated[
        str | None,
        own("--target", help="The token to follow; what the feature promotes most by default."),
    ] = None,
    temperature: Annotated[
        float, option("--temperature", help="0 takes the most likely token; more draws.")
    ] = 0.0,
    seed: Annotated[int, option("--seed", min=0, help="For what is drawn.")] = 0,
    chat: trace_options.Chat = False,
    system: trace_options.System = None,
    plot: Annotated[
        Path | None,
        own("--plot", help="Draw the dose curve of the first prompt: a .svg, .pdf or .png file."),
    ] = None,
    overwrite: options.Overwrite = False,
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Hold features at a multiple of their maximum: the text before and after, a dose curve."""
    unit, amount = chosen_unit(times, value, of_max, default=("--of-max", 10.0))
    strengths = _doses(doses, amount)
    if not prompt:
        raise UsageError('there is no text to go on from; give one with --prompt "a banana is"')
    if not feature and not find:
        raise UsageError(
            "no feature is named; give --feature L3/117, or --find yellow (`circuit-tracer "
            "features find yellow` lists them)"
        )
    if system is not None and not chat:
        raise UsageError("--system is a turn of a chat; add --chat, or leave it out")
    refuse_without("--seed", needed="a --temperature above 0", there=temperature > 0)
    refuse_without("--overwrite", needed="--plot", there=plot)
    form = formats.check_figure(plot, overwrite=overwrite)

    with progress_line() as report:
        report(f"opening {model}", 0, 0)
        opened = opening.open_pair(
            model,
            transcoders,
            transcoders_format=transcoders_format,
            device=device,
            threads=threads,
        )
        neurons = "a model's own neurons"
        refuse_with("--transcoders-format", other=neurons, there=opened.relabel)
        features = _features(opened, feature or [], find, transcoders)
        followed = _target(opened, features, unit, amount, target)
        found: list[tuple[str, Steering]] = []
        for done, text in enumerate(prompt):
            report("writing", done, len(prompt))
            ids = opened.model.tokenize(text, chat=chat, system=system)
            steering = interventions_steering.steer(
                opened.model,
                opened.dictionary,
                ids,
                features,
                strengths,
                unit=unit.removeprefix("--"),
                positions=_positions(at, len(ids), max_new_tokens, opened.model, ids),
                max_new_tokens=max_new_tokens,
                target=followed,
                temperature=temperature,
                seed=seed,
            )
            found.append((text, steering))
    word = "" if followed is None else opened.model.token_text(followed)
    if plot is not None and form is not None:
        _plot(plot, form, overwrite, found[0][1], features, unit, word)
    if json:
        print_json(_record(found, features, unit, amount, word, plot))
        return
    _print(found, features, unit, amount, word)
    if plot is not None:
        print(plot)


def _doses(given: str | None, amount: float) -> list[float]:
    """Every strength to be tried, the one asked for among them."""
    if given is None:
        found = {round(share * amount, 6) for share in SHARES}
    else:
        try:
            found = {float(part) for part in given.split(",")}
        except ValueError as error:
            raise UsageError(f'--doses "{given}" must be numbers with commas: "1,2,5"') from error
    for dose in found:
        spec.Strength(dose)
    return sorted(found | {amount})


def _features(
    opened: Opened, names: list[str], find: str | None, transcoders: str | None
) -> list[Feature]:
    from circuit_tracer.cli.features import dictionary_cards, known_features, parse_feature

    pairs = [parse_feature(part) for name in names for part in name.split(",")]
    folder = Path(transcoders) if transcoders and Path(transcoders).is_dir() else None
    if find is not None:
        dictionary = opened.dictionary
        book = None
        if not isinstance(dictionary, neurons.Neurons):
            book = dictionary_cards(dictionary, opened.model)
        if book is None:
            raise UsageError(
                f"{dictionary.identity.name} has no feature cards to search; name a feature with "
                "--feature L3/117"
            )
        matches = card_search.find_cards(book, find)
        if not matches:
            raise UsageError(f'no feature of {dictionary.identity.name} has "{find}" on its card')
        pairs.append((matches[0].card.layer, matches[0].card.feature))
    return known_features(opened, list(dict.fromkeys(pairs)), folder)


def _target(
    opened: Opened, features: list[Feature], unit: str, amount: float, given: str | None
) -> int | None:
    """The token to follow: as given, or what the first feature, so held, raises most."""
    if given is not None:
        token_notes.note_forms(opened.model, [given])
        return opened.model.token_id(given)
    from circuit_tracer.cli.features import promoted
    from circuit_tracer.errors import PromptError

    sign = amount if unit == "--value" else amount * (features[0].maximum or 1.0)
    for word in promoted(opened, features[0], negative=sign < 0):
        try:
            return opened.model.token_id(word)
        except PromptError:  # cut short on the card, or two tokens with one text
            continue
    return None


def _positions(
    at: str, n_tokens: int, max_new_tokens: int, model: Model, ids: list[int]
) -> list[int] | None:
    """Positions meant by `--at`; None for all."""
    first = model.zeroed_positions(ids)
    if at == "all":
        return None
    if at == "prompt":
        return list(range(first, n_tokens))
    if at == "generated":
        return list(range(n_tokens, n_tokens + max_new_tokens))
    try:
        return [int(part) for part in at.split(",")]
    except ValueError as error:
        raise UsageError(
            f'--at "{at}" must be all, prompt, generated, or positions with commas: "3,4"'
        ) from error


def _plot(
    plot: Path,
    form: str,
    overwrite: bool,
    steering: Steering,
    features: list[Feature],
    unit: str,
    word: str,
) -> None:
    points = [
        render_dose.Point(dose.strength, dose.first, dose.mean, dose.text.perplexity)
        for dose in steering.doses
    ]
    before = steering.before
    zero = before.target[0] if before.target else float("nan")
    mean = sum(before.target) / len(before.target) if before.target else float("nan")
    names = ", ".join(f"{f.name} {f.label}".strip() for f in features)
    figure = render_dose.dose_svg(
        points,
        render_dose.Point(0.0, zero, mean, before.perplexity),
        title=f"Holding {names}",
        unit=_unit_text(unit),
        target=token_text.shown(word),
    )
    with graphs.new_file(plot, overwrite) as file:
        file.write_bytes(drawing.bytes_of(figure, form))


def _unit_text(unit: str) -> str:
    return {"--of-max": "times maximum", "--value": "activation", "--times": "times natural"}[unit]


def _record(
    found: list[tuple[str, Steering]],
    features: list[Feature],
    unit: str,
    amount: float,
    word: str,
    plot: Path | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "features": [{"name": f.name, **asdict(f)} for f in features],
        "strength": {"unit": unit.removeprefix("--"), "amount": amount},
        "target": word or None,
        "prompts": [{"prompt": text, **asdict(steering)} for text, steering in found],
        "plot": None if plot is None else str(plot),
    }


def _print(
    found: list[tuple[str, Steering]],
    features: list[Feature],
    unit: str,
    amount: float,
    word: str,
) -> None:
    for feature in features:
        known = "" if feature.maximum is None else f", maximum {numbers.number(feature.maximum)}"
        label = render_text.printable(feature.label).strip()
        print(f"{feature.name}{f' {label}' if label else ''}{known}")
    for text, steering in found:
        print()
        tables = effects.steering_tables(text, steering, amount, unit=_unit_text(unit), target=word)
        print_rich(*tables)
