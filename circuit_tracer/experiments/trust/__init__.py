"""The trust report: should a reader believe this graph? (method.md section 8).

`report.trust` measures, `verdict.judge` says what follows. What is compared is written down where
it is computed: `routes.py` (what a graph foretells), `passes.py` (what is held while the model
answers), `knock_on.py`, `distance.py`, `sufficiency.py`, `integrity.py`, `agreement.py`,
`number_format.py`, `gates.py`.
"""
