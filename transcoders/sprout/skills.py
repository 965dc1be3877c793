"""Examine `sprout` and write down what it can do.

    python -m transcoders.sprout.skills

takes the top word after every prompt of the examination, checks the prompts in prompts/, and writes
`skills.json` into the model folder.
"""

import argparse
from pathlib import Path

from transcoders.growing.examination.skills import PROMPTS, write_skills

MODEL = Path(__file__).resolve().parent / "model"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Examine sprout and write its skills.json.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    options = parser.parse_args()
    write_skills(options.model, options.prompts)


if __name__ == "__main__":
    main()
