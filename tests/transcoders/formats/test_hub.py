"""Hub references, resolved offline against a cache in the library's own layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from circuit_tracer.errors import DictionaryError
from circuit_tracer.hub_reference import HubReference, parse_reference
from circuit_tracer.transcoders.hub import select
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders, plan_dictionary
from tests.transcoders.formats.hub_cache import COMMIT, publish
from tests.transcoders.formats.published import (
    CASES,
    FakeModel,
    raw_layers,
    save_yaml,
    write_gemma_scope,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    place = tmp_path / "cache"
    place.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/repo", HubReference("org/repo", "", None)),
        ("org/repo/sub/folder@v2", HubReference("org/repo", "sub/folder", "v2")),
        ("hf://org/repo/a/b.npz?revision=dev", HubReference("org/repo", "a/b.npz", "dev")),
        ("hf://org/repo", HubReference("org/repo", "", None)),
        ("org/repo@refs/pr/3", HubReference("org/repo", "", "refs/pr/3")),
        ("org/repo/sub@feature/x", HubReference("org/repo", "sub", "feature/x")),
        ("hf://org/repo@refs/pr/3/sub", HubReference("org/repo", "sub", "refs/pr/3")),
        ("hf://org/repo@feature%2Fx/a", HubReference("org/repo", "a", "feature/x")),
        ("hf://org/repo@v1?revision=v2", None),
        ("hf://org/repo?branch=v2", None),
        ("org/repo@", None),
        ("gpt2", None),
        ("org/repo/layer_*/average_l0_7?", HubReference("org/repo", "layer_*/average_l0_7?", None)),
        ("plt", None),
        ("./org/repo", None),
        ("/org/repo", None),
        ("~/org/repo", None),
        ("org/../repo", None),
        ("org//repo", None),
    ],
)
def test_what_a_reference_names(text: str, expected: HubReference | None) -> None:
    assert parse_reference(text) == expected


def test_a_pattern_keeps_the_layers_own_folders() -> None:
    names = ["a/layer_0/x/w", "a/layer_1/y/w", "b/layer_0/x/w", "a/w"]
    assert select(names, "a") == {"layer_0/x/w": names[0], "layer_1/y/w": names[1], "w": "a/w"}
    assert select(names, "a/layer_*/x") == {"layer_0/x/w": names[0]}
    assert select(names, "") == {name: name for name in names}
    assert select(names, "a/w") == {}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_repository_equals_the_same_folder(case, cache: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    case.write(tmp_path / "set", raw_layers())
    local = open_transcoders(tmp_path / "set", FakeModel())
    publish(cache, "org/repo", tmp_path / "set")
    found = open_transcoders("org/repo", FakeModel())
    assert found.identity.source == f"hub:org/repo@{COMMIT}"
    assert (found.identity.name, found.identity.sha256) == ("org/repo", local.identity.sha256)
    for ours, theirs in zip(found.layers, local.layers, strict=True):
        assert torch.equal(ours.W_enc, theirs.W_enc)


def test_a_folder_and_a_revision_of_a_repository(cache: Path, tmp_path: Path) -> None:
    CASES["circuit-tracer, skip"].write(tmp_path / "set/plt/wide", raw_layers(1))
    CASES["circuit-tracer, clt"].write(tmp_path / "set/clt", raw_layers(2))
    publish(cache, "org/repo", tmp_path / "set")
    publish(cache, "org/repo", tmp_path / "set", revision="v2")
    for text in ("org/repo/plt/wide", "hf://org/repo/plt/wide", "org/repo/plt/wide/"):
        assert find_dictionary(text).source == f"hub:org/repo/plt/wide@{COMMIT}"
    assert open_transcoders("org/repo/clt@v2").kind == "clt"
    assert open_transcoders("hf://org/repo/clt?revision=v2").kind == "clt"
    assert not find_dictionary("org/repo/clt@v2").source.endswith(COMMIT)
    assert open_transcoders("org/repo/clt", lazy=True).layers[0].n_written == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("org/other", "gave nothing for org/other .*HF_HUB_OFFLINE"),
        ("org/repo@v9", "gave nothing for org/repo at v9"),
        ("org/repo/nowhere", 'no dictionary.s files under "nowhere"|holds no dictionary'),
        ("org/repo/set/*x*", "has no dictionary|holds no dictionary"),
        ("sprout/nothing", 'there is no dictionary "sprout/nothing"'),
    ],
)
def test_what_is_not_there_is_named(text: str, words: str, cache: Path, tmp_path: Path) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    publish(cache, "org/repo", tmp_path / "set")
    with pytest.raises(DictionaryError, match=words) as caught:
        find_dictionary(text)
    assert "\n" not in str(caught.value)


def test_only_the_needed_files_are_downloaded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gemma_scope(tmp_path / "set", raw_layers())
    snapshot = publish(cache, "org/repo", tmp_path / "set")
    names = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*.npz")]
    others = ["readme.md", "layer_0/width_16k/average_l0_900/params.npz", "layer_0/width_1m/x.npz"]
    asked: list[list[str]] = []

    def download(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(sorted(allow_patterns))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    listing = SimpleNamespace(siblings=[SimpleNamespace(rfilename=n) for n in [*names, *others]])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, *a, **k: listing)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert open_transcoders("org/repo", FakeModel()).n_layers == 3
    assert asked == [sorted(names)]


def test_without_network_the_cache_has_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CASES["sparsify"].write(tmp_path / "set", raw_layers())
    publish(cache, "org/repo", tmp_path / "set")

    def unreachable(self: object, *args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    assert open_transcoders("org/repo").layers[0].k == 4
    with pytest.raises(DictionaryError, match="check the name, the network"):
        open_transcoders("org/other")


def test_links_may_not_leave_a_repository(cache: Path, tmp_path: Path) -> None:
    CASES["circuit-tracer, skip"].write(tmp_path / "set", raw_layers())
    snapshot = publish(cache, "org/repo", tmp_path / "set")
    (snapshot / "layer_1.safetensors").unlink()
    (snapshot / "layer_1.safetensors").symlink_to(tmp_path / "set/layer_1.safetensors")
    with pytest.raises(DictionaryError, match="is a link that leaves"):
        open_transcoders("org/repo")


def test_a_config_may_list_files_of_other_repositories(cache: Path, tmp_path: Path) -> None:
    """circuit-tracer's Gemma set: its config alone, the weights at Google's."""
    raw = raw_layers()
    write_gemma_scope(tmp_path / "google", raw)
    publish(cache, "google/gemma-scope-2b-pt-transcoders", tmp_path / "google")
    CASES["gemma-scope-2"].write(tmp_path / "scope2", raw)
    publish(cache, "google/gemma-scope-2-1b-it", tmp_path / "scope2", revision="r1")
    home = "hf://google/gemma-scope-2b-pt-transcoders/layer_{0}/width_16k/average_l0_{1}/params.npz"
    variant = "transcoder_all/layer_2_width_16k_l0_small_affine/params.safetensors"
    save_yaml(
        tmp_path / "config/config.yaml",
        model_kind="transcoder_set",
        model_name="google/gemma-2-2b",
        feature_input_hook="ln2.hook_normalized",
        feature_output_hook="hook_mlp_out",
        transcoders=[home.format(layer, 60 + 7 * layer) for layer in range(3)],
    )
    publish(cache, "mntss/gemma-scope-transcoders", tmp_path / "config")
    listed = open_transcoders("mntss/gemma-scope-transcoders", FakeModel())
    direct = open_transcoders("google/gemma-scope-2b-pt-transcoders", FakeModel())
    assert (listed.reads, listed.writes) == (direct.reads, direct.writes)
    assert listed.identity.sha256 == direct.identity.sha256
    for ours, theirs in zip(listed.layers, direct.layers, strict=True):
        assert torch.equal(ours.W_enc, theirs.W_enc)
        assert torch.equal(ours.threshold, theirs.threshold)  # type: ignore[arg-type]

    file = f"hf://google/gemma-scope-2-1b-it/{variant}?revision=r1"
    old = [
        {"id": "x", "layer": i, "filepath": file.replace("layer_2", f"layer_{i}")}
        for i in (1, 2, 0)
    ]
    save_yaml(
        tmp_path / "old/config.yaml",
        feature_input_hook="blocks.{layer}.mlp.hook_in",
        feature_output_hook="hook_mlp_out",
        transcoders=old,
    )
    found = open_transcoders(tmp_path / "old", FakeModel())
    second = open_transcoders("google/gemma-scope-2-1b-it@r1", FakeModel())
    for ours, theirs in zip(found.layers, second.layers, strict=True):
        assert torch.equal(ours.W_skip, theirs.W_skip)  # type: ignore[arg-type]
    save_yaml(tmp_path / "old/config.yaml", transcoders=["hf://google/nothing/x.npz"])
    with pytest.raises(DictionaryError, match="gave nothing for google/nothing"):
        open_transcoders(tmp_path / "old")


def test_one_file_a_layer_is_chosen_of_several_and_said(cache: Path, tmp_path: Path) -> None:
    write_gemma_scope(tmp_path / "set", raw_layers())  # average L0 60, 67, 74
    for layer, l0 in ((0, 110), (0, 900), (2, 5)):
        place = tmp_path / f"set/layer_{layer}/width_16k/average_l0_{l0}"
        place.mkdir()
        source = next((tmp_path / f"set/layer_{layer}/width_16k").glob("average_l0_[67]*"))
        (place / "params.npz").write_bytes((source / "params.npz").read_bytes())
    (tmp_path / "set/layer_0/width_65k/average_l0_100").mkdir(parents=True)
    (tmp_path / "set/layer_0/width_65k/average_l0_100/params.npz").write_bytes(b"not looked at")
    publish(cache, "google/gemma-scope-2b-pt-transcoders", tmp_path / "set")
    plan = plan_dictionary(find_dictionary("google/gemma-scope-2b-pt-transcoders"))
    assert "width 16k, average L0 110, 67, 74 for layers 0 to 2" in plan.notes[0]
    assert plan.model_name == "google/gemma-2-2b"
    pattern = "google/gemma-scope-2b-pt-transcoders/layer_*/width_16k/average_l0_[67]*"
    assert "L0 60, 67, 74" in plan_dictionary(find_dictionary(pattern)).notes[0]
    local = f"{tmp_path}/set/layer_*/width_16k/average_l0_[57]*"
    with pytest.raises(DictionaryError, match="lacks layer_0"):
        plan_dictionary(find_dictionary(local))


def test_the_variant_that_all_layers_have_is_chosen(tmp_path: Path) -> None:
    CASES["gemma-scope-2"].write(tmp_path / "set", raw_layers())
    home = tmp_path / "set/transcoder_all"
    for layer in range(3):
        small = home / f"layer_{layer}_width_16k_l0_small_affine"
        for name in ("262k_l0_small_affine", "16k_l0_big_affine", "16k_l0_small"):
            other = home / f"layer_{layer}_width_{name}"
            other.mkdir()
            for file in small.iterdir():
                (other / file.name).write_bytes(file.read_bytes())
    plan = plan_dictionary(find_dictionary(tmp_path / "set"))
    assert all("16k_l0_small_affine" in str(file) for file in plan.files)
    assert "chosen: transcoder_all/layer_0_width_16k_l0_small_affine" in plan.notes[0]
    wide = plan_dictionary(find_dictionary(f"{tmp_path}/set/transcoder_all/layer_*_width_262k*"))
    assert all("262k_l0_small_affine" in str(file) for file in wide.files)
    (home / "layer_1_width_16k_l0_small_affine/params.safetensors").unlink()
    plan = plan_dictionary(find_dictionary(tmp_path / "set"))
    assert all("16k_l0_small/" in str(file) for file in plan.files)


def test_topk_sets_that_do_not_say_their_k(cache: Path, tmp_path: Path) -> None:
    CASES["circuit-tracer, topk"].write(tmp_path / "set", raw_layers())
    config = tmp_path / "set/config.yaml"
    config.write_text("\n".join(x for x in config.read_text().splitlines() if x != "k: 4") + "\n")
    publish(cache, "org/repo", tmp_path / "set")
    publish(cache, "facebook/crv-8b-instruct-transcoders", tmp_path / "set")
    with pytest.raises(DictionaryError, match="does not say its k"):
        open_transcoders("org/repo")
    known = open_transcoders("facebook/crv-8b-instruct-transcoders")
    assert {t.k for t in known.layers} == {128}
    assert "128 is known to be right" in known.notes[0]
