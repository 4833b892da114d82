"""Makes copies of a clip as if it had been recorded in another room, with another microphone or line, or at another speed.

A model that is only trained on studio recordings learns the studio too. Each function takes a waveform ``(T,)`` float32 at
16 kHz with full scale 1, and a random generator. It returns a waveform of about the same length. `perturb` applies several;
`perturbed_copy` says what is done to which copy.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import soundfile
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from gemoclap.audio import SAMPLE_RATE
from gemoclap.corpora.manifest import Utterance

PERTURBATION = 2
"""Version of `perturbed_copy`. It is raised when `perturbed_copy` changes, so that no older copy is used."""
Waveform = np.ndarray
TELEPHONE_RATE = 8000
TELEPHONE_BAND = (300.0, 3400.0)
"""Lowest and highest frequency, in Hz, that a telephone line passes (ITU-T G.712)."""
TELEPHONE_CODECS = ("ULAW", "ALAW", "GSM610")
LIGHT_NOISE_DB = (10.0, 40.0)
"""Signal-to-noise ratios of a copy that only has noise added [C]."""
MUSIC_CODECS = (("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))


def change_speed(waveform: Waveform, random: np.random.Generator, most: float = 0.1) -> Waveform:
    """Play a clip faster or slower by a share of up to `most`, which also makes it higher or lower."""
    factor = random.uniform(1 - most, 1 + most)
    return soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ").astype(np.float32)


def add_room(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Add the echo of a room: noise that decays by 60 dB in 0.1 to 0.8 s. The direct sound is 0 to 12 dB louder."""
    seconds = random.uniform(0.1, 0.8)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail[: round(random.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0  # no echo arrives before that of the nearest wall
    tail *= 10 ** (-random.uniform(0, 12) / 20) / np.sqrt(np.square(tail).sum())
    size = next_fast_len(len(waveform) + len(tail) - 1, real=True)
    echo = irfft(rfft(waveform, size) * rfft(tail, size), size)[: len(waveform)]
    return (waveform + echo).astype(np.float32)


def colour_spectrum(waveform: Waveform, random: np.random.Generator, most_db: float = 10.0) -> Waveform:
    """Raise and lower the spectrum smoothly by up to `most_db`, as microphones and distances do."""
    knots = np.linspace(0, 1, 8)
    gains = random.uniform(-most_db, most_db, len(knots))
    # Equal steps on the mel scale, which is that of the ear and of the encoder.

    def curve(frequencies: np.ndarray) -> np.ndarray:
        mel = np.log1p(frequencies / 700) / np.log1p(SAMPLE_RATE / 2 / 700)
        return 10 ** (np.interp(mel, knots, gains) / 20)

    return _filtered(waveform, SAMPLE_RATE, curve)


def add_noise(waveform: Waveform, random: np.random.Generator, snr_db: tuple[float, float] = (3.0, 30.0)) -> Waveform:
    """Add steady noise of any colour, from white to brown, at a signal-to-noise ratio drawn from `snr_db`."""
    slope = random.uniform(0, 2)
    noise = _filtered(
        random.standard_normal(len(waveform)), SAMPLE_RATE, lambda hertz: np.maximum(hertz, 50.0) ** (-slope / 2)
    )
    wanted = loudness(waveform) * 10 ** (-random.uniform(*snr_db) / 20)
    return (waveform + noise * (wanted / max(loudness(noise), 1e-12))).astype(np.float32)


def remove_background(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Take out the steady background, as studios and noise suppressors do: spectral subtraction (Boll 1979).

    The background of a frequency is 1.5 times the magnitude that a tenth of the frames do not exceed. One to four times that
    magnitude is subtracted, in power. No frequency is lowered by more than 20 to 50 dB [C]. Where a tenth of the frames is
    digital silence, there is no background, and nothing is changed.
    """
    # Imported here, because scipy.signal brings scipy.stats, and commands that read this module make no copies.
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    window = 512
    transform = ShortTimeFFT(hann(window, sym=False), window // 4, SAMPLE_RATE)
    spectrum = transform.stft(np.pad(waveform, (0, max(0, window - len(waveform)))))
    magnitude = np.abs(spectrum)
    background = 1.5 * np.quantile(magnitude, 0.1, axis=1, keepdims=True)
    excess = random.uniform(1, 4) * background / np.maximum(magnitude, 1e-9)
    gain = np.sqrt(np.maximum(1 - np.square(excess), 0))
    least = 10 ** (-random.uniform(20, 50) / 20)
    return transform.istft(spectrum * np.maximum(gain, least))[: len(waveform)].astype(np.float32)


def through_telephone(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Keep only the band of a telephone, at 8 kHz, and use the codec of a telephone line or of an old mobile phone."""
    narrow = soxr.resample(waveform, SAMPLE_RATE, TELEPHONE_RATE, quality="MQ")
    low, high = TELEPHONE_BAND

    def band(frequencies: np.ndarray) -> np.ndarray:
        return 1 / (1 + (low / np.maximum(frequencies, 1.0)) ** 8) / (1 + (frequencies / high) ** 16)

    coded = _coded(_filtered(narrow, TELEPHONE_RATE, band), TELEPHONE_RATE, "WAV", str(random.choice(TELEPHONE_CODECS)))
    return _of_length(soxr.resample(coded, TELEPHONE_RATE, SAMPLE_RATE, quality="MQ"), len(waveform))


def through_music_codec(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Compress with loss and decode again: with Opus, Vorbis or MP3, at the lowest to a medium quality."""
    form, subtype = MUSIC_CODECS[random.integers(len(MUSIC_CODECS))]
    return _coded(waveform, SAMPLE_RATE, form, subtype, random.uniform(0.5, 1.0))


def change_level(waveform: Waveform, random: np.random.Generator, most_db: float = 12.0) -> Waveform:
    """Make a clip louder or quieter by up to `most_db`, but not louder than full scale."""
    gain = 10 ** (random.uniform(-most_db, most_db) / 20)
    return (waveform * min(gain, 0.99 / max(np.abs(waveform).max(), 1e-12))).astype(np.float32)


CHAIN: tuple[tuple[Callable[[Waveform, np.random.Generator], Waveform], float], ...] = (
    (change_speed, 0.5),
    (add_room, 0.4),
    (colour_spectrum, 0.6),
    (add_noise, 0.5),
    (through_telephone, 0.3),
    (through_music_codec, 0.3),
    (change_level, 1.0),
)
"""The functions in the order in which they are applied, and the probability of each [C]."""


def perturb(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Return a copy to which a random choice of the functions in `CHAIN` was applied."""
    for change, probability in CHAIN:
        if random.uniform() < probability:
            waveform = change(waveform, random)
    return waveform


def add_light_noise(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Return a copy whose signal-to-noise ratio is anything from 10 to 40 dB, and that is unchanged otherwise."""
    return add_noise(waveform, random, LIGHT_NOISE_DB)


KINDS_OF_COPIES = (perturb, add_light_noise, remove_background)
"""What is done to the first, second and third copy; the fourth is made as the first is, and so on [C].

A corpus has its own background, and a model learns it. The two further kinds cover that of a clip with noise, or take it away.
"""


@dataclass(frozen=True)
class PerturbedUtterance(Utterance):
    """A perturbed copy of an utterance. `copy` is its number among the copies of this utterance, from 1."""

    copy: int = 1


def with_copies(utterances: Sequence[Utterance], copies: int) -> list[Utterance]:
    """Return the utterances, followed by the perturbed copies of each. The id of a copy is ``ID~1`` and so on."""
    numbers = range(1, copies + 1)
    return [
        *utterances,
        *(PerturbedUtterance(**{**asdict(row), "id": f"{row.id}~{n}"}, copy=n) for n in numbers for row in utterances),
    ]


def perturbed_copy(waveform: Waveform, copy: int) -> Waveform:
    """Return copy number `copy` of a clip. It is the same in every run."""
    digest = hashlib.sha256(np.ascontiguousarray(waveform, dtype=np.float32).tobytes()).digest()
    change = KINDS_OF_COPIES[(copy - 1) % len(KINDS_OF_COPIES)]
    return change(waveform, np.random.default_rng([copy, *np.frombuffer(digest, dtype=np.uint32)]))


def loudness(waveform: Waveform) -> float:
    """Return the root mean square of the louder half of a waveform, so that pauses have little effect."""
    block = SAMPLE_RATE // 50
    whole = len(waveform) // block * block
    if whole < 2 * block:
        return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    powers = np.square(waveform[:whole], dtype=np.float64).reshape(-1, block).mean(1)
    return float(np.sqrt(np.sort(powers)[len(powers) // 2 :].mean()))


def _filtered(waveform: Waveform, rate: int, gain: Callable[[np.ndarray], np.ndarray]) -> Waveform:
    """Multiply the spectrum by `gain`, which is a function of the frequency in Hz."""
    size = next_fast_len(len(waveform), real=True)
    gains = gain(rfftfreq(size, 1 / rate))
    return irfft(rfft(waveform, size) * gains, size)[: len(waveform)].astype(np.float32)


def _coded(waveform: Waveform, rate: int, form: str, subtype: str, compression: float | None = None) -> Waveform:
    """Encode and decode a waveform, and return one of the same length.

    A waveform beyond full scale is scaled down for the codec, and scaled up again afterwards.
    """
    coded = io.BytesIO()
    level = max(1.0, float(np.abs(waveform).max()) / 0.99)
    # The MP3 encoder of libsndfile refuses levels nearer to 1.
    options = {} if compression is None else {"compression_level": min(compression, 0.9999)}
    soundfile.write(coded, waveform / level, rate, format=form, subtype=subtype, **options)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32")
    return _of_length(decoded * np.float32(level), len(waveform))


def _of_length(waveform: Waveform, samples: int) -> Waveform:
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform)))).astype(np.float32)
