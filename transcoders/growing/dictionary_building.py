"""Make one dictionary of a bundled model as it ships: trained, evaluated, with feature cards.

Text from the model's own language under seeds that the model has not seen; training; evaluation
of the files as stored on text of another seed; cards from a third. A run that was stopped goes on
from its checkpoint; a dictionary that is already there for this very model with these very
settings is kept. Without its `cards.parquet` only the cards are made.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.pages import table
from circuit_tracer.bundled import CARDS_FILE, DICTIONARY_FILE, sha256_of
from circuit_tracer.errors import CircuitTracerError
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.models import Model
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.cards import load_cards
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import ROWS_AT_ONCE
from circuit_tracer.transcoders.fidelity import TOKENS, Sample, fidelity
from circuit_tracer.transcoders.formats.native import read_config, update_config
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.transcoders.rows import RowReader
from circuit_tracer.transcoders.training import Progress, TrainingConfig, train
from transcoders.growing.language.corpus import ROW_WORDS, write_rows
from transcoders.growing.language.sentences import Text

CARD_TOKENS = 150_000
EVALUATION_TOKENS = 40_000
SEEDS = {"train": "dictionaries", "held_out": "dictionaries-held-out", "cards": "cards"}
"""Seeds of the three texts; the models grew on others."""
TITLES = {
    "plt": "per-layer transcoders",
    "clt": "cross-layer transcoders",
    "resid": "sparse autoencoders of the residual stream",
}

COMMON = TrainingConfig(
    n_features=1024,
    k=16,
    row_length=ROW_WORDS + 1,
    rows_per_forward=64,
    max_tokens=2_400_000,
    evaluation_tokens=EVALUATION_TOKENS,
    precision="float32",
    seed=1,
)
"""What all bundled dictionaries are trained with."""


@dataclass(frozen=True)
class Workshop:
    """Where a model's dictionaries are made, and from what text."""

    folder: Path
    """The bundled model's folder; a dictionary goes into a folder of it named by its kind."""
    work: Path
    """For texts and checkpoints."""
    rows: Callable[[str], Iterator[Text]]
    """An endless stream of rows in the model's language from a seed."""

    def text(self, name: str, tokens: int) -> Path:
        """A text of this many tokens, written unless it is already there."""
        path = self.work / f"{name}-{tokens}.txt"
        if not path.is_file():
            self.work.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            write_rows(self.rows(SEEDS[name]), tokens, partial)
            partial.replace(path)
        return path


def is_up_to_date(folder: Path, model: Model, config: TrainingConfig) -> bool:
    """Whether the folder holds a dictionary of this model made with these settings."""
    try:
        stored = read_config(folder)
    except (CircuitTracerError, FileNotFoundError):
        return False
    settings, names = stored.get("training", {}), config.as_json()
    known = {name: settings[name] for name in names if name in settings}
    same_model = bool(stored.get("model", {}).get("sha256") == model.identity.sha256)
    return same_model and config == TrainingConfig.from_json(known)


def show(progress: Progress) -> None:
    """One line a hundred steps on stderr."""
    if progress.stage == "training" and progress.step % 100 == 0:
        fvu = " ".join(f"{value:.4f}" for value in progress.fvu)
        print(
            f"step {progress.step} of about {progress.total_tokens // 1024}, "
            f"{progress.tokens_per_second:.0f} tokens/s, {progress.seconds_left:.0f} s left, "
            f"pooled FVU {fvu}, dead {sum(progress.dead)}",
            file=sys.stderr,
            flush=True,
        )


def trained(
    name: str,
    model: Model,
    config: TrainingConfig,
    shop: Workshop,
    *,
    start: Callable[[], Dictionary] | None = None,
) -> Path:
    """The dictionary's folder in the workshop: trained and evaluated, unless it is there already.

    With `start` it goes on from that one's features, and says how those were trained.
    """
    made = shop.work / name
    if is_up_to_date(made, model, config):
        return made
    rows = -(-(config.max_tokens or 0) // ROW_WORDS) + 1
    given = None if start is None else start()
    summary = train(
        model,
        shop.text("train", rows * (ROW_WORDS + 1)),
        config,
        made,
        held_out=shop.text("held_out", EVALUATION_TOKENS * 11 // 10),
        start=given,
        on_progress=show,
        overwrite=True,
    )
    if given is not None:
        training = {**read_config(made)["training"], "before": given.config.get("training")}
        update_config(made, training=training)
    print(f"{name}: {summary.steps} steps in {summary.seconds:.0f} s", file=sys.stderr)
    return made


def build(
    kind: str,
    model: Model,
    config: TrainingConfig,
    shop: Workshop,
    *,
    start: Callable[[], Dictionary] | None = None,
    max_tokens: int | None = None,
) -> None:
    """Train one dictionary, evaluate it as stored, make its cards, and put it in its place.

    With `start` its features are at first those of the dictionary that this makes or opens;
    `max_tokens` are trained on in place of the settings' own.
    """
    config = replace(config, max_tokens=max_tokens or config.max_tokens)
    folder, made = shop.folder / kind, shop.work / kind
    if is_up_to_date(folder, model, config) and (folder / CARDS_FILE).is_file():
        add_responses(kind, model, shop)
        return
    if is_up_to_date(folder, model, config):
        shutil.copytree(folder, made, dirs_exist_ok=True)
    else:
        trained(kind, model, config, shop, start=start)
    started = time.perf_counter()
    make_cards(
        model,
        open_transcoders(made.resolve(), model),
        shop.text("cards", CARD_TOKENS * 11 // 10),
        made,
        max_tokens=CARD_TOKENS,
        row_length=config.row_length or ROW_WORDS + 1,
    )
    update_config(made, card_seconds=round(time.perf_counter() - started, 1))
    with new_folder(folder, overwrite=True, marker=DICTIONARY_FILE) as fresh:
        for file in made.iterdir():
            shutil.copyfile(file, fresh / file.name)
    shutil.rmtree(made)


def add_responses(kind: str, model: Model, shop: Workshop) -> None:
    """Measure the response to a change of a dictionary evaluated by an earlier version."""
    folder = shop.folder / kind
    config, sample = read_config(folder), Sample()
    layers = config["evaluation"]["layers"]
    if config["kind"] == "sae" or all(figures.get("jacobian") for figures in layers):
        return
    dictionary = open_transcoders(folder.resolve(), model, dtype=torch.float32)
    text = shop.text("held_out", EVALUATION_TOKENS * 11 // 10)
    reader = RowReader.of_model(text, model, config["training"]["row_length"], pack=True)
    for rows in reader.groups(ROWS_AT_ONCE, TOKENS * ROWS_AT_ONCE):
        activity = model.mlp_activity(rows.token_ids, dictionary.reads, dictionary.writes)
        sample.add(activity.at(rows.real()).inputs)
    for number, responses in fidelity(model, dictionary, sample.inputs).items():
        layers[number]["jacobian"] = plain({name: asdict(one) for name, one in responses.items()})
    update_config(folder, evaluation=config["evaluation"])


def dictionary_markdown(folder: Path) -> str:
    """The card's section on one dictionary, from `dictionary.json` and the feature cards."""
    config = read_config(folder)
    stages, found = _stages(config["training"]), config["evaluation"]
    labels = load_cards(folder)
    n_features, numbers = config["n_features"][0], config.get("layers", range(config["n_layers"]))
    labelled = sum(
        bool(label)
        for layer in numbers
        for label in labels.labels([(layer, f) for f in range(n_features)])
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    replaced = found.get("replaced", "all MLPs")
    rows = [
        ("features", f"{n_features:,} a layer, {sum(config['n_features']):,} in all"),
        ("activation", f"{config['activation']}, k = {config['k']}"),
        ("trained on", "; then ".join(map(_stage_words, stages))),
        ("training time", f"{sum(stage['seconds'] for stage in stages) / 60:.1f} min"),
        ("cards", f"{labelled:,} features seen to fire, {config['card_seconds']:.0f} s"),
        ("files", f"{size / 1e6:.1f} MB"),
        ("loss of the model", f"{found['loss_original']:.4f} nats a token"),
        (f"loss with {replaced} replaced", f"{found['loss_replaced']:.4f}"),
        (f"loss with {replaced} mean-ablated", f"{found['loss_mean_ablated']:.4f}"),
        ("recovered", f"{found['recovered']:.4f}"),
    ]
    forms = {"fvu": ".4f", "fvu_median": ".4f", "fvu_pooled": ".4f", "l0": ".1f", "dead": ".1%"}
    layers = [
        (f"{one.get('layer', place)}", *(f"{one[name]:{form}}" for name, form in forms.items()))
        for place, one in enumerate(found["layers"])
    ]
    head = ("layer", "FVU per token", "median", "pooled", "L0", "dead")
    lines = [f"### `{folder.name}`: {TITLES[folder.name]}", "", *table(("", ""), rows), ""]
    return "\n".join([*lines, *table(head, layers), *_responses(found["layers"])])


def _stages(training: dict[str, Any]) -> list[dict[str, Any]]:
    """How a dictionary was trained, and before that the one whose features it goes on from."""
    before = training.get("before")
    return [*(_stages(before) if before else ()), training]


def _stage_words(stage: dict[str, Any]) -> str:
    words = f"{stage['trained_tokens']:,} tokens, {stage['steps']:,} steps"
    if not stage.get("jacobian"):
        return words
    return f"{words} with the Jacobian term ({stage['jacobian_directions']}, {stage['jacobian']:g})"


def _responses(layers: list[dict[str, Any]]) -> list[str]:
    """The table of the response to a change; none where it was not measured."""
    if not all(figures.get("jacobian") for figures in layers):
        return []
    names = {"dec": "earlier decoder rows", "data": "data", "iso": "even directions"}
    words = (
        "Response to a change of what is read against the MLP's own (transcoders/fidelity.py): "
        "median cosine, and relative error in brackets."
    )
    rows = []
    for place, figures in enumerate(layers):
        found = [figures["jacobian"][name] for name in names]
        cells = (
            "" if one["cosine"] is None else f"{one['cosine']:.2f} ({one['error']:.2f})"
            for one in found
        )
        rows.append((f"{figures.get('layer', place)}", *cells))
    return ["", words, "", *table(("layer", *names.values()), rows)]


def write_hashes(folder: Path) -> None:
    """SHA256SUMS over everything that ships, in the form of `sha256sum`; `doctor` compares."""
    kinds = ("*.safetensors", "*.json", CARDS_FILE)
    files = sorted(file for kind in kinds for file in folder.glob(f"*/{kind}"))
    lines = [f"{sha256_of([file])}  {file.relative_to(folder).as_posix()}" for file in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
