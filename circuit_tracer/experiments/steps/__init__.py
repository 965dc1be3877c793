"""Which written steps carried the answer: each step's share of it, where the step came from, and
what swapping values does."""
