"""Make `sprout` weight-sparse: `sprout-sparse`, with a sixteenth of the hidden weights.

    python -m transcoders.sprout-sparse.grow
    python -m transcoders.sprout-sparse.grow --seed "sparse 1" --out outputs/sprout-sparse-1
    python -m transcoders.sprout-sparse.grow --kept 1 --out outputs/sprout-control

starts from the weights in ../sprout/model (growing/weight_sparsity/training.py says what moves).
`--kept 1` makes the dense control: the same steps and loss, nothing set to zero. It takes some
minutes on one core, so there are no checkpoints; every step's rows come from a generator seeded
with the step's number. Then the model is examined; `card.py` writes what came out.
"""

from pathlib import Path

from transcoders.growing.options import grow_from_sprout
from transcoders.growing.weight_sparsity.examination import examine_sparse
from transcoders.growing.weight_sparsity.training import Plan, make_sparse


def main() -> None:
    """Parse the command line, train, examine the model and its parent."""
    grow_from_sprout(
        make_sparse,
        lambda out, parent, _: examine_sparse(out, parent),
        Plan(),
        "Make sprout weight-sparse.",
        out=Path(__file__).resolve().parent / "model",
        stored=lambda plan: {"sparse": plan.kept < 1},
    )


if __name__ == "__main__":
    main()
