"""Every prompt in prompts/ through the bundled model: is it right, conserved and explained?

    python -m benchmarks.prompts [--transcoders plt] [--write]

Prints one row a prompt (answer, residuals in float32 and float64, scores) and the medians;
`--write` puts the table into benchmarks/prompts.md.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import pages
from circuit_tracer.attribution import trace
from circuit_tracer.graphs import PrunedGraph, prune
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.opening import open_transcoders

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Row:
    """What one prompt's graph says of itself."""

    kind: str
    prompt: str
    answer: str
    top: str
    probability: float
    residuals: tuple[float, ...]
    """By dtype, float32 first."""
    replacement: float
    completeness: float
    error_share: float
    constant_share: float
    kept_nodes: int

    @property
    def right(self) -> bool:
        """Whether the model's first choice is the expected answer."""
        return self.top.strip() == self.answer.strip()


def prompts() -> list[tuple[str, dict[str, str]]]:
    """(kind, record) of every line of every prompt file that has an answer."""
    found = []
    for file in sorted((ROOT / "prompts").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "reasoning" not in record:  # transcripts, of another model
                found.append((file.stem, record))
    return found


def measure(
    models: dict[str, Model],
    transcoders: str,
    on_graph: Callable[[PrunedGraph], object] = lambda pruned: None,
    *,
    places: Sequence[int] | None = None,
) -> list[Row]:
    """Trace all prompts, or those at some places, in the models' dtypes; `on_graph` gets each
    float32 graph."""
    dictionaries = {
        dtype: open_transcoders(transcoders, model=model, dtype=model.torch_dtype)
        for dtype, model in models.items()
    }
    rows, found = [], prompts()
    for kind, record in found if places is None else [found[i] for i in places]:
        graphs = {d: trace(models[d], dictionaries[d], record["prompt"]).graph for d in models}
        pruned = prune(graphs["float32"])
        on_graph(pruned)
        target = graphs["float32"].info.targets[0]
        rows.append(
            Row(
                kind=kind,
                prompt=record["prompt"],
                answer=record["answer"],
                top=target.token,
                probability=target.probability,
                residuals=tuple(graphs[d].info.conservation_residual for d in models),
                replacement=pruned.scores.replacement,
                completeness=pruned.scores.completeness,
                error_share=pruned.scores.error_share,
                constant_share=pruned.scores.constant_share,
                kept_nodes=int(pruned.node_kept.sum()),
            )
        )
    return rows


def table(rows: list[Row], transcoders: str) -> str:
    """Markdown: one row a prompt, then the medians."""
    head = ("kind", "prompt", "answer", "p", "right", "residual fp32", "fp64", "replacement")
    scores = ("completeness", "error share", "constant share", "nodes kept")
    cells = [
        (
            *(row.kind, row.prompt, row.top.strip(), f"{row.probability:.2f}"),
            *("yes" if row.right else "NO", *(f"{one:.1e}" for one in row.residuals)),
            *(f"{row.replacement:.3f}", f"{row.completeness:.3f}", f"{row.error_share:.3f}"),
            *(f"{row.constant_share:.3f}", f"{row.kept_nodes}"),
        )
        for row in rows
    ]
    lines = [f"## {transcoders}", "", *pages.table((*head, *scores), cells)]
    wrong = sum(not row.right for row in rows)
    kinds = len({row.kind for row in rows})
    lines += [
        "",
        f"{len(rows)} prompts of {kinds} kinds, {wrong} answered wrongly; "
        f"largest residual {max(r.residuals[0] for r in rows):.1e} in float32, "
        f"{max(r.residuals[1] for r in rows):.1e} in float64; "
        f"median replacement {statistics.median(r.replacement for r in rows):.3f}, "
        f"median completeness {statistics.median(r.completeness for r in rows):.3f}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and write them if asked."""
    parser = pages.parser(__doc__)
    parser.add_argument("--transcoders", nargs="+", default=["plt", "clt"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = {dtype: open_model("sprout", dtype=dtype, device="cpu") for dtype in DTYPES}
    tables = [table(measure(models, name), name) for name in arguments.transcoders]
    head = "# Every prompt in prompts/\n\nWritten by `python -m benchmarks.prompts --write`.\n\n"
    print("\n".join(tables))
    if arguments.write:
        (ROOT / "benchmarks" / "prompts.md").write_text(head + "\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
