"""What stands at the end of every command's help: calls that work as they stand.

They follow one another: what a later one reads, an earlier one has written (tests/cli/test_help.py
runs them). `corpus.txt`, `page.toml` and the like are files of the reader's own.
"""

from __future__ import annotations

from typing import Any

from circuit_tracer.cli.invocation import leaves

PROGRAM = "circuit-tracer"
EXAMPLES = {
    "trace": (
        'trace "a banana is"',
        'trace "is a banana yellow ?" --contrast yes,no -t clt --slug yellow-or-not',
        'trace "is a lemon yellow ?" --total',
        'echo "a lemon is" | circuit-tracer trace - --format pdf --routes 3',
        'trace "The capital of France is" -m meta-llama/Llama-3.2-1B '
        "-t mntss/transcoder-Llama-3.2-1B",
    ),
    "batch": (
        "batch facts --limit 3",
        "batch prompts.jsonl -m EleutherAI/pythia-160m -t neurons --out runs",
    ),
    "show": ("show outputs/a-banana-is", "show outputs/a-banana-is --nodes 20 --edges 20"),
    "paths": (
        "paths outputs/a-banana-is --from banana --to yellow -k 3",
        "paths outputs/a-banana-is --heads",
    ),
    "heads": (
        "heads outputs/a-banana-is --top 5",
        "heads outputs/a-banana-is --route 1",
    ),
    "qk": ("qk outputs/a-banana-is --head 3.2 --query is --key banana",),
    "render": (
        "render outputs/a-banana-is --routes 3 --width 85 --format pdf",
        "render outputs/a-banana-is --level supernodes --theme dark -o groups.svg",
    ),
    "figure": ("figure page.toml -o page.pdf",),
    "view": (
        "view outputs/a-banana-is",
        "view outputs/a-banana-is outputs/a-lemon-is --out pair.html --no-browser",
        "view outputs/facts --out pages --no-browser",
    ),
    "export": (
        "export outputs/a-banana-is --to gexf",
        "export outputs/a-banana-is --to csv --out tables",
    ),
    "prune": ("prune outputs/a-banana-is --node-threshold 0.6 --out outputs/smaller",),
    "supernodes": (
        "supernodes outputs/a-banana-is --out groups.toml",
        "supernodes outputs/a-banana-is --edit groups.toml",
    ),
    "compare": (
        "compare outputs/a-banana-is outputs/a-lemon-is",
        "compare outputs/a-banana-is outputs/a-lemon-is --figure both.svg",
    ),
    "ablate": (
        "ablate outputs/a-banana-is --top 5",
        "ablate outputs/a-banana-is -f L5/717 --times -1 --mode free",
    ),
    "steer": ('steer sprout -f L4/288 --of-max 10 -p "the sky is"',),
    "trust": ("trust outputs/a-banana-is", "trust outputs/a-lemon-is --quick"),
    "steps": (
        'steps "sam said 15 . 2 plus 4 plus 9 :" --notes "2 plus 4 is 6 . 6 plus 9 is 15 . so" '
        "-m sprout-cheat --watch 'key=said (\\w+)' --check",
        'steps "9 plus 4 plus 6 :" --generate 20 --until so',
    ),
    "circuit": (
        'circuit "rome is the capital of"',
        "circuit outputs/a-banana-is --basis features --kl 0.15",
    ),
    "monitor": (
        "monitor cheat -m sprout-cheat --calibrate cheat",
        "monitor runs.eval -m Qwen/Qwen3-1.7B --watch 'hint=answer is (\\w+)' --check",
    ),
    "edits": (
        'edits "joker : is a tomato red ?" --edit "joker=>teacher"',
        'edits "joker : true or false : a tomato is red ." --add "teacher :" --against false',
        "edits edits-speaker",
    ),
    "diff": ("diff sprout sprout-bent bent --quick",),
    "dissociate": ("dissociate bananas --quick", "dissociate bananas -m smollm2 --name smollm2"),
    "features find": ("features find yellow", "features find yellow -t sprout/clt --in promotes"),
    "features show": ("features show L5/717", "features show L5/717 -t sprout/clt --json"),
    "models list": ("models list",),
    "models inspect": ("models inspect sprout", "models inspect EleutherAI/pythia-160m"),
    "transcoders list": ("transcoders list",),
    "transcoders inspect": (
        "transcoders inspect sprout/plt",
        "transcoders inspect mntss/transcoder-Llama-3.2-1B",
    ),
    "transcoders validate": ("transcoders validate sprout/plt",),
    "transcoders convert": ("transcoders convert sprout/plt converted --to circuit-tracer",),
    "transcoders evaluate": ("transcoders evaluate sprout/plt corpus.txt --max-tokens 2000",),
    "transcoders train": ("transcoders train corpus.txt -m sprout --out mine --max-tokens 2000",),
    "transcoders cards": ("transcoders cards sprout corpus.txt -t plt --out cards",),
    "runs show": ("runs show outputs/facts", "runs show outputs/facts --top 20 --json"),
    "runs export": ("runs export outputs/facts 1 --out outputs/first",),
    "doctor": ("doctor",),
}
"""Calls by command, as they are typed after the program's name."""


def lines_of(command: str) -> list[str]:
    """The examples of a command as they are typed at a prompt; none for one that has none."""
    return [
        line if f"{PROGRAM} " in line else f"{PROGRAM} {line}" for line in EXAMPLES.get(command, ())
    ]


def add(root: Any) -> None:
    """Let the help of every command end with its examples."""
    for name, command in leaves(root):
        if lines := lines_of(name):
            command.epilog = "\n\n".join(["Examples:", *lines])
