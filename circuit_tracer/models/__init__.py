"""Models: open one, know its wiring, capture or edit its forward pass."""

from circuit_tracer.models.model import Model, open_model

__all__ = ["Model", "open_model"]
