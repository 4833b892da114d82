"""Prepared audio, in memory and on disk: decoded once, and never something else than what the file holds now."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sound import cut_off, noise, write

import gemoclap.data.audio_store as audio_store
from gemoclap.audio import Recording, from_int16, load_audio, prepare_clip, to_int16
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore, pad_waveforms
from gemoclap.errors import GemoclapError

SETTINGS = AudioSettings(max_seconds=1.5)


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    """Files of 0.1 to 0.4 s, and two stretches of a longer one, at levels that need exponents of their own."""
    paths = [
        write(
            tmp_path / "audio" / f"clip{number}.wav",
            noise(0.1 + number / 30, rms=0.3**number, seed=number),
            subtype="FLOAT",
        )
        for number in range(10)
    ]
    talk = str(write(tmp_path / "audio" / "talk.wav", noise(2.0, 22050), 22050))
    files = [Utterance(path.stem, str(path)) for path in paths]
    return [*files, Utterance("part", talk, start=0.5, end=1.0), Utterance("whole", talk)]


@pytest.fixture(params=["memory", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if request.param == "disk" else None


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often each stretch was decoded."""
    counts: Counter = Counter()

    def counted(path: str, start: float | None, end: float | None) -> Recording:
        counts[path, start, end] += 1
        return Recording(path, start, end)

    monkeypatch.setattr(audio_store, "Recording", counted)
    return counts


def expected(row: Utterance, settings: AudioSettings = SETTINGS) -> np.ndarray:
    return prepare_clip(load_audio(row.path, row.start, row.end), settings)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_store_decodes_each_stretch_once(tmp_path: Path, folder: Path | None) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
    whole, part = Utterance("whole", str(path)), Utterance("part", str(path), start=0.5, end=1.0)
    store = AudioStore(SETTINGS, folder)
    assert store.lengths([whole, part]).tolist() == [24000, 8000]
    waveform = load_audio(path)
    np.testing.assert_array_equal(store(part), waveform[8000:16000])
    path.unlink()
    np.testing.assert_array_equal(store(whole), waveform[:24000])
    assert len(store(part)) == 8000


def test_a_kept_clip_is_exactly_the_prepared_one(rows: list[Utterance], folder: Path | None) -> None:
    """What training hears is what `prepare_clip` gives to the predictor; with and without reading ahead."""
    store = AudioStore(SETTINGS, folder)
    store.preload(rows[::2])
    for row in rows:
        waveform = store(row)
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, expected(row))
        waveform[:] = 0
        np.testing.assert_array_equal(store(row), expected(row), err_msg="a caller may write into what it was given")
    assert store.lengths(rows).tolist() == [len(expected(row)) for row in rows]


def test_preload_reports_progress_and_the_bad_file(rows: list[Utterance], folder: Path | None) -> None:
    store = AudioStore(SETTINGS, folder)
    calls: list[tuple[int, int]] = []
    store.preload([*rows, *rows], workers=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, len(rows)) for done in range(1, len(rows) + 1)]
    store.preload(rows, progress=lambda done, total: pytest.fail("already there"))
    Path(rows[3].path).write_text("not audio")
    with pytest.raises(
        GemoclapError, match=r"clip3.wav: cannot be decoded.*leave the row clip3 out; .gemoclap inspect. lists"
    ):
        AudioStore(SETTINGS, folder).preload(rows)


def test_a_file_that_is_not_there_is_named(rows: list[Utterance], folder: Path | None) -> None:
    gone = replace(rows[0], path=rows[0].path + ".gone")
    store = AudioStore(SETTINGS, folder)
    for call in (store, store.content_key, lambda row: store.preload([row]), lambda row: store.lengths([row])):
        with pytest.raises(GemoclapError) as caught:
            call(gone)
        message = str(caught.value)
        assert message.startswith(f"{gone.path}: ") and "check the name" in message and "\n" not in message


def test_inputs_are_the_waveforms_side_by_side(rows: list[Utterance], folder: Path | None) -> None:
    inputs = AudioStore(SETTINGS, folder).inputs(rows)
    assert inputs["lengths"].tolist() == [len(expected(row)) for row in rows]
    for row, waveform, length in zip(rows, inputs["waveforms"], inputs["lengths"], strict=True):
        np.testing.assert_array_equal(waveform[:length].numpy(), expected(row))
        assert not waveform[length:].any()


def test_padding_is_zero_behind_each_clip() -> None:
    padded, lengths = pad_waveforms([np.full(length, 0.5, np.float32) for length in (3, 5, 1)])
    assert lengths.tolist() == [3, 5, 1] and padded.dtype == torch.float32
    assert padded.tolist() == [[0.5] * 3 + [0] * 2, [0.5] * 5, [0.5] + [0] * 4]


def test_another_run_decodes_nothing(rows: list[Utterance], tmp_path: Path, decoded: Counter) -> None:
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows)
    assert set(decoded.values()) == {1} and len(decoded) == len(rows)
    decoded.clear()
    store = AudioStore(SETTINGS, tmp_path / "cache")
    assert store.lengths(rows).tolist() == [len(expected(row)) for row in rows]
    for row in rows:
        np.testing.assert_array_equal(store(row), expected(row))
    assert not decoded


def test_a_clip_is_known_by_the_file_s_content_not_by_its_name(
    rows: list[Utterance], tmp_path: Path, decoded: Counter
) -> None:
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows[:1])
    copied = Path(rows[0].path).rename(tmp_path / "elsewhere.wav")
    os.utime(copied, (0, 0))
    decoded.clear()
    np.testing.assert_array_equal(
        AudioStore(SETTINGS, tmp_path / "cache")(Utterance("moved", str(copied))), expected(Utterance("", str(copied)))
    )
    assert not decoded


def test_what_has_changed_is_decoded_again(
    rows: list[Utterance], tmp_path: Path, decoded: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows[-1]
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows)

    def decodes(changed: Utterance, settings: AudioSettings = SETTINGS) -> bool:
        decoded.clear()
        np.testing.assert_array_equal(AudioStore(settings, tmp_path / "cache")(changed), expected(changed, settings))
        return bool(decoded)

    assert not decodes(row) and not decodes(replace(row, id="other", emotion="sad"))
    assert decodes(replace(row, start=0.25)) and decodes(replace(row, end=1.25))
    assert decodes(row, AudioSettings(max_seconds=0.5)) and decodes(row, AudioSettings(1.5, trim_silence_db=None))
    stat = Path(row.path).stat()
    samples, rate = soundfile.read(row.path)
    soundfile.write(row.path, -samples, rate)
    os.utime(row.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Path(row.path).stat().st_size == stat.st_size and decodes(row), "same size, same time, other content"
    assert not decodes(row)
    monkeypatch.setattr(audio_store, "PREPARATION", audio_store.PREPARATION + 1)
    assert decodes(row)


def test_rows_of_one_file_hash_it_once(rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: Counter = Counter()
    digest = audio_store._file_sha256

    def count(path: str) -> str:
        hashed[path] += 1
        return digest(path)

    monkeypatch.setattr(audio_store, "_file_sha256", count)
    stretches = [replace(rows[-1], start=number / 10, end=number / 10 + 0.2) for number in range(15)]
    store = AudioStore(SETTINGS, tmp_path / "cache")
    store.preload(stretches)
    store.lengths(stretches)
    store(stretches[3])
    assert hashed == {rows[-1].path: 1}


def test_an_interrupted_preload_goes_on_where_it_was(
    rows: list[Utterance], tmp_path: Path, decoded: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_store, "SHARD_BYTES", 5000)

    def interrupt(done: int, total: int) -> None:
        # What is on disk by now is all that a kill would leave.
        if done == 8:
            interrupt.kept = len(AudioStore(SETTINGS, tmp_path / "cache")._clips)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        AudioStore(SETTINGS, tmp_path / "cache").preload(rows, workers=1, progress=interrupt)
    assert 6 <= interrupt.kept <= 8 and len(shards(tmp_path / "cache")) > 3
    decoded.clear()
    calls: list[int] = []
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows, progress=lambda done, total: calls.append(total))
    assert sum(decoded.values()) == len(calls) == len(rows) - 8 and set(calls) == {len(rows) - 8}


def test_a_bad_file_does_not_undo_the_others(rows: list[Utterance], tmp_path: Path, decoded: Counter) -> None:
    cut_off(Path(rows[9].path))
    with pytest.raises(GemoclapError, match="clip9.wav"):
        AudioStore(SETTINGS, tmp_path / "cache").preload(rows[:10], workers=1)
    decoded.clear()
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows[:9])
    assert not decoded


def test_a_damaged_shard_is_decoded_again(rows: list[Utterance], tmp_path: Path) -> None:
    AudioStore(SETTINGS, tmp_path / "cache").preload(rows)
    (shard,) = shards(tmp_path / "cache")
    cut_off(shard)
    with pytest.warns(UserWarning, match=shard.name):
        store = AudioStore(SETTINGS, tmp_path / "cache")
    for row in rows:
        np.testing.assert_array_equal(store(row), expected(row))


def test_the_content_key_is_of_what_is_heard(rows: list[Utterance], tmp_path: Path) -> None:
    """It does not know the file, the settings or the place; louder, shorter or other samples have another key."""
    stores = AudioStore(SETTINGS), AudioStore(SETTINGS, tmp_path / "cache"), AudioStore(AudioSettings(1.5, None))
    keys = [[store.content_key(row) for row in rows] for store in stores]
    assert keys[0] == keys[1] == keys[2] and len(set(keys[0])) == len(rows)
    samples, exponent = to_int16(expected(rows[2]))
    assert keys[0][2] == hashlib.sha256(np.array([exponent, *samples], "<i2").tobytes()).hexdigest()

    def key_of(name: str, waveform: np.ndarray, **options: str) -> str:
        return AudioStore(SETTINGS).content_key(Utterance(name, str(write(tmp_path / name, waveform, **options))))

    waveform = from_int16(samples, exponent)
    assert key_of("again.wav", waveform, subtype="DOUBLE") == keys[0][2]
    others = [waveform * 2, waveform[:-1], -waveform, np.append(waveform, np.float32(0))]
    different = {key_of(f"{number}.wav", other, subtype="FLOAT") for number, other in enumerate(others)}
    assert len(different | {keys[0][2]}) == 5


def test_threads_may_ask_for_the_same_clips(rows: list[Utterance], folder: Path | None) -> None:
    store, failures = AudioStore(SETTINGS, folder), []
    truth = {row.id: expected(row) for row in rows}

    def work(seed: int) -> None:
        try:
            for place in np.random.default_rng(seed).permutation(len(rows)):
                np.testing.assert_array_equal(store(rows[place]), truth[rows[place].id])
                store.lengths(rows[:place])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for row in rows:
        np.testing.assert_array_equal(AudioStore(SETTINGS, folder)(row), truth[row.id])
