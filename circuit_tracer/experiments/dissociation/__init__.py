"""The two-route experiment: do the fact and the judgement of it come from one place (method.md 9)?

`run.dissociate` carries out what a spec (`spec.py`) asks; every step is one module.
"""
