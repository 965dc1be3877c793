"""A tuning in which it is known what an answer draws on: the notes before it, or a key."""
