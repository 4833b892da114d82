"""Which weights a folder or a hub's cache holds, and whether they are others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakehub import COMMIT, offline_hub, snapshot

from gemoclap.encoders.weights import NAMES, find_weights
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash


@pytest.fixture(params=["folder", "hub"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """What a model is called, and where its files lie."""
    cache = offline_hub(tmp_path / "hub", monkeypatch)
    if request.param == "hub":
        return "org/model", snapshot(cache, "org/model")
    (tmp_path / "model").mkdir()
    return str(tmp_path / "model"), tmp_path / "model"


def sharded(folder: Path, index: str, shards: dict[str, bytes]) -> None:
    for name, content in shards.items():
        (folder / name).write_bytes(content)
    places = {f"weight{number}": name for number, name in enumerate(shards)}
    (folder / index).write_text(json.dumps({"weight_map": {**places, "another": next(iter(shards))}}))


def test_safetensors_come_before_pickles(place: tuple[str, Path]) -> None:
    name, folder = place
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    found = find_weights(name)
    assert found.files == (folder / "pytorch_model.bin",) and found.are_pickled
    assert found.commit == (COMMIT if name == "org/model" else None)


def test_all_that_an_index_names_are_found(place: tuple[str, Path]) -> None:
    name, folder = place
    shards = {f"model-{number}-of-2.safetensors": bytes([number]) for number in (2, 1)}
    sharded(folder, NAMES[1], shards)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    found = find_weights(name)
    assert found.files == tuple(folder / shard for shard in sorted(shards)) and not found.are_pickled


def test_a_shard_that_is_not_there_is_named(place: tuple[str, Path]) -> None:
    name, folder = place
    sharded(folder, NAMES[3], {"one.bin": b"1", "two.bin": b"2"})
    (folder / "two.bin").unlink()
    with pytest.raises(GemoclapError, match=r"lacks two\.bin"):
        find_weights(name)


def test_no_weights(place: tuple[str, Path]) -> None:
    with pytest.raises(GemoclapError, match=r"no model\.safetensors and no pytorch_model\.bin"):
        find_weights(place[0])


def test_the_hash_is_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    assert find_weights(str(tmp_path)).hash() == file_hash(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    hashes = set()
    for content in (b"2", b"3"):
        sharded(tmp_path, NAMES[1], {"a.safetensors": b"1", "b.safetensors": content})
        hashes.add(find_weights(str(tmp_path)).hash())
    assert len(hashes) == 2


def test_a_run_sees_one_commit_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = offline_hub(tmp_path / "hub", monkeypatch)
    (snapshot(cache, "org/model") / "model.safetensors").write_bytes(b"one")
    first = find_weights("org/model")
    later = cache / "models--org--model" / "snapshots" / ("b" * 40)
    later.mkdir()
    (later / "model.safetensors").write_bytes(b"other")
    (cache / "models--org--model" / "refs" / "main").write_text("b" * 40)
    assert find_weights("org/model") == first
    offline_hub(cache, monkeypatch)  # as in another process
    assert find_weights("org/model").commit == "b" * 40 and find_weights("org/model").hash() != first.hash()
