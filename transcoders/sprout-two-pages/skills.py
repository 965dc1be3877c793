"""Examine `sprout-two-pages` and `sprout`, and write down what both can do.

    python -m transcoders.sprout-two-pages.skills

reads the shipped weights of both and writes `skills.json` into the model folder.
"""

from pathlib import Path

import torch

from transcoders.growing.second_store.examination import examine_second_store

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    torch.set_num_threads(1)
    examine_second_store(HERE / "model", HERE.parent / "sprout" / "model")
