"""Channels apart, and a resampler whose state can be stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from sound import cut_off, noise, tone, write

from gemoclap.audio import BlockResampler, load_audio, open_channels
from gemoclap.errors import GemoclapError


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_each_channel_is_as_it_was_recorded(name: str, tmp_path: Path) -> None:
    sides = [noise(21, 8000, seed=1), tone(300, 21, 8000), np.zeros(21 * 8000)]
    path = write(tmp_path / name, np.stack(sides, axis=1), 8000)
    with open_channels(path) as file:
        assert (file.sample_rate, file.channels, file.samples) == (8000, 3, 21 * 8000)
        blocks = list(file.blocks())
    assert len(blocks) > 1 and all(block.dtype == np.float32 for block in blocks)
    whole = np.concatenate(blocks)
    np.testing.assert_array_equal(soxr.resample(whole.mean(axis=1), 8000, 16000, quality="VHQ"), load_audio(path))
    assert not whole[:, 2].any() or name == "a.ogg"
    if name != "a.ogg":  # 16 bits a sample
        np.testing.assert_allclose(whole, np.stack(sides, axis=1), atol=2**-15)


def test_bad_files_are_named(tmp_path: Path) -> None:
    empty, loud = write(tmp_path / "empty.wav", np.zeros((0, 2))), tmp_path / "nan.wav"
    write(loud, np.array([[0.0, np.nan]] * 100), subtype="FLOAT")
    for path, said in (
        (tmp_path / "none.wav", "no such audio file"),
        (empty, "has no samples"),
        (loud, "NaN"),
        (cut_off(write(tmp_path / "cut.wav", noise(2.0))), "cut off"),
    ):
        with pytest.raises(GemoclapError, match=f"{path.name}: .*{said}"), open_channels(path) as file:
            list(file.blocks())


def test_what_fails_elsewhere_is_not_the_files_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(0.1))
    with pytest.raises(ZeroDivisionError), open_channels(path) as file:
        for _ in file.blocks():
            1 / 0  # noqa: B018


@pytest.mark.parametrize("sample_rate", [8000, 11025, 11127, 16000, 22050, 44100, 48000])
def test_resampling_in_blocks_is_resampling_of_the_whole(sample_rate: int) -> None:
    sound = noise(2.37, sample_rate).astype(np.float32)
    expected = soxr.resample(sound, sample_rate, 16000, quality="VHQ")
    rng = np.random.default_rng(0)
    for longest in (len(sound), sample_rate // 2, 50):
        resampler, found, place = BlockResampler(sample_rate), [np.zeros(0, np.float32)], 0
        while place < len(sound):
            length = int(rng.integers(0, longest + 1))
            found += resampler.add(sound[place : place + length])
            place += length
            other = BlockResampler(sample_rate)
            other.held, other.left = resampler.held, resampler.left
            resampler = other
        whole = np.concatenate(found + resampler.finish())
        assert len(whole) == len(expected)
        np.testing.assert_allclose(whole, expected, atol=1e-6)
    assert BlockResampler(sample_rate).finish() == []
