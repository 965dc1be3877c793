"""Roles of positions, from a prompt file: a JSON object a line, with `prompt` and `roles`.

    {"prompt": "is a banana yellow ?", "roles": {"object": "banana", "colour": 4}}

A role is at a token of the prompt (its text) or at a position (4, or "@4"; BOS is 0). Lines without
roles, and fields other than these two, are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.graphs.files.json_values import whole_text
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.named_tokens import named_position


def read_roles(path: Path | str) -> dict[str, Mapping[str, str | int]]:
    """Prompt -> its roles. Raises UsageError that names the line that is wrong."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as e:
        raise UsageError(
            f"{path} cannot be read ({reason(e)}); give a prompt file in JSON lines"
        ) from e
    found: dict[str, Mapping[str, str | int]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            prompt, roles = _parsed(line, f"line {number} of {path}")
            if roles:
                found[prompt.strip()] = roles
    if not found:
        raise UsageError(
            f"{path} gives no roles; write lines such as "
            '{"prompt": "a banana is", "roles": {"object": "banana"}}'
        )
    return found


def roles_of(graph: Graph, given: Mapping[str, Mapping[str, str | int]]) -> dict[str, int]:
    """The positions of a graph's roles; {} for a prompt without any.

    Raises UsageError for a token that the prompt lacks, or has more than once.
    """
    roles = given.get(graph.info.prompt.strip(), {})
    return {name: _position(graph, name, place) for name, place in roles.items()}


def _position(graph: Graph, name: str, place: str | int) -> int:
    if isinstance(place, int):
        return place
    try:
        return named_position(graph.info, place, f'the role "{name}" at')
    except UsageError as e:
        raise UsageError(f'{e} (in "{graph.info.prompt.strip()}")') from e


def _parsed(line: str, where: str) -> tuple[str, Mapping[str, str | int]]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{where} is no JSON ({reason(e)}); fix it") from e
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise UsageError(f"{where} has no prompt; write an object with prompt and roles")
    roles = record.get("roles", {})
    is_right = isinstance(roles, dict) and all(
        isinstance(place, (str, int)) and not isinstance(place, bool) for place in roles.values()
    )
    if not is_right:
        raise UsageError(
            f"the roles in {where} are wrong: give each name a token or a position, as in "
            '{"object": "banana", "colour": 4}'
        )
    return record["prompt"], {whole_text(name): place for name, place in roles.items()}
