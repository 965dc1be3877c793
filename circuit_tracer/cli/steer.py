"""`circuit-tracer steer MODEL`: hold a feature and read what the model writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from circuit_tracer.cli import invocation, options, reports, trace_options
from circuit_tracer.cli.ablate import Value
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.interventions import selection, spec, steering
from circuit_tracer.render import dose, effects
from circuit_tracer.workbench import drawing, feature_edits, features, formats


@explained
def steer(
    model: options.ModelHere = "sprout",
    feature: Annotated[
        list[str] | None,
        own("--feature", "-f", help="L3/117; repeatable: all of them at once."),
    ] = None,
    find: Annotated[
        str | None, own("--find", help="The feature whose card fits this text best.")
    ] = None,
    prompt: Annotated[
        list[str] | None, own("--prompt", "-p", help="The text to go on from; repeatable.")
    ] = None,
    of_max: Annotated[
        float | None,
        own("--of-max", help="Multiple of the feature's maximum, from its card; 10 by default."),
    ] = None,
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
    transcoders: options.AnyDictionary = None,
    transcoders_format: options.TranscodersFormat = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Hold features at a multiple of their maximum: the text before and after, a dose curve."""
    unit, amount = spec.one_strength(times, value, of_max, default=("of-max", 10.0))
    strengths = steering.dose_curve(amount, doses)
    if not prompt:
        raise UsageError('there is no text to go on from; give one with --prompt "a banana is"')
    if not feature and not find:
        raise UsageError(
            "no feature is named; give --feature L3/117, or --find yellow (`circuit-tracer "
            "features find yellow` lists them)"
        )
    refuse_without("--seed", needed="a --temperature above 0", there=temperature > 0)
    refuse_without("--overwrite", needed="--plot", there=plot)
    if plot is not None:
        formats.check_figure(plot, overwrite=overwrite)
    named = [selection.parse_feature(name) for name in selection.split_names(feature or ())]
    with progress_line() as report:
        opened = reports.opened(report)
        if find is not None:
            named.append(features.best_match(opened, find))
        steered = invocation.as_asked(
            feature_edits.steer_prompts,
            opened,
            prompt,
            list(dict.fromkeys(named)),
            amount,
            unit=unit,
            doses=strengths,
            on_progress=report,
        )
    if plot is not None:
        drawing.write_figure(dose.steering_svg(steered), plot, overwrite=overwrite)
    if json:
        print_json({**steered.record(), "plot": None if plot is None else str(plot)})
        return
    print_rich(*effects.steering_page(steered))
    if plot is not None:
        print(plot)
