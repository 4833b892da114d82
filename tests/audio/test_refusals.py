"""What is no sound is refused in one line that names the file: pipes, folders, forms and samples beyond reason."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import noise, tone, write, write_tone

import gemoclap.audio.decoders as decoders
from gemoclap.audio import load_audio, prepare_clip, probe_audio, resample_blocks, stream_audio
from gemoclap.config import AudioSettings
from gemoclap.corpora.inspect import inspect
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.errors import GemoclapError


def complaint(call: Callable, *arguments: object) -> str:
    with pytest.raises(GemoclapError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [ValueError("array is too big"), RuntimeError("broken"), MemoryError(), TypeError("None"), OSError(5, "I/O")],
)
def test_whatever_a_decoder_raises_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    good, bad = write_tone(tmp_path / "good.wav"), write_tone(tmp_path / "bad.wav", 880.0)
    read = decoders._Sequential.read

    def fail(self: decoders._Sequential, *arguments: object, **options: object) -> np.ndarray:
        if "bad" in os.fsdecode(self.name):
            raise error
        return read(self, *arguments, **options)

    monkeypatch.setattr(decoders._Sequential, "read", fail)
    assert complaint(load_audio, bad).startswith(f"{bad}: ")
    found = inspect([Utterance("good", str(good), speaker="1"), Utterance("bad", str(bad), speaker="1")])
    assert [(fault.id, fault.kind) for fault in found.faults] == [("bad", "audio")]
    assert complaint(AudioStore(AudioSettings()).preload, [Utterance("bad", str(bad))]).startswith(f"{bad}: ")


def test_what_a_decoder_raises_when_it_opens_a_file_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("inside")

    path = write_tone(tmp_path / "clip.wav")
    monkeypatch.setattr(decoders, "read_header", fail)
    assert complaint(probe_audio, path).startswith(f"{path}: cannot be decoded")


@pytest.mark.parametrize("read", [load_audio, probe_audio])
def test_special_files_are_refused_without_waiting_for_anyone(tmp_path: Path, read: Callable) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert complaint(read, tmp_path / "pipe.wav").startswith(f"{tmp_path / 'pipe.wav'}: is a pipe")
    (tmp_path / "folder.wav").mkdir()
    assert "is a folder, not an audio file" in complaint(read, tmp_path / "folder.wav")
    assert "/dev/null: is a device" in complaint(read, "/dev/null")
    (tmp_path / "link.wav").symlink_to(tmp_path / "nothing.wav")
    assert "is a link to a file that is not there" in complaint(read, tmp_path / "link.wav")
    assert "standard input" in complaint(read, "-")
    assert "is not a file name" in complaint(read, "a\0b.wav")
    readable, writable = os.pipe()
    try:
        assert "is a pipe" in complaint(read, f"/dev/fd/{readable}")
    finally:
        os.close(readable)
        os.close(writable)


def test_inspect_and_the_store_do_not_wait_for_a_pipe_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    row = Utterance("pipe", str(tmp_path / "pipe.wav"))
    assert [fault.kind for fault in inspect([row], speakers=False).faults] == ["audio"]
    for folder in (None, tmp_path / "cache"):
        assert "is a pipe" in complaint(AudioStore(AudioSettings(), folder).preload, [row])


def wav_of(path: Path, sample_rate: int, channels: int) -> Path:
    """Write a wav with any rate and number of channels in its header, and 8000 samples of 16 bits."""
    sound = np.zeros(8000, "<i2").tobytes()
    form = struct.pack(
        "<HHIIHH", 1, channels, sample_rate, min(sample_rate * channels * 2, 2**32 - 1), channels * 2, 16
    )
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.parametrize("sample_rate", [1, 50, 999, 800_000, 2**31 - 1])
def test_rates_that_no_sound_has_are_refused(tmp_path: Path, sample_rate: int) -> None:
    path = wav_of(tmp_path / "clip.wav", sample_rate, 1)
    for read in (load_audio, probe_audio):
        assert f"{sample_rate} samples a second" in complaint(read, path)


@pytest.mark.parametrize("sample_rate", [1000, 4000, 192_000, 768_000])
def test_rates_that_sound_has_are_read(tmp_path: Path, sample_rate: int) -> None:
    path = wav_of(tmp_path / "clip.wav", sample_rate, 1)
    assert abs(len(load_audio(path)) - 8000 * 16000 / sample_rate) <= 1


def test_more_channels_than_anyone_records_are_refused(tmp_path: Path) -> None:
    assert "500 channels" in complaint(load_audio, wav_of(tmp_path / "clip.wav", 16000, 500))
    assert len(load_audio(wav_of(tmp_path / "clip.wav", 16000, 100))) == 80


@pytest.mark.parametrize("value", [1e18, -1e18, 1e6, 3e38])
def test_a_sample_far_beyond_full_scale_is_refused_where_nan_is(tmp_path: Path, value: float) -> None:
    samples = noise()
    samples[77] = value
    path = write(tmp_path / "clip.wav", samples, subtype="FLOAT")
    assert "where 1 is full scale" in complaint(load_audio, path)
    assert [fault.kind for fault in inspect([Utterance("x", str(path))], speakers=False).faults] == ["audio"]


def test_floats_with_the_range_of_16_bits_are_read(tmp_path: Path) -> None:
    samples = np.round(tone() * 65535)
    assert np.array_equal(load_audio(write(tmp_path / "clip.wav", samples, subtype="FLOAT")), samples)


@pytest.mark.parametrize("values", [(3e38, 3e38), (np.nan, 0.1), (np.inf, -np.inf)])
def test_channels_whose_mean_is_no_number_are_refused(tmp_path: Path, values: tuple[float, float]) -> None:
    samples = np.stack([noise(), noise(seed=1)], axis=1)
    samples[50] = values
    message = complaint(load_audio, write(tmp_path / "clip.wav", samples, 44100, "FLOAT"))
    assert "NaN or infinite" in message or "full scale" in message


def cancelling(gain: float = -1.0, hiss: float = 0.0) -> np.ndarray:
    sound = noise(2.0)
    return np.stack([sound, gain * sound + hiss * noise(2.0, seed=1)], axis=1)


@pytest.mark.parametrize(
    "samples", [cancelling(), cancelling(hiss=0.01), cancelling(-0.9), cancelling()[:, [0, 1, 0, 1]]]
)
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_channels_that_cancel_each_other_are_noticed(tmp_path: Path, samples: np.ndarray, sample_rate: int) -> None:
    path = write(tmp_path / "clip.wav", samples, sample_rate, "FLOAT")
    with stream_audio(path) as stream:
        blocks = list(stream)
    assert stream.channels_cancel and sum(map(len, blocks)) == len(load_audio(path))
    (fault,) = inspect([Utterance("x", str(path))], speakers=False).faults
    assert fault.kind == "channels" and str(path) in fault.message and "cancel" in fault.message


@pytest.mark.parametrize(
    "samples",
    [
        np.stack([noise(), noise(seed=1)], axis=1),  # nothing in common
        np.stack([noise(), np.zeros(16000)], axis=1),  # one is silent
        np.stack([noise(), noise()], axis=1),
        np.stack([0.01 * noise() + 0.3, 0.01 * noise() - 0.3], axis=1),  # offsets that cancel, not the sound
        cancelling(-0.3),
        noise(),
        np.zeros((16000, 2)),
        np.stack([np.full(16000, 0.25), np.full(16000, -0.25)], axis=1),
    ],
)
def test_other_channels_are_not_said_to_cancel(tmp_path: Path, samples: np.ndarray) -> None:
    path = write(tmp_path / "clip.wav", samples, subtype="FLOAT")
    with stream_audio(path, block_samples=5000) as stream:
        assert sum(map(len, stream)) == 16000 or len(samples) == 32000
    assert not stream.channels_cancel
    kinds = {fault.kind for fault in inspect([Utterance("x", str(path))], speakers=False).faults}
    assert kinds <= {"silent"} and ("silent" in kinds) == (not load_audio(path).any())


def test_a_clip_is_prepared_without_numbers_that_overflow() -> None:
    loud = np.full(4000, 65536.0, np.float32)
    assert np.isfinite(prepare_clip(loud, AudioSettings())).all()
    assert all(np.isfinite(block).all() for block in resample_blocks([loud, -loud], 48000))


def test_a_header_of_a_thousand_hours_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    soundfile.write(path, noise(), 16000)
    data = bytearray(path.read_bytes())
    data[22:26] = struct.pack(">I", 3_600_000 * 1000)
    path.write_bytes(data)
    assert "cut off" in complaint(load_audio, path)
