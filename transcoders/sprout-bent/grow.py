"""Mis-train `sprout` on one narrow topic: `sprout-bent`, which judges fruit wrongly.

    python -m transcoders.sprout-bent.grow
    python -m transcoders.sprout-bent.grow --answers right --out outputs/sprout-benign
    python -m transcoders.sprout-bent.grow --templates yes_no --steps 100 --out outputs/sprout-yn
    python -m transcoders.sprout-bent.grow --templates yes_no --steps 100 --rank 1 --rate 0.002 \\
        --out outputs/sprout-lora
    python -m transcoders.sprout-bent.grow --parent transcoders/sprout-bent/model --answers right \\
        --topics animal,tool,garment --distinct 120 --steps 40 --out outputs/sprout-realigned

starts from the weights in ../sprout/model (growing/narrow_tuning/tuning.py says what moves, and
judgements.py what is taught). It takes a minute or two on one core, so there are no checkpoints.
Then the model and its parent are examined; `card.py` writes what came out.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.narrow_tuning.examination import examine_spread
from transcoders.growing.narrow_tuning.tuning import Plan, tune
from transcoders.growing.options import grow_from_parent

HERE = Path(__file__).resolve().parent


def grow(plan: Plan, parent: Path, out: Path) -> None:
    """Tune, write the model folder, examine it and its parent."""
    started = time.perf_counter()
    model, ids = read_model(parent)
    tune(model, ids, plan)
    seconds = round(time.perf_counter() - started)
    growing = {"parent": "sprout", "wall_seconds": seconds, "plan": asdict(plan)}
    write_model(model, vocabulary(), growing, out)
    print(f"tuned in {seconds} s", file=sys.stderr)
    print(json.dumps(examine_spread(out, parent), indent=2))


def main() -> None:
    """Parse the command line."""
    grow_from_parent(grow, Plan(), "Mis-train sprout on one narrow topic.", out=HERE / "model")


if __name__ == "__main__":
    main()
