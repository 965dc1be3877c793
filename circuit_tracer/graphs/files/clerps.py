"""Names and notes that people give to nodes in a viewer, as files have them.

Names are `qParams.clerps`. Neuronpedia's page has a list there, by the node ("1_7_3": layer, the
form's feature number, position):

    [["1_7_3", "colours of fruit"], ...]

circuit-tracer's own page has such a list as JSON text, by the feature number alone ("7"), wherever
the feature fires. Both are read; a node's own `clerp` says the same. Notes are ours alone:
`metadata.circuit_tracer_cli.notes`, texts by node_id. All of it is anybody's text: what is no name
and no note is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from circuit_tracer.graphs.files.json_values import whole_text

EXTRAS = "circuit_tracer_cli"
"""Where files of this form have what is ours alone, in their metadata."""
NOTES = "notes"
LONGEST_NAME, LONGEST_NOTE = 200, 4000
"""Characters that are read."""


def names_in(params: Any) -> dict[str, str]:
    """The names in a `qParams` object, by what it calls their nodes or features.

    >>> names_in({"clerps": [["1_7_3", "colours of fruit"], 5]})
    {'1_7_3': 'colours of fruit'}
    >>> names_in({"clerps": '[["7", "fruit"]]'}), names_in(None)
    ({'7': 'fruit'}, {})
    """
    given = params.get("clerps") if isinstance(params, Mapping) else None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {}
    entries = [one for one in given if _is_name(one)] if isinstance(given, list) else []
    cleaned = {key: " ".join(whole_text(name).split())[:LONGEST_NAME] for key, name in entries}
    return {key: name for key, name in cleaned.items() if name}


def node_key(layer: object, feature: object, position: object) -> str:
    """What `clerps` calls a node; `layer` and `feature` as the form has them."""
    return f"{layer}_{feature}_{position}"


def name_in(names: Mapping[str, str], layer: object, feature: object, position: object) -> str:
    """A feature's name among those of `names_in`; "" for none."""
    return names.get(node_key(layer, feature, position), names.get(str(feature), ""))


def notes_in(record: Any) -> dict[str, str]:
    """The notes in a graph JSON or a viewer's export, by node_id."""
    for key in ("metadata", EXTRAS, NOTES):
        record = record.get(key) if isinstance(record, Mapping) else None
    return cleaned_notes(record)


def cleaned_notes(given: Any) -> dict[str, str]:
    """The notes in a mapping from node_id, without what is none."""
    if not isinstance(given, Mapping):
        return {}
    texts = {str(key): one for key, one in given.items() if isinstance(one, str)}
    notes = {key: whole_text(one).strip()[:LONGEST_NOTE] for key, one in texts.items()}
    return {key: note for key, note in notes.items() if note}


def _is_name(entry: Any) -> bool:
    return (
        isinstance(entry, list) and len(entry) == 2 and all(isinstance(one, str) for one in entry)
    )
