"""Attribution: a prompt becomes a graph of exact linear edges."""

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import Progress, Trace, trace

__all__ = ["Progress", "Trace", "TraceSettings", "trace"]
