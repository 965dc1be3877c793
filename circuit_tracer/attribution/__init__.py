"""Attribution: a prompt becomes a graph of exact linear edges."""

from circuit_tracer.attribution.tracing import Progress, Trace, TraceSettings, trace

__all__ = ["Progress", "Trace", "TraceSettings", "trace"]
