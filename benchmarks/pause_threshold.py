"""From which probability of speech on sound is no pause: UAR of clips with noise before or behind the speech.

    python benchmarks/pause_threshold.py ravdess.jsonl --speakers first

Each clip gets one second or more of noise before or behind it, as a recording with a long pause has, and the same noise under
the speech. With the noise a clip is up to 4.2 s long, so that the model hears it in one part unless a pause is found. The noise
is pink. Its level is relative to that of the speech. The model chooses among the classes that it shares with the manifest.
'nothing left out' is the answer for the whole sound; the other columns leave out pauses of a second or more, as
'gemoclap predict' does, with that probability as the limit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from answers import model_and_clips, table_of_answers
from rich.console import Console
from rich.table import Table

from gemoclap import Predictor
from gemoclap.audio import SAMPLE_RATE, Recording, load_clip
from gemoclap.corpora.manifest import Utterance
from gemoclap.inference import clips
from gemoclap.reports.results import score_table

LONGEST = 4.2
"""Seconds of a clip with its noise. 99 of 100 of the default model's training clips are no longer."""
LEVELS = (-10, -20, -30)
"""Levels of the noise in dB, relative to the speech."""
THRESHOLDS = (0.5, 0.3, 0.2, 0.16)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--model", default="default")
    parser.add_argument("--speakers", choices=["first", "second"], default="first", help="every other speaker")
    parser.add_argument("--clips", type=int, default=600, help="how many at most")
    options = parser.parse_args()
    predictor, rows = model_and_clips(parser, options.model, options.manifest)
    speakers = sorted({str(row.speaker) for row in rows})[options.speakers == "second" :: 2]
    rows = [row for row in rows if str(row.speaker) in speakers]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[: options.clips]]
    table = Table("noise", "clips", "nothing left out", *map(str, THRESHOLDS))
    for level in LEVELS:
        made = [*noisy(rows, predictor, level)]
        cells = [uar(predictor, made, threshold, f"{level} dB, {threshold}") for threshold in (None, *THRESHOLDS)]
        table.add_row(f"{level} dB", str(len(made)), *cells)
    Console(width=100).print(table)


def noisy(rows: Sequence[Utterance], predictor: Predictor, level: float) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Yield clips that leave room for a second of noise, each with its row."""
    draws = np.random.default_rng(0)
    for row in rows:
        speech = load_clip(Recording(row.path, row.start, row.end), predictor.model.config.audio_settings)
        room = round(LONGEST * SAMPLE_RATE) - len(speech)
        if room < SAMPLE_RATE:
            continue
        extra = int(draws.integers(SAMPLE_RATE, room + 1))
        before = extra if draws.random() < 0.5 else 0
        sound = np.pad(speech, (before, extra - before))
        noise = pink(len(sound), draws) * np.sqrt(np.mean(speech**2)) * 10 ** (level / 20)
        yield row, (sound + noise).clip(-1, 1).astype(np.float32)


def pink(samples: int, draws: np.random.Generator) -> np.ndarray:
    """Return noise with an RMS of 1 whose power falls by 3 dB an octave from 50 Hz on."""
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 50)
    noise = np.fft.irfft(np.fft.rfft(draws.standard_normal(samples)) / np.sqrt(frequencies), samples)
    return noise / noise.std()


def uar(predictor: Predictor, made: Sequence[tuple[Utterance, np.ndarray]], threshold: float | None, name: str) -> str:
    """Return UAR in per cent; a threshold of None leaves nothing out."""
    rows, sounds = zip(*made, strict=True)
    predictor.check_speech = threshold is not None
    usual = clips.PAUSE_THRESHOLD
    clips.PAUSE_THRESHOLD = usual if threshold is None else threshold
    try:
        return f"{100 * score_table(table_of_answers(predictor, rows, sounds, name)).uar:.1f}"
    finally:
        clips.PAUSE_THRESHOLD = usual


if __name__ == "__main__":
    main()
