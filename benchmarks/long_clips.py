"""What becomes of the answer for a recording of several sentences, with and without pauses between them.

    python benchmarks/long_clips.py ravdess.jsonl --model default

A recording is two to four clips of one speaker and one emotion, one behind the other, so its emotion is known. Between them
lies nothing, or a pause of 0.5 to 3 s with faint noise, 50 dB below the speech. The model chooses among the classes that it
shares with the manifest. Shown are UAR with the 95 % interval over speakers, for recordings given to the model

- whole: in pieces of up to `data.audio.max_seconds`, 14 s, which is how long a clip of training may be;
- in parts: no longer than 99 of 100 clips of its training are;
- as 'gemoclap predict' does it: in such parts, and without pauses of a second or more.

`--speakers first` and `second` take every other speaker: what is chosen on the one half can be tested on the other.
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
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.reports.results import score_table

CLIPS = (2, 4)
"""Fewest and most clips in a recording."""
PAUSES = (0.5, 3.0)
"""Shortest and longest pause in seconds."""
FAINT = 10 ** (-50 / 20)
"""Level of the noise in a pause, relative to the peak of the speech before it."""
EACH = 5
"""Recordings of each speaker and emotion."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--model", default="default")
    parser.add_argument("--speakers", choices=["all", "first", "second"], default="all")
    options = parser.parse_args()
    predictor, rows = model_and_clips(parser, options.model, options.manifest)
    speakers = sorted({str(row.speaker) for row in rows})
    wanted = {"all": speakers, "first": speakers[::2], "second": speakers[1::2]}[options.speakers]
    rows = [row for row in rows if str(row.speaker) in wanted]
    table = Table("recordings", "seconds", "whole", "in parts", "predict")
    for name, pauses in (("without pauses", None), ("with pauses", PAUSES)):
        made = recordings(rows, predictor, pauses)
        seconds = np.mean([len(sound) for _, sound in made]) / SAMPLE_RATE
        cells = [cell_of(predictor, made, way, f"{name}, {way}") for way in ("whole", "parts", "predict")]
        table.add_row(f"{len(made)} {name}", f"{seconds:.1f}", *cells)
    Console(width=120).print(table)


def recordings(
    rows: Sequence[Utterance], predictor: Predictor, pauses: tuple[float, float] | None
) -> list[tuple[Utterance, np.ndarray]]:
    """Return recordings, each with a row that has its speaker, gender and emotion."""
    draws = np.random.default_rng(0)
    settings, resolve = predictor.model.config.audio_settings, predictor.model.config.emotions.resolve
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for row in rows:
        groups.setdefault((str(row.speaker), str(resolve(row.emotion))), []).append(row)
    found = []
    for (speaker, emotion), group in sorted(groups.items()):
        for number in range(EACH):
            count = min(len(group), int(draws.integers(CLIPS[0], CLIPS[1] + 1)))
            chosen = [group[place] for place in draws.choice(len(group), count, replace=False)]
            sound = np.concatenate([*joined(chosen, settings, pauses, draws)])
            name = f"{speaker} {emotion} {number}"
            found.append((Utterance(name, name, emotion=emotion, speaker=speaker, gender=chosen[0].gender), sound))
    return found


def joined(
    chosen: Sequence[Utterance], settings: AudioSettings, pauses: tuple[float, float] | None, draws: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield clips as training has them, and what lies between them."""
    for number, row in enumerate(chosen):
        clip = load_clip(Recording(row.path, row.start, row.end), settings)
        if number and pauses:
            noise = draws.standard_normal(round(draws.uniform(*pauses) * SAMPLE_RATE))
            yield (noise * FAINT * np.abs(clip).max()).astype(np.float32)
        yield clip


def cell_of(predictor: Predictor, made: Sequence[tuple[Utterance, np.ndarray]], way: str, name: str) -> str:
    """Return UAR with its interval, in per cent."""
    config = predictor.model.config
    usual = config.clip_seconds
    config.clip_seconds = None if way == "whole" else usual
    predictor.check_speech = way == "predict"
    rows, sounds = zip(*made, strict=True)
    try:
        scores = score_table(table_of_answers(predictor, rows, sounds, name))
    finally:
        config.clip_seconds = usual
    low, high = scores.uar_interval
    return f"{100 * scores.uar:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
