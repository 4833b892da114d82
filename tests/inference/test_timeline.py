"""Windows of a recording: nothing lost, times of the recording, and intensity over all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sound import noise, write

from gemoclap.audio import Recording, from_int16, load_audio, prepare_clip, recording, to_int16
from gemoclap.config import AudioSettings
from gemoclap.ems.intensity import IntensityConfig, IntensityModel, intensity_curve
from gemoclap.inference.timeline import intensity_over_time, windows


@pytest.mark.parametrize("seconds", [0.001, 0.9, 1.0, 1.001, 7.3])
def test_windows_are_the_recording_in_order(seconds: float) -> None:
    waveform = noise(seconds)
    found = list(windows(Recording(waveform), AudioSettings(max_seconds=1.0, trim_silence_db=None)))
    parts = np.array_split(waveform, len(found))
    assert all(np.array_equal(clip, from_int16(*to_int16(part))) for (_, clip), part in zip(found, parts, strict=True))
    assert [round(start * 16000) for start, _ in found] == np.cumsum([0, *(len(clip) for _, clip in found)])[
        :-1
    ].tolist()
    lengths = [len(clip) for _, clip in found]
    assert max(lengths) <= 16000 and max(lengths) - min(lengths) <= 1


def test_silence_is_left_out_and_times_are_those_of_the_recording() -> None:
    waveform = np.concatenate([np.zeros(48000, np.float32), noise(1.0), np.zeros(16000, np.float32)])
    settings = AudioSettings(max_seconds=14.0)
    ((start, clip),) = windows(Recording(waveform), settings)
    assert 2.9 < start <= 2.95 and np.array_equal(clip, prepare_clip(waveform, settings))
    assert len(list(windows(Recording(np.zeros(16000, np.float32)), settings))) == 1


def test_windows_of_a_file_that_is_read_in_blocks_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [np.zeros(30000), noise(31.0, 22050), np.zeros(20000)]
    path = write(tmp_path / "long.wav", np.concatenate(parts), 22050)
    monkeypatch.setattr(recording, "HELD_SECONDS", 1.0)
    for settings in (AudioSettings(max_seconds=7.0), AudioSettings(max_seconds=None, trim_silence_db=None)):
        found, expected = windows(Recording(path), settings), windows(Recording(load_audio(path)), settings)
        for (start, clip), (other_start, other) in zip(found, expected, strict=True):
            assert start == other_start and np.array_equal(clip, other)


def test_the_curve_of_a_short_clip_is_the_models_own_and_a_long_one_has_a_curve_to_its_end() -> None:
    torch.manual_seed(0)
    model = IntensityModel(IntensityConfig(n_mels=20, channels=[2, 2, 2, 2], lstm_size=4)).eval()
    settings = model.config.audio_settings
    short = np.concatenate([np.zeros(8000, np.float32), noise(2.0)])
    times, scores = intensity_over_time(model, Recording(short))
    expected_times, expected = intensity_curve(model, prepare_clip(short, settings))
    (start, _), *others = windows(Recording(short), settings)
    assert not others and np.allclose(times, start + expected_times) and np.allclose(scores, expected, atol=1e-6)
    times, scores = intensity_over_time(model, Recording(noise(31.0)))
    assert len(times) == len(scores) and (np.diff(times) > 0).all() and 30.9 < times[-1] < 31.0
