"""Train the sparse autoencoders by which `sprout-bent` is compared with `sprout`.

    python -m transcoders.sprout-bent.dictionaries

rebuilds `resid/`: of the residual stream of *sprout* after layers 1 to 3, on sprout's text, with
the code of all bundled dictionaries (growing/dictionary_building.py). They never see the tuned
model: a feature that tells the two apart was there before the tuning. Of 1,024 features a layer
several share what one of 512 says ("joker :"), and ten restored no more on selection topics.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from circuit_tracer.models import open_model
from circuit_tracer.models.parts import RESIDUAL
from transcoders.growing.dictionary_building import COMMON, Workshop, build
from transcoders.growing.language.corpus import rows
from transcoders.growing.options import parse_training

HERE = Path(__file__).resolve().parent
SHOP = Workshop(
    folder=HERE, work=HERE.parents[1] / "outputs" / "sprout-bent-dictionaries", rows=rows
)
SETTINGS = replace(
    COMMON,
    reads=RESIDUAL,
    writes=RESIDUAL,
    layers=(1, 2, 3),
    n_features=512,
    learning_rate=2e-3,
    max_tokens=900_000,
)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description="Rebuild the sparse autoencoders of sprout.")
    options = parse_training(parser)
    model = open_model("sprout", device="cpu")
    build("resid", model, SETTINGS, SHOP, max_tokens=options.max_tokens)


if __name__ == "__main__":
    main()
