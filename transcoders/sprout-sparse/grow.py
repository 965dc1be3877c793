"""Make `sprout` weight-sparse: `sprout-sparse`, with a sixteenth of the hidden weights.

    python -m transcoders.sprout-sparse.grow
    python -m transcoders.sprout-sparse.grow --seed "sparse 1" --out outputs/sprout-sparse-1
    python -m transcoders.sprout-sparse.grow --kept 1 --out outputs/sprout-control

starts from the weights in ../sprout/model (growing/weight_sparsity/training.py says what moves).
`--kept 1` makes the dense control: the same steps and loss, nothing set to zero. It takes some
minutes on one core, so there are no checkpoints; every step's rows come from a generator seeded
with the step's number. Then the model is examined; `card.py` writes what came out.
"""

import copy
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.options import grow_from_parent
from transcoders.growing.weight_sparsity.examination import examine_sparse
from transcoders.growing.weight_sparsity.training import Plan, make_sparse

HERE = Path(__file__).resolve().parent


def grow(plan: Plan, parent: Path, out: Path) -> None:
    """Train, write the model folder, examine it."""
    started = time.perf_counter()
    dense, ids = read_model(parent)
    model = copy.deepcopy(dense)
    make_sparse(model, dense, ids, plan)
    seconds = round(time.perf_counter() - started)
    growing = {"parent": "sprout", "wall_seconds": seconds, "plan": asdict(plan)}
    write_model(model, vocabulary(), growing, out, sparse=plan.kept < 1)
    print(f"trained in {seconds} s", file=sys.stderr)
    print(json.dumps(examine_sparse(out, parent), indent=2))


def main() -> None:
    """Parse the command line."""
    grow_from_parent(grow, Plan(), "Make sprout weight-sparse.", out=HERE / "model")


if __name__ == "__main__":
    main()
