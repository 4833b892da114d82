from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sound import noise, tone, write
from speaking import speech_like

from gemoclap.audio import Recording, load_audio, stream_audio
from gemoclap.audio.clipping import LOWEST_LIMIT, RUN, Clipping, clipped_share
from gemoclap.inference.clips import CLIPPED, recording_of, remark_on


def naive_share(waveform: np.ndarray) -> float:
    """Walk from sample to sample."""
    count = 0
    for side in (waveform.tolist(), (-waveform).tolist()):
        highest, run = max(side), 0
        for value in [*side, None]:
            if value == highest:
                run += 1
                continue
            count += run if run >= RUN and highest >= LOWEST_LIMIT else 0
            run = 0
    return count / len(waveform) if waveform.max() > waveform.min() else 0.0


def test_a_walk_over_the_samples_finds_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = rng.integers(-3, 4, rng.integers(1, 80))
        waveform = (np.clip(steps, -rng.integers(1, 4), rng.integers(1, 4)) / 4).astype(np.float32)
        clipping = Clipping()
        for block in np.split(waveform, np.sort(rng.integers(0, len(waveform) + 1, 4))):
            clipping.add(block[:, None])
        assert clipping.share == pytest.approx(naive_share(waveform)) == clipped_share(waveform)


def too_loud(gain: float, sample_rate: int = 16000, subtype: float = 2**15) -> np.ndarray:
    """Return something like speech, as a converter gives it at so much gain."""
    samples = speech_like(6, 3, sample_rate)
    return np.clip(np.round(gain * samples / np.abs(samples).max() * subtype), -subtype, subtype - 1) / subtype


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_a_clipped_channel_is_found_at_any_rate(tmp_path: Path, sample_rate: int, suffix: str) -> None:
    right = too_loud(8, sample_rate)
    path = write(tmp_path / f"a{suffix}", np.stack([0.1 * noise(6.0, sample_rate), right], axis=1), sample_rate)
    with stream_audio(path, block_samples=5000) as stream:
        assert sum(map(len, stream)) == len(load_audio(path))
    assert stream.clipped == pytest.approx(naive_share(right)) and stream.clipped > CLIPPED
    said = f"clipped: the peaks are cut off, {100 * naive_share(right):.1f} % of the samples; record with less gain"
    assert remark_on(Recording(path)) == said


def test_a_waveform_is_looked_at_before_it_is_resampled() -> None:
    samples = too_loud(8, 44100).astype(np.float32)
    for audio in ({"array": samples, "sampling_rate": 44100}, {"array": samples / 2, "sampling_rate": 44100}, samples):
        assert str(remark_on(recording_of(audio))).startswith("clipped: ")


def test_only_the_row_s_own_part_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.concatenate([noise(3.0), too_loud(8)]))
    assert remark_on(Recording(path, 0.0, 3.0)) is None
    assert remark_on(Recording(path, 3.0, 9.0)) is not None


@pytest.mark.parametrize(
    "samples",
    [
        too_loud(1.0),
        too_loud(1.05),  # a few peaks
        tone(100, 2.0, amplitude=1.0),
        noise(2.0),
        np.full(16000, 0.25),
        np.round(too_loud(0.1) * 128) / 128,  # 8 bits, quiet
        np.concatenate([np.zeros(16000), tone(amplitude=0.01)]),
    ],
)
def test_what_is_not_clipped_gets_no_remark(tmp_path: Path, samples: np.ndarray) -> None:
    assert remark_on(Recording(write(tmp_path / "a.wav", samples))) is None
