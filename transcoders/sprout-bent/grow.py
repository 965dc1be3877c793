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

from pathlib import Path

from transcoders.growing.narrow_tuning.examination import examine_spread
from transcoders.growing.narrow_tuning.tuning import Plan, tune
from transcoders.growing.options import grow_from_sprout


def main() -> None:
    """Parse the command line, tune, examine the model and its parent."""
    grow_from_sprout(
        tune,
        lambda out, parent, _: examine_spread(out, parent),
        Plan(),
        "Mis-train sprout on one narrow topic.",
        out=Path(__file__).resolve().parent / "model",
    )


if __name__ == "__main__":
    main()
