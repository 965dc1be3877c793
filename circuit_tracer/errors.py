"""The tool's own exceptions.

Library code raises these and never prints or exits; the command line turns each into one line on
stderr and an exit code. A message is one sentence (or two) that says what is wrong and what to do.
"""


class CircuitTracerError(Exception):
    """Anything the tool can explain. `exit_code` is what the command exits with."""

    exit_code = 1


class UsageError(CircuitTracerError):
    """The caller asked for something that cannot be: a flag, a name, a prompt."""

    exit_code = 2


class StrengthError(UsageError):
    """A change so strong that the model's numbers overflow."""


class PromptError(UsageError):
    """A prompt that cannot be traced: empty, too long, or with words the tokenizer lacks."""


class ModelError(UsageError):
    """A model that cannot be found, opened or wired."""


class DictionaryError(UsageError):
    """A dictionary (transcoder set) that is missing, damaged or made for another model."""


class GraphFileError(UsageError):
    """A stored graph that is missing, damaged or of an unknown version."""


class OutputError(CircuitTracerError):
    """A place that cannot be written to, or that already holds something."""


class ConservationError(CircuitTracerError):
    """A target whose incoming edges and constant do not sum to its value: the graph is refused."""


class TrainingError(CircuitTracerError):
    """A dictionary training run that cannot start, go on or that diverged."""
