"""The bundled models, a folder each, and `growing`, what their scripts share."""

from circuit_tracer.interrupts import say_in_a_line

say_in_a_line()
