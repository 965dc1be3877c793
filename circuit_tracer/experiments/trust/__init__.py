"""The trust report: how far a graph can be believed (method.md section 8).

`run.trust` measures, step by step (`steps/`, on the passes of `passes.py`); `verdict.judge` draws
the conclusions, by the rules that it lists; `report/` shows them.
"""
