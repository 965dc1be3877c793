"""Which words of a prompt decide, and along which routes? Edits of the prompt, each run again."""
