"""What ships with the tool, where it is, and what identifies files. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DEFAULT_MODEL = "sprout"
"""The bundled model that commands take when none is named."""
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
"""File endings that can run code when opened; never opened."""
CARDS_FILE = "cards.parquet"
DICTIONARY_FILE = "dictionary.json"


def shipped_folder(name: str) -> Path:
    """What ships under a name: package data in a wheel, a folder at the top of a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "shipped" / name
    return shipped if shipped.is_dir() else package.parent / name


def bundled_folder() -> Path:
    """The folder of bundled models."""
    return shipped_folder("transcoders")


def bundled_models() -> list[str]:
    """Names of the bundled models: every folder with a model's config and a card is one."""
    folders = [config.parents[1] for config in bundled_folder().glob("*/model/config.json")]
    return sorted(folder.name for folder in folders if (folder / "README.md").is_file())


def shipped_prompts(ending: str) -> dict[str, Path]:
    """The prompt files (".jsonl") or specs (".toml") that ship, by their bare names."""
    files = {path.stem: path for path in shipped_folder("prompts").glob(f"*{ending}")}
    return dict(sorted(files.items()))


def shipped_edits() -> list[str]:
    """Names of the specs of edits that ship."""
    return [name for name in shipped_prompts(".toml") if name.startswith("edits-")]


def shipped_specs(command: str) -> dict[str, Path]:
    """The specs that ship for `dissociate`, `diff` or `edits`, by their bare names."""
    files, edits = shipped_prompts(".toml"), shipped_edits()
    compared = [name for name, path in files.items() if "topics" in tomllib.loads(_text(path))]
    of_others = {"edits": edits, "diff": [name for name in compared if name not in edits]}
    rest = [name for name in files if name not in (*edits, *compared)]
    return {name: files[name] for name in of_others.get(command, rest)}


def shipped_transcripts() -> dict[str, Path]:
    """The files of transcripts that ship, by their bare names."""
    files = shipped_prompts(".jsonl").items()
    return {name: path for name, path in files if '"reasoning"' in _text(path).partition("\n")[0]}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def shipped_words() -> dict[str, Path]:
    """Files of word classes that ship, by name."""
    files = shipped_prompts(".txt").items()
    return {name: path for name, path in files if name.startswith("words-")}


def bundled_dictionaries(model: str) -> list[str]:
    """Names of the dictionaries that ship with a bundled model."""
    return sorted(p.parent.name for p in (bundled_folder() / model).glob(f"*/{DICTIONARY_FILE}"))


def bundled_transcoders(model: str) -> list[str]:
    """Those of them that stand for MLPs; the others are sparse autoencoders."""
    folder = bundled_folder() / model
    return [name for name in bundled_dictionaries(model) if not _is_sparse(folder / name)]


def _is_sparse(folder: Path) -> bool:
    kind = json.loads((folder / DICTIONARY_FILE).read_text(encoding="utf-8")).get("kind")
    return bool(kind == "sae")


def default_dictionary(model: str, source: str) -> str:
    """What a model is traced with by default: its bundled transcoders, or its own neurons."""
    return "plt" if source == "bundled" and "plt" in bundled_dictionaries(model) else "neurons"


def list_bundled() -> list[dict[str, Any]]:
    """One row per bundled model, read from its config without opening the weights."""
    rows = []
    for name in bundled_models():
        folder = bundled_folder() / name
        config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
        weights = [*folder.glob("*/*.safetensors"), *folder.glob(f"*/{CARDS_FILE}")]
        rows.append(
            {
                "name": name,
                "architecture": config["architectures"][0],
                "layers": config["num_hidden_layers"],
                "d_model": config["hidden_size"],
                "vocabulary": config["vocab_size"],
                "dictionaries": bundled_dictionaries(name),
                "bytes": sum(file.stat().st_size for file in weights),
            }
        )
    return rows


def sha256_of(files: Iterable[Path]) -> str:
    """One hash over several files, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
