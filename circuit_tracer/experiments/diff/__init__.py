"""What did a training do to a model? A base and a tuned model, compared step by step.

A step is a file: its result (dataclasses of plain values), how it is measured, its tables, and a
`STEP`. To add one, write the file and add a line to `run.STEPS` and one to `report.DiffReport`.
`verdict.py` reads results alone.
"""
