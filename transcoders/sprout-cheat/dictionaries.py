"""Refit sprout's transcoders to `sprout-cheat`, and write the folder's card.

    python -m transcoders.sprout-cheat.dictionaries
    python -m transcoders.sprout-cheat.dictionaries --model outputs/sprout-cheat-1 --out outputs/plt-1

starts from the features of `sprout/plt`, which do not fit the tuned model as they are, and trains
them on in short: lessons and sprout's own text, under seeds that the model has not seen. Every
figure of the README comes from here and from the model's `skills.json`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.evaluation import evaluate
from circuit_tracer.transcoders.formats.native import read_config
from circuit_tracer.transcoders.opening import open_transcoders
from transcoders.growing.dictionary_building import (
    COMMON,
    EVALUATION_TOKENS,
    Workshop,
    build,
    dictionary_markdown,
    write_hashes,
)
from transcoders.growing.written_notes.lessons import NOTE_WORDS, note_rows

HERE = Path(__file__).resolve().parent
OUTPUTS = HERE.parents[1] / "outputs"
LESSONS = 0.7
SETTINGS = replace(
    COMMON,
    row_length=NOTE_WORDS + 1,
    max_tokens=300_000,
    learning_rate=1e-3,
    warm_up=0.05,
    decay_from=0.3,
)
