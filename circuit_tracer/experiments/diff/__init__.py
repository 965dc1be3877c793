"""What did a training do to a model? A base and a tuned model, compared step by step.

To add a step: its result in `results/` (a file, a dataclass, no torch), how it is measured in
`steps/` (a file with a `STEP`), its tables in `report/` (a file), then one line in each of
`results/report.py`, `run.py` and `report/tables.py`. `verdict.py` reads results alone.
"""
