"""EleutherAI sparsify: a folder a hook point (`layers.0.mlp`, `h.0.mlp`), config and weights.

    sae.safetensors: encoder.weight (F, d), encoder.bias, W_dec (F, d), b_dec, [W_skip (out, in)]

ReLU comes before top-k. A transcoder (`transcode: true`) does not subtract b_dec from what it
reads. It reads the input of the module it is named after and writes that module's output.
`num_latents` 0 means d_in x `expansion_factor`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders.formats.config_keys import agrees, check_keys
from circuit_tracer.transcoders.formats.files import (
    GET_AGAIN,
    by_layer,
    check_contiguous,
    place_of,
    read_table,
)
from circuit_tracer.transcoders.formats.hooks import read_point, write_point
from circuit_tracer.transcoders.formats.plan import LayerPlan, Plan, Slot
from circuit_tracer.transcoders.formats.reader import Folder
from circuit_tracer.transcoders.formats.settings import all_equal, count_of, plain_sae
from circuit_tracer.transcoders.formats.tensors import (
    find_tensor,
    length_of,
    refuse_others,
    safetensors_headers,
)

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
USED = {"activation", "k", "num_latents", "expansion_factor", "d_in", "transcode"}
USED |= {"skip_connection"}
"""Keys of the config that mean something here."""
_FILE = r"(?:.*/)?(?:[\w.]+\.)?(?:layers|h)\.(\d+)(?:\.[\w.]+)?/sae\.safetensors"


class Sparsify:
    """Reads sparsify's folders."""

    name = "sparsify"

    def recognises(self, names: Collection[str]) -> bool:
        """By `sae.safetensors`."""
        return any(name.rpartition("/")[2] == WEIGHTS for name in names)

    def choose(self, names: Collection[str]) -> list[str]:
        """Configs and weights of every hook point, and the run's own config."""
        return sorted(
            n for n in names if n.rpartition("/")[2] in (CONFIG, WEIGHTS) or n == "config.json"
        )

    def plan(self, folder: Folder) -> Plan:
        """From headers, configs and the folders' names."""
        files = by_layer(folder.files, _FILE)
        if not files:
            raise DictionaryError(
                f"{folder.name} has no folders such as layers.0.mlp with {WEIGHTS} in them; give "
                "the folder that holds every layer's"
            )
        check_contiguous(files, folder.name, f"layers.{{}}.mlp/{WEIGHTS}")
        model = _model(folder)
        layers, reads, writes, hooks = [], [], [], []
        notes: dict[str, None] = {}
        for layer, (name, path) in files.items():
            home = name.rpartition("/")[0]
            config = folder.files.get(f"{home}/{CONFIG}")
            if config is None:
                raise DictionaryError(f"{place_of(path)} has no {CONFIG} beside it; put it there")
            layers.append(_layer(layer, path, config))
            notes.update(dict.fromkeys(check_keys(read_table(config), USED, config)))
            hook = home.rpartition("/")[2]
            hooks.append(hook)
            reads.append(read_point(hook, layer=layer, wiring=folder.wiring, model=model))
            writes.append(write_point(hook, layer=layer))
        return Plan(
            format=self.name,
            kind="plt",
            layers=tuple(layers),
            activation="topk",
            reads=all_equal(reads, "reading points", folder.name),
            writes=all_equal(writes, "writing points", folder.name),
            reads_as=f"{hooks[0]} (its input)",
            writes_as=f"{hooks[0]} (its output)",
            model_name=model,
            notes=tuple(notes)[:1],
        )


def _layer(layer: int, path: Path, config_path: Path) -> LayerPlan:
    config = read_table(config_path)
    if config.get("transcode") is not True:
        raise plain_sae(f'{place_of(config_path)} without "transcode": true')
    if config.get("activation", "topk") != "topk":
        raise DictionaryError(
            f'{place_of(config_path)} has the activation "{config["activation"]}" where topk is '
            "known; ask for support of it"
        )
    headers = safetensors_headers(path)
    known = ("encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip")
    refuse_others(headers, known, path, "sparsify's layout")
    F, d = length_of(headers, "encoder.bias", path), length_of(headers, "b_dec", path)
    _check_sizes(config, F, d, config_path)
    if config.get("skip_connection") is not None or "W_skip" in headers:
        agrees(
            {"skip_connection": False, **config},
            "skip_connection",
            "W_skip" in headers,
            config_path,
        )
    return LayerPlan(
        layer=layer,
        n_features=F,
        d_model=d,
        n_written=1,
        W_enc=Slot(find_tensor(headers, "encoder.weight", path)),
        W_dec=find_tensor(headers, "W_dec", path),
        decoder="rows",
        b_enc=headers["encoder.bias"],
        b_dec=headers["b_dec"],
        k=count_of(config, "k", config_path),
        W_skip=Slot(headers["W_skip"]) if "W_skip" in headers else None,
    )


def _check_sizes(config: dict[str, Any], F: int, d: int, path: Path) -> None:
    width = config.get("d_in", d)
    latents = config.get("num_latents") or width * config.get("expansion_factor", 32)
    if width != d or latents != F:
        raise DictionaryError(
            f"{place_of(path)} speaks of {latents} features and width {width} and the weights "
            f"beside it have {F} and {d}; {GET_AGAIN}"
        )


def _model(folder: Folder) -> str | None:
    """The run's config at the top, where it is there, names the model."""
    path = folder.files.get("config.json")
    name = read_table(path).get("model") if path is not None else None
    return name if isinstance(name, str) else None


READER = Sparsify()
