"""Models of the hub, from a cache in its real layout and without a network."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from circuit_tracer.errors import ModelError
from circuit_tracer.models import open_model
from circuit_tracer.models.opening import find_model
from tests.device import HOST
from tests.tiny import tiny_llama

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, offline."""
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


def stored(
    cache: Path, name: str, *, commit: str = COMMIT, ref: str = "main", seed: int = 0
) -> Any:
    """A tiny model as the hub's client keeps it: blobs, snapshots of links, refs."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs, made = place / "snapshots" / commit, place / "blobs", cache / "made"
    snapshot.mkdir(parents=True)
    blobs.mkdir(exist_ok=True)
    model = tiny_llama(seed=seed, device=HOST)
    model.module.save_pretrained(made)
    model.tokenizer.save_pretrained(made)
    for file in made.iterdir():
        blob = blobs / f"{commit[:8]}-{file.name}"
        shutil.move(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    (place / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (place / "refs" / ref).write_text(commit)
    return model


def test_a_cached_model_opens_offline_with_its_commit(cache: Path) -> None:
    model = stored(cache, "org/tiny")
    opened = open_model("org/tiny", device="cpu")
    assert opened.identity.name == "org/tiny"
    assert opened.identity.source == f"hub:org/tiny@{COMMIT}"
    assert len(opened.identity.sha256) == 64
    ids = model.tokenize("a lemon is")
    assert torch.equal(opened.capture(ids).logits, model.capture(ids).logits)


@pytest.mark.parametrize("revision", ["v1", OLDER])
def test_a_revision_is_a_tag_or_a_commit(cache: Path, revision: str) -> None:
    stored(cache, "org/tiny")
    older = stored(cache, "org/tiny", commit=OLDER, ref="v1", seed=5)
    opened = open_model(f"org/tiny@{revision}", device="cpu")
    assert opened.identity.source == f"hub:org/tiny@{OLDER}"
    assert torch.equal(opened.unembedding, older.unembedding)


@pytest.mark.parametrize(
    ("reference", "ref"),
    [
        ("org/tiny@refs/pr/3", "refs/pr/3"),
        ("org/tiny@feature/x", "feature/x"),
        ("hf://org/tiny?revision=feature/x", "feature/x"),
        ("hf://org/tiny", "main"),
        ("gpt2-tiny@v1", "v1"),
    ],
)
def test_references_are_those_of_dictionaries(cache: Path, reference: str, ref: str) -> None:
    name = "gpt2-tiny" if reference.startswith("gpt2") else "org/tiny"
    stored(cache, name, ref=ref)
    source = find_model(reference)
    assert (source.name, source.origin, source.revision) == (name, "hub", COMMIT)


def test_a_folder_in_a_repository_is_no_model(cache: Path) -> None:
    for reference in ("org/tiny/sub", "hf://org/tiny/sub?revision=v1", "org/tiny/sub@v1"):
        with pytest.raises(ModelError, match=r"no folder .* as org/name or org/name@revision"):
            find_model(reference)


def test_what_the_cache_lacks_gets_a_sentence(cache: Path) -> None:
    stored(cache, "org/tiny")
    for reference, says in [
        ("nobody/nothing", 'no model "nobody/nothing"'),
        ("org/tiny@v9", 'no model "org/tiny" at revision "v9"'),
        ("two words", 'no model "two words"'),
    ]:
        with pytest.raises(ModelError) as caught:
            open_model(reference, device="cpu")
        assert says in str(caught.value)


def test_weights_and_architecture_are_looked_at_before_anything_is_read(cache: Path) -> None:
    stored(cache, "org/bare")
    snapshot = cache / "models--org--bare" / "snapshots" / COMMIT
    (snapshot / "model.safetensors").unlink()
    (snapshot / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"org/bare has no safetensors"):
        open_model("org/bare", device="cpu")
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").unlink()
    config["architectures"] = ["MambaForCausalLM"]
    (snapshot / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="MambaForCausalLM are not supported"):
        open_model("org/bare", device="cpu")


def test_a_silent_network_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers: waited for, this test would never end."""
    from circuit_tracer.models import hub

    stored(cache, "org/tiny")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "TIMEOUT", 0.1)
        opened = open_model("org/tiny", device="cpu")
        with pytest.raises(ModelError, match="ReadTimeout"):
            open_model("nobody/nothing", device="cpu")
    assert opened.identity.source.endswith(COMMIT)
