"""Blocks: joined they are the whole, however they are cut; windows are decoded alone; memory stays flat."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from sound import noise, tone, write

import gemoclap.audio.decoders as decoders
import gemoclap.audio.recording as recording_module
from gemoclap.audio import (
    SAMPLE_RATE,
    Recording,
    kept_range,
    load_audio,
    load_clip,
    prepare_clip,
    resample_blocks,
    stream_audio,
)
from gemoclap.audio.silence import loud_range
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError


def cut(waveform: np.ndarray, rng: np.random.Generator, longest: int) -> Iterator[np.ndarray]:
    """Cut a waveform into blocks of random lengths, some of them empty."""
    position = 0
    while position < len(waveform):
        length = int(rng.integers(0, longest))
        yield waveform[position : position + length]
        position += length


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 44100, 48000, 16001])
def test_resampling_in_blocks_is_resampling_of_the_whole_bit_by_bit(sample_rate: int) -> None:
    rng = np.random.default_rng(sample_rate)
    for longest in (2, 50, 700, 5000, 90000):
        waveform = rng.standard_normal(int(rng.integers(1, 50 * longest if longest < 100 else 100_000))).astype(
            np.float32
        )
        expected = soxr.resample(waveform, sample_rate, SAMPLE_RATE, quality="VHQ")
        found = np.concatenate(list(resample_blocks(cut(waveform, rng, longest), sample_rate)))
        assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("suffix, sample_rate", [("wav", 44100), ("flac", 16000), ("mp3", 48000), ("opus", 48000)])
def test_the_blocks_of_a_stream_are_the_samples_of_the_file(tmp_path: Path, suffix: str, sample_rate: int) -> None:
    stereo = np.stack([noise(1.3, sample_rate), noise(1.3, sample_rate, seed=1)], axis=1)
    path = write(tmp_path / f"clip.{suffix}", stereo, sample_rate)
    decoded = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    expected = decoded if sample_rate == 16000 else soxr.resample(decoded, sample_rate, SAMPLE_RATE, quality="VHQ")
    rng = np.random.default_rng(0)
    for block_samples in (1000, *rng.integers(1, 30000, 4).tolist()):
        blocks = list(stream_audio(path, block_samples=block_samples))
        assert {len(block) for block in blocks[:-1]} <= {block_samples} and 0 < len(blocks[-1]) <= block_samples
        assert np.concatenate(blocks).tobytes() == expected.tobytes()
    with stream_audio(path, 0.25, 0.75) as stream:
        assert (stream.start, stream.sample_rate) == (0.25, 16000)
        assert np.array_equal(np.concatenate(list(stream)), load_audio(path, 0.25, 0.75))


def test_small_decoder_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("wav", "flac", "mp3", "ogg", "opus"):
        path = write(tmp_path / f"clip.{suffix}", noise(1.1, 48000), 48000)
        expected = load_audio(path)
        with monkeypatch.context() as patch:
            patch.setattr(decoders, "BLOCK_VALUES", 777)
            assert load_audio(path).tobytes() == expected.tobytes()


@pytest.mark.parametrize("suffix", ["wav", "flac", "w64", "aiff", "ogg"])
def test_a_window_of_a_long_file_is_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = write(tmp_path / f"clip.{suffix}", noise(60.0, 8000), 8000)
    decoded = []
    read = decoders._Sequential.read

    def counted(self: decoders._Sequential, *arguments: int, **options: str) -> np.ndarray:
        block = read(self, *arguments, **options)
        decoded.append(len(block))
        return block

    monkeypatch.setattr(decoders, "BLOCK_VALUES", 4000)
    monkeypatch.setattr(decoders._Sequential, "read", counted)
    assert len(load_audio(path, 50.0, 51.5)) == 24000
    assert 12000 <= sum(decoded) <= 16000
    stream, decoded[:] = stream_audio(path, 20.0, block_samples=1600), []
    next(stream)
    stream.close()
    assert sum(decoded) <= 8000 and next(stream, None) is None


def test_a_stream_that_is_left_early_closes_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.wav", noise(3.0))
    with stream_audio(path, block_samples=100) as stream:
        next(stream)
    assert list(stream) == []
    with pytest.raises(GemoclapError, match="block_samples"):
        stream_audio(path, block_samples=0)


def naive_loud_range(waveform: np.ndarray, below_db: float) -> tuple[int, int]:
    """Look at every frame of 25 ms, 10 ms apart."""
    powers = [float(np.square(waveform[start : start + 400]).sum()) for start in range(0, len(waveform), 160)]
    loud = [frame for frame, power in enumerate(powers) if power >= max(powers) * 10 ** (-below_db / 10)]
    return max(0, loud[0] * 160 - 800), min(len(waveform), loud[-1] * 160 + 400 + 800)


def test_silence_is_found_block_by_block_as_in_the_whole() -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        parts = [
            10 ** rng.uniform(-4, 0) * rng.standard_normal(rng.integers(1, 3000)) for _ in range(rng.integers(1, 9))
        ]
        waveform = np.round(np.concatenate(parts) * 2**10) / 2**10  # sums of squares are exact, in any order
        below_db = float(rng.uniform(1, 50))
        expected = naive_loud_range(waveform, below_db)
        assert loud_range([waveform], below_db) == expected
        assert loud_range(cut(waveform, rng, [2, 100, 1000, 5000][number % 4] + 1), below_db) == expected


@pytest.mark.parametrize(
    "settings",
    [AudioSettings(0.5, 30.0), AudioSettings(None, 30.0), AudioSettings(0.5, None), AudioSettings(None, None)],
)
@pytest.mark.parametrize("held", [120.0, 0.1])
def test_a_clip_from_blocks_is_the_clip_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: AudioSettings, held: float
) -> None:
    monkeypatch.setattr(recording_module, "HELD_SECONDS", held)
    hush = np.zeros(30000)
    path = write(tmp_path / "clip.wav", np.concatenate([hush, tone(300, 1.0, 22050), hush]), 22050)
    expected = prepare_clip(load_audio(path, 0.2), settings)
    recording = Recording(path, 0.2)
    assert load_clip(recording, settings).tobytes() == expected.tobytes()
    assert recording.samples == len(load_audio(path, 0.2)) and recording.peak == np.abs(load_audio(path, 0.2)).max()
    assert kept_range(recording, settings) == kept_range(Recording(load_audio(path, 0.2)), settings)


@pytest.mark.parametrize("held", [120.0, 0.1])
def test_a_recording_gives_the_samples_between_edges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: float
) -> None:
    monkeypatch.setattr(recording_module, "HELD_SECONDS", held)
    samples = noise(25.0)
    path = write(tmp_path / "clip.wav", samples, subtype="FLOAT")
    whole = load_audio(path)
    rng = np.random.default_rng(1)
    for _ in range(20):
        edges = np.sort(rng.integers(0, len(whole), 6)).tolist()
        pieces = list(Recording(path).pieces(edges))
        expected = [whole[low:high] for low, high in zip(edges, edges[1:], strict=False)]
        assert all(np.array_equal(*pair) for pair in zip(pieces, expected, strict=True))
    assert np.array_equal(Recording(path).read(), whole)
    assert np.array_equal(Recording(path).read(399_000, 500_000), whole[399_000:])
    assert np.array_equal(Recording(whole).read(5, 9), whole[5:9])


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "HELD_SECONDS", 5.0)
    monkeypatch.setattr(decoders, "BLOCK_VALUES", 2**14)
    peaks = []
    for seconds in (20, 120):
        path = write(tmp_path / "clip.wav", noise(float(seconds), 8000), 8000)
        tracemalloc.start()
        try:
            clip = load_clip(Recording(path), AudioSettings(2.0, 35.0))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(clip) == 32000
    assert peaks[1] < 1.2 * peaks[0] < 120 * 16000 * 4
