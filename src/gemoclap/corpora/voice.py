"""A parametric voice: it makes speech-like sound from syllables, with a source and a filter.

The source is the KLGLOTT88 glottal pulse with jitter, shimmer, spectral tilt and aspiration noise (Klatt and Klatt 1990,
J. Acoust. Soc. Am. 87:820). The filter is a cascade of five formants (Klatt 1980, JASA 67:971) with the vowels of Peterson
and Barney (1952, JASA 24:175). It says no words, and it imitates nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemoclap.audio import SAMPLE_RATE

HOP = 128
FRAME = 2 * HOP
FFT = 2 * FRAME
"""Size of the frames of the moving filter, in samples. The second half of each transform is for the ringing of formants."""

FREQUENCIES = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)

VOWELS: dict[str, tuple[float, float, float]] = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""F1, F2, F3 in Hz of adult men (Peterson and Barney 1952, table II)."""

HIGHER_FORMANTS = (3500.0, 4500.0)
BANDWIDTHS = np.array([70.0, 90.0, 140.0, 200.0, 260.0])


@dataclass(frozen=True)
class Consonant:
    """The sound before a vowel: loudness of voice and of noise relative to the vowel, and their resonances in Hz."""

    voice: float
    noise: float
    noise_frequency: float
    formants: tuple[float, float, float]
    burst: bool = False


CONSONANTS: dict[str, Consonant] = {
    "m": Consonant(0.30, 0.0, 1000, (250, 1000, 2200)),
    "n": Consonant(0.30, 0.0, 1000, (250, 1450, 2400)),
    "l": Consonant(0.50, 0.0, 1000, (350, 1100, 2700)),
    "s": Consonant(0.0, 0.25, 5800, (350, 1600, 2600)),
    "f": Consonant(0.0, 0.08, 3200, (350, 1000, 2300)),
    "p": Consonant(0.0, 0.15, 900, (300, 800, 2200), burst=True),
    "t": Consonant(0.0, 0.25, 4200, (300, 1700, 2600), burst=True),
    "k": Consonant(0.0, 0.25, 2000, (300, 2000, 2500), burst=True),
}


@dataclass(frozen=True)
class Delivery:
    """How one sentence is spoken.

    Attributes
    ----------
    f0 : mean fundamental frequency, Hz.
    f0_range : height of the pitch accents, semitones.
    final : change of pitch on the last syllable, semitones; above 0 it rises.
    declination : fall of the pitch over the sentence, semitones.
    rate : syllables a second.
    onset : rise time of each vowel, seconds.
    tilt : attenuation of the source at 3 kHz, dB; small is tense, large is soft.
    open_quotient : share of the glottal cycle that is open.
    breath : aspiration noise against the glottal pulse, a ratio of amplitudes.
    jitter, shimmer : relative variation of period and of amplitude from cycle to cycle.
    tract : factor on all formants; 1 is an average man.
    accent : loudness of accented against other syllables, dB.
    """

    f0: float
    f0_range: float
    final: float
    declination: float
    rate: float
    onset: float
    tilt: float
    open_quotient: float
    breath: float
    jitter: float
    shimmer: float
    tract: float
    accent: float


def speak(syllables: list[str], delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    """Speak a sentence.

    Parameters
    ----------
    syllables : a consonant and a vowel each, ``["ta", "mi", "lo"]``, with letters of `CONSONANTS` and `VOWELS`.
    delivery : how it is spoken.
    rng : draws the timing, the accents and all noise. Nothing else is random.

    Returns
    -------
    float64 ``(T,)`` at 16 kHz, with an RMS of 1.
    """
    bounds = _syllable_bounds(len(syllables), delivery, rng)
    accents = _accents(len(syllables), rng)
    score = _Score.of(syllables, bounds, accents, delivery.accent)
    frames = int(bounds[-1] * SAMPLE_RATE) // HOP + 1
    time = np.arange(frames * HOP) / SAMPLE_RATE
    frame_time = np.arange(frames + 1) * HOP / SAMPLE_RATE

    f0 = _pitch(bounds, accents, time, delivery, rng)
    pulse, openness = _glottal_source(f0, delivery, rng)
    aspiration = delivery.breath * _rms(pulse) * openness * rng.standard_normal(len(time))
    source = (pulse + aspiration) * _voice_track(score, delivery.onset, time)
    tract = _vocal_tract(_formant_tracks(score, frame_time) * delivery.tract, delivery.tilt)
    voiced = _moving_filter(source, tract)
    hiss = rng.standard_normal(len(time)) * _noise_track(score, time)
    fricative = _moving_filter(hiss, _frication(_noise_frequency_track(score, frame_time)))

    sound = voiced / _rms(voiced) + fricative
    return sound / _rms(sound)


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))


def _syllable_bounds(count: int, delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    """Return the times ``(count + 1,)`` between syllables in seconds. The last syllable is longer, as in every sentence."""
    durations = rng.normal(1.0, 0.12, count).clip(0.6, 1.4) / delivery.rate
    durations[-1] *= 1.35
    return np.concatenate([[0.0], np.cumsum(durations)])


def _accents(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the weight of the accent of each syllable, ``(count,)``. Every second or third syllable has an accent."""
    weights = rng.uniform(0.0, 0.25, count)
    position = int(rng.integers(0, 2))
    while position < count:
        weights[position] = rng.uniform(0.7, 1.2)
        position += int(rng.integers(2, 4))
    return weights


@dataclass(frozen=True)
class _Score:
    """The sentence in time, with an entry per syllable, ``(S,)`` in seconds. A vowel begins at its `releases`."""

    consonants: list[Consonant]
    vowels: np.ndarray
    starts: np.ndarray
    releases: np.ndarray
    ends: np.ndarray
    loudness: np.ndarray

    @classmethod
    def of(cls, syllables: list[str], bounds: np.ndarray, accents: np.ndarray, accent_db: float) -> _Score:
        starts, ends = bounds[:-1], bounds[1:]
        return cls(
            consonants=[CONSONANTS[syllable[0]] for syllable in syllables],
            vowels=np.array([VOWELS[syllable[1]] for syllable in syllables], dtype=float),
            starts=starts,
            releases=starts + 0.32 * (ends - starts),
            ends=ends,
            loudness=10 ** (accent_db * (accents - 0.5) / 20),
        )


def _curve(at: np.ndarray, times: list[np.ndarray], levels: list[np.ndarray]) -> np.ndarray:
    """Interpolate, at the times `at`, between points. Each syllable has the same kinds of points, ``(S,)`` each."""
    return np.interp(at, np.stack(times, axis=1).ravel(), np.stack(levels, axis=1).ravel())


def _voice_track(score: _Score, onset: float, time: np.ndarray) -> np.ndarray:
    """Return the loudness of the voice ``(T,)``: murmur of the consonant, rise within `onset`, vowel, fall."""
    fade = np.minimum(0.015, 0.1 * (score.ends - score.starts))
    onsets = np.minimum(onset, 0.6 * (score.ends - score.releases))
    murmur = np.array([consonant.voice for consonant in score.consonants]) * score.loudness
    silence, vowel = np.zeros_like(murmur), score.loudness
    return _curve(
        time,
        [score.starts, score.starts + fade, score.releases, score.releases + onsets, score.ends - 2 * fade, score.ends],
        [silence, murmur, murmur, vowel, 0.75 * vowel, silence],
    )


def _noise_track(score: _Score, time: np.ndarray) -> np.ndarray:
    """Return the loudness of frication ``(T,)``: the whole consonant, or the last 18 ms of it for a burst."""
    bursts = np.array([consonant.burst for consonant in score.consonants])
    hiss = np.array([consonant.noise for consonant in score.consonants]) * score.loudness
    silence = np.zeros_like(hiss)
    attack = np.where(bursts, score.releases - 0.018, score.starts + 0.015)
    return _curve(
        time, [attack - 0.004, attack, score.releases, score.releases + 0.012], [silence, hiss, hiss, silence]
    )


def _formant_tracks(score: _Score, time: np.ndarray) -> np.ndarray:
    """Return F1 to F5 in Hz, ``(F, 5)``. They move from the locus of the consonant to the target of the vowel in 45 ms."""
    loci = np.array([consonant.formants for consonant in score.consonants], dtype=float)
    times = [score.starts, score.releases, score.releases + 0.045, score.ends - 0.03]
    targets = [loci, 0.5 * (loci + score.vowels), score.vowels, score.vowels]
    moving = [_curve(time, times, [target[:, formant] for target in targets]) for formant in range(3)]
    fixed = [np.full(len(time), frequency) for frequency in HIGHER_FORMANTS]
    return np.stack(moving + fixed, axis=1)


def _noise_frequency_track(score: _Score, time: np.ndarray) -> np.ndarray:
    """Return where the frication resonates, in Hz ``(F,)``."""
    centres = np.array([consonant.noise_frequency for consonant in score.consonants])
    return centres[np.searchsorted(score.starts, time, side="right") - 1]


def _pitch(
    bounds: np.ndarray, accents: np.ndarray, time: np.ndarray, delivery: Delivery, rng: np.random.Generator
) -> np.ndarray:
    """Return F0 ``(T,)`` in Hz: declination, a rise for each accent, the final movement, and slow changes around the mean."""
    progress = time / bounds[-1]
    middles, widths = (bounds[1:] + bounds[:-1]) / 2, np.diff(bounds)
    bumps = np.exp(-0.5 * ((time[:, None] - middles) / (0.45 * widths)) ** 2) @ accents
    knots = np.arange(0, bounds[-1] + 0.4, 0.2)
    wander = np.interp(time, knots, rng.normal(0, 0.25, len(knots)))
    last = np.clip((time - bounds[-2]) / widths[-1], 0, 1)
    semitones = delivery.f0_range * (bumps + wander) - delivery.declination * progress + delivery.final * last
    return np.clip(delivery.f0 * 2 ** ((semitones - semitones.mean()) / 12), 50, 600)


def _glottal_source(f0: np.ndarray, delivery: Delivery, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivative of the glottal flow ``(T,)`` and how open the glottis is ``(T,)``, 0 to 1."""
    cycle = np.cumsum(f0 / SAMPLE_RATE).astype(int)
    period_noise, amplitude_noise = rng.standard_normal((2, cycle[-1] + 1))
    phase = np.cumsum(f0 * (1 + delivery.jitter * period_noise)[cycle] / SAMPLE_RATE)
    opening = np.minimum((phase % 1) / delivery.open_quotient, 1)
    flow = 6.75 * opening**2 * (1 - opening)
    amplitude = np.maximum(1 + delivery.shimmer * amplitude_noise, 0.2)[cycle]
    # This is the difference of the flow. The sampled derivative would alias, because it jumps where the glottis closes.
    return amplitude * np.diff(flow, prepend=0.0), flow


def _resonance(centres: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Return the response ``(F, R, FFT / 2 + 1)`` of Klatt's two-pole resonators with centres ``(F, R)``, unit gain at 0 Hz."""
    radius = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    first = 2 * radius * np.cos(2 * np.pi * centres / SAMPLE_RATE)
    second = -(radius**2)
    delay = np.exp(-2j * np.pi * FREQUENCIES / SAMPLE_RATE)
    gain = 1 - first - second
    return gain[..., None] / (1 - first[..., None] * delay - second[..., None] * delay**2)


def _vocal_tract(formants: np.ndarray, tilt: float) -> np.ndarray:
    """Return the response ``(F, FFT / 2 + 1)`` of the formant cascade after a low-pass of `tilt` dB at 3 kHz."""
    corner = 3000 / np.sqrt(10 ** (tilt / 10) - 1)
    return _resonance(formants, BANDWIDTHS).prod(axis=1) / (1 + 1j * FREQUENCIES / corner)


def _frication(centres: np.ndarray) -> np.ndarray:
    """Return the response ``(F, FFT / 2 + 1)`` of noise in a constriction: one broad resonance, no lows, unit power."""
    highs = 1 - np.exp(-2j * np.pi * FREQUENCIES / SAMPLE_RATE)
    response = _resonance(centres[:, None], np.array([1200.0]))[:, 0] * highs
    return response / np.sqrt(np.mean(np.abs(response) ** 2, axis=1, keepdims=True))


def _moving_filter(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filter ``(T,)`` with a response per frame, ``(T / HOP + 1, FFT / 2 + 1)``. Neighbouring frames are cross-faded."""
    padded = np.concatenate([np.zeros(HOP), signal, np.zeros(HOP)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    filtered = np.fft.irfft(np.fft.rfft(frames * window, FFT) * response, FFT).reshape(len(frames), FFT // HOP, HOP)
    output = np.zeros((len(frames) + FFT // HOP - 1, HOP))
    for part in range(FFT // HOP):
        output[part : part + len(frames)] += filtered[:, part]
    return output.ravel()[HOP : HOP + len(signal)]
