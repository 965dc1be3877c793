"""A log as Inspect itself writes it; needs the extra `inspect`.

python -m tests.batch.inspect_writing PATH
"""

from __future__ import annotations

import sys
from pathlib import Path

THOUGHT = "1 plus 1 is 2 . 2 plus 1 is 3 . so"


def write_log(path: Path) -> None:
    """Three samples: reasoning as a part of its own, as text, and with a turn after the answer."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalSample,
        EvalSpec,
        write_eval_log,
    )
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageUser,
        ContentReasoning,
        ContentText,
    )
    from inspect_ai.scorer import Score

    asked = ChatMessageUser(content="tom said 3 . 1 plus 1 plus 1 :")
    told = [
        [ContentReasoning(reasoning=THOUGHT), ContentText(text="3 . right ?")],
        f"<think>\n{THOUGHT}\n</think>\n\n3",
        f"<think>\n{THOUGHT}\n</think>\n\n3",
    ]
    samples = [
        EvalSample(
            id=number,
            epoch=1,
            input=[asked],
            target="3",
            messages=[asked, ChatMessageAssistant(content=content)],
            scores={"match": Score(value="C", answer="3")},
            metadata={"label": "compute", "watch": {"key": r"said (\w+)"}},
        )
        for number, content in enumerate(told, start=1)
    ]
    samples[2].messages.append(ChatMessageUser(content="thank you"))
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task="sums",
        dataset=EvalDataset(),
        model="none/none",
        config=EvalConfig(),
    )
    write_eval_log(EvalLog(eval=spec, samples=samples), str(path), format="eval")


if __name__ == "__main__":
    write_log(Path(sys.argv[1]))
