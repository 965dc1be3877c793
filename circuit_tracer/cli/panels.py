"""In which order and under which headings the help of a command lists its options.

One table for all commands: options of one name stand under one heading everywhere. What only one
command has is what that command is about, and stands first, without a heading of its own.
"""

from __future__ import annotations

from typing import Any

import typer

from circuit_tracer.cli.invocation import leaves

FEWEST = 8
"""Options of its own from which on a command's help has headings."""
PANELS = {
    "Model and dictionary": "model transcoders transcoders_format labels cards",
    "Prompt and targets": "prompt chat system target contrast why_not target_feature "
    "target_direction target_prompts target_layer position max_n_logits desired_logit_prob",
    "Graph size": "max_feature_nodes coverage node_threshold edge_threshold edge_floor",
    "Attribution": "zero_positions batch_size dtype total_only heads trust",
    "Output": "out slug name format store max_nodes routes level plot figure width theme legend "
    "caption overwrite json",
    "Run": "device device_map threads seed limit retry_failed shard save_every engine ray_workers "
    "browser port quiet verbose debug help",
}
"""The parameters below every heading."""
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names.split()}
_RANK = {panel: rank for rank, panel in enumerate(PANELS, start=1)}


def arrange(root: Any) -> None:
    """Put the options of every command under their headings, where there are many."""
    above = typer.Context(root, **root.context_settings)
    for _, command in leaves(root):
        options = [one for one in command.params if one.param_type_name == "option"]
        if sum(one.expose_value for one in options) < FEWEST:
            continue
        for one in (*options, command.get_help_option(typer.Context(command, parent=above))):
            one.rich_help_panel = _PANEL_OF.get(one.name)
        command.params.sort(key=lambda one: _RANK.get(one.rich_help_panel, 0))
