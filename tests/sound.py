"""Sound for the tests, made on the spot: no recording of anyone is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from gemoclap.corpora.manifest import Utterance


def tone(
    frequency: float = 440.0, seconds: float = 1.0, sample_rate: int = 16000, amplitude: float = 0.5
) -> np.ndarray:
    """Return a sine, float64 ``(T,)``."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return amplitude * np.sin(2 * np.pi * frequency * time)


def noise(seconds: float = 1.0, sample_rate: int = 16000, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    """Return white noise, float64 ``(T,)``, the same for the same seed."""
    return rms * np.random.default_rng(seed).standard_normal(round(seconds * sample_rate))


def write(path: Path, samples: np.ndarray, sample_rate: int = 16000, subtype: str | None = None) -> Path:
    """Write ``(T,)`` or ``(T, channels)`` samples in the format of the suffix (wav, flac, mp3, ogg, opus)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".opus":
        soundfile.write(path, samples, sample_rate, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, samples, sample_rate, subtype=subtype)
    return path


def write_tone(path: Path, frequency: float = 440.0, seconds: float = 1.0, sample_rate: int = 16000) -> Path:
    """Write a mono sine."""
    return write(path, tone(frequency, seconds, sample_rate), sample_rate)


def cut_off(path: Path, share: float = 0.5) -> Path:
    """Keep the first `share` of a file's bytes, as a broken copy would."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def peak_frequency(waveform: np.ndarray, sample_rate: int = 16000) -> float:
    """Return the frequency in Hz of the highest bin of the spectrum."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * sample_rate / len(waveform))


def noisy_clips(folder: Path, lengths: Sequence[int]) -> list[Utterance]:
    """Write clips of noise with an offset, of so many samples each, and return their rows: clip0, clip1, ..."""
    rng = np.random.default_rng(0)
    rows = []
    for number, samples in enumerate(lengths):
        path = folder / f"clip{number}.wav"
        soundfile.write(path, rng.normal(0.02, 0.2, samples).astype(np.float32), 16000)
        rows.append(Utterance(f"clip{number}", str(path)))
    return rows
