"""The index of `gemoclap index`: exact search, recordings that are replaced, and what an ended run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from gemoclap.errors import GemoclapError
from gemoclap.inference import clip_index
from gemoclap.inference.clip_index import CLIPS, EMBEDDINGS, ClipIndex, IndexWriter
from gemoclap.inference.prediction import PartPrediction

MADE = {"model": "abc", "name": "default", "labels": ["sad", "happy"], "size": 6, "speech": "detect"}


def parts(count: int, seed: int) -> list[PartPrediction]:
    vectors = np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        PartPrediction(float(number), number + 0.5, "sad", 0.75, {"sad": 0.75, "happy": 0.25}, vector)
        for number, vector in enumerate(vectors)
    ]


def made(folder: str | Path, counts: dict[str, int]) -> dict[str, list[PartPrediction]]:
    """Return the parts of recordings that were added to an index."""
    of_each = {name: parts(count, seed) for seed, (name, count) in enumerate(counts.items())}
    with IndexWriter(folder, MADE) as index:
        for name, own in of_each.items():
            index.add({"path": name}, own, [1, 2])
    return of_each


@pytest.mark.parametrize("block", [1, 7, 65536])
@pytest.mark.parametrize("count", [1, 5, 100])
def test_search_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, count: int) -> None:
    of_each = made(str(tmp_path / "index"), {"a.wav": 9, "b.wav": 0, "c.wav": 1, "d.wav": 13})
    question = parts(1, 99)[0].embedding
    expected = sorted(
        (-float(np.float16(one.embedding).astype(np.float64) @ question.astype(np.float64)), name, one.start)
        for name, own in of_each.items()
        for one in own
    )
    monkeypatch.setattr(clip_index, "BLOCK", block)
    index = ClipIndex(str(tmp_path / "index"))
    assert (index.recordings, index.parts) == (4, 23)
    found = index.search(question, count)
    assert [(one.about["path"], one.start) for one in found] == [(name, start) for _, name, start in expected[:count]]
    np.testing.assert_allclose(
        [one.similarity for one in found], [-cosine for cosine, *_ in expected[:count]], atol=1e-6
    )
    assert all((one.end, one.emotion, one.confidence) == (one.start + 0.5, "sad", 0.75) for one in found)


def test_a_recording_is_replaced_and_one_that_cannot_be_read_any_more_is_gone(tmp_path: Path) -> None:
    old = made(tmp_path, {"a.wav": 3, "b.wav": 2, "c.wav": 1})
    new = parts(2, 50)
    with IndexWriter(tmp_path, MADE) as index:
        assert index.known == {f"{name}\t\t\t": [1, 2] for name in old}
        index.add({"path": "a.wav"}, new, [3, 4])
        index.add({"path": "b.wav"}, GemoclapError("b.wav: damaged"), [3, 4])
        assert index.known == {"a.wav\t\t\t": [3, 4], "b.wav\t\t\t": None, "c.wav\t\t\t": [1, 2]}
    again = ClipIndex(tmp_path)
    assert (again.recordings, again.parts) == (2, 3)
    for one in [*new, *old["c.wav"]]:
        assert again.search(one.embedding, 1)[0].similarity == pytest.approx(1, abs=1e-3)
    for one in [*old["a.wav"], *old["b.wav"]]:
        assert again.search(one.embedding, 1)[0].similarity < 0.99


@pytest.mark.parametrize("lost", ["half a row", "the row"])
def test_what_a_killed_command_left_half_written_is_written_again(tmp_path: Path, lost: str) -> None:
    made(tmp_path / "whole", {"a.wav": 3, "b.wav": 2})
    made(tmp_path / "index", {"a.wav": 3, "b.wav": 2})
    rows = (tmp_path / "index" / CLIPS).read_bytes()
    first = rows.index(b"\n") + 1
    (tmp_path / "index" / CLIPS).write_bytes(rows[: first + (10 if lost == "half a row" else 0)])
    assert ClipIndex(tmp_path / "index").recordings == 1  # a search meanwhile sees what is whole
    with IndexWriter(tmp_path / "index", MADE) as index:
        assert [*index.known] == ["a.wav\t\t\t"]
        index.add({"path": "b.wav"}, parts(2, 1), [1, 2])
    for name in (CLIPS, EMBEDDINGS):
        assert (tmp_path / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    with IndexWriter(tmp_path, MADE) as index:
        index.add({"path": "call.wav", "id": "turn 2", "start": 60.0, "end": 75.0}, parts(2, 3))
    found = ClipIndex(tmp_path).search(parts(2, 3)[1].embedding, 1)[0]
    assert (found.start, found.end) == (61.0, 61.5)
    assert found.about == {"path": "call.wav", "id": "turn 2", "start": 60.0, "end": 75.0}


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    made(tmp_path, {"silent.wav": 0})
    assert ClipIndex(tmp_path).search(parts(1, 0)[0].embedding, 5) == []


def break_row(folder: Path) -> None:
    (folder / CLIPS).write_text("[]\n")


def cut_embeddings(folder: Path) -> None:
    (folder / EMBEDDINGS).write_bytes(b"1234")


def other_version(folder: Path) -> None:
    (folder / "index.json").write_text('{"version": 0}')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_row, "clips.jsonl, line 1: not a row of an index"),
        (cut_embeddings, "embeddings.f16: has fewer embeddings than clips.jsonl names"),
        (other_version, "has version 0 of the files, not 1"),
    ],
)
def test_damage_is_named_with_its_remedy(tmp_path: Path, damage: Any, says: str) -> None:
    made(tmp_path, {"a.wav": 3})
    damage(tmp_path)
    for attempt in (lambda: ClipIndex(tmp_path), lambda: IndexWriter(tmp_path, MADE).__enter__()):
        with pytest.raises(GemoclapError) as raised:
            attempt()
        assert says in str(raised.value) and str(raised.value).endswith("gemoclap index ... --overwrite'")


def test_an_index_of_another_model_and_one_that_is_being_written_are_left_alone(tmp_path: Path) -> None:
    made(tmp_path, {"a.wav": 3})
    with pytest.raises(GemoclapError, match="made with another model or other settings"):
        IndexWriter(tmp_path, {**MADE, "model": "other"}).__enter__()
    with FileLock(tmp_path / ".lock"), pytest.raises(GemoclapError, match="another 'gemoclap index' is adding to it"):
        IndexWriter(tmp_path, MADE).__enter__()
    with pytest.raises(GemoclapError, match=r"no index in it \(no index.json\)"):
        ClipIndex(tmp_path / "nothing")
    assert ClipIndex(tmp_path).parts == 3


def test_a_full_disk_is_named_once_although_closing_the_files_meets_it_again(tmp_path: Path) -> None:
    full = Path("/dev/full").open("ab")  # noqa: SIM115  # the index closes it
    with (
        pytest.raises(GemoclapError, match=f"{tmp_path}: cannot be written, the disk"),
        IndexWriter(tmp_path, MADE) as index,
    ):
        index._embeddings = index._leave.enter_context(full)
        index.add({"path": "a.wav"}, parts(1, 0), [1, 2])
