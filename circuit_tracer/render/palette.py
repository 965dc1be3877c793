"""The figure's colours: after Okabe and Ito (2008), distinct to every kind of colour vision.

Nothing rests on colour alone: kinds differ in shape, + and - in dashes, so that a photocopy reads.
"""

FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"

INK = "#1d1f23"
QUIET = "#6b7078"
RULE = "#d9dce1"
STRIPE = "#f6f7f9"
PAPER = "#ffffff"

FEATURE = "#009e73"
FEATURE_EDGE = "#00694d"
ERROR = "#b4b8be"
ERROR_EDGE = "#6b7078"
TOKEN = "#ffdb80"
TOKEN_EDGE = "#a07a1f"
TARGET = "#1d1f23"
TARGET_INK = "#ffffff"

POSITIVE = "#0072b2"
NEGATIVE = "#d55e00"


def mixed(color: str, share: float) -> str:
    """The colour thinned with white: `share` 1 is the colour itself, 0 is paper."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in parts)
