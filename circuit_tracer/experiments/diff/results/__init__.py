"""What each step found, without torch: a file and a dataclass a step, and the report of all."""
