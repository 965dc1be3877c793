"""How each step is measured: a file a step."""
