"""How well a model does on noisy, reverberant and narrow-band recordings, and on women and men.

    python benchmarks/conditions.py ravdess.jsonl --model default

Every clip of the manifest is predicted as it is, and again in each condition: steady noise at three signal-to-noise ratios, the
echo of a room, a telephone line (300 to 3,400 Hz at 8 kHz, through a line's codec), and a music codec at a low rate. The model
chooses among the classes that it shares with the manifest. Shown are UAR with the 95 % interval over speakers, UAR of women and
of men, and the mean confidence beside the share of right answers: a model that is too sure of itself has more confidence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from answers import model_and_clips, table_of_answers
from rich.console import Console
from rich.table import Table

from gemoclap import Predictor
from gemoclap.audio import load_audio
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.perturb import add_noise, add_room, through_music_codec, through_telephone
from gemoclap.predictions import PredictionTable
from gemoclap.reports.results import score_table

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
CONDITIONS: dict[str, Change] = {
    "as it is": lambda waveform, random: waveform,
    "noise, 20 dB": lambda waveform, random: add_noise(waveform, random, (20.0, 20.0)),
    "noise, 10 dB": lambda waveform, random: add_noise(waveform, random, (10.0, 10.0)),
    "noise, 0 dB": lambda waveform, random: add_noise(waveform, random, (0.0, 0.0)),
    "room": add_room,
    "telephone": through_telephone,
    "music codec": through_music_codec,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    predictor, found = model_and_clips(parser, options.model, options.manifest)
    table = Table("condition", "UAR", "women", "men", "right answers", "mean confidence")
    for name, change in CONDITIONS.items():
        table.add_row(name, *row_of(predictions(predictor, found, change, name)))
    Console().print(table)


def predictions(predictor: Predictor, rows: Sequence[Utterance], change: Change, name: str) -> PredictionTable:
    """Return the answers for changed clips; a clip is changed in the same way for every model."""
    changed = (
        change(load_audio(row.path, row.start, row.end), np.random.default_rng([number, 0]))
        for number, row in enumerate(rows)
    )
    return table_of_answers(predictor, rows, changed, name)


def row_of(table: PredictionTable) -> list[str]:
    """Return the cells of a condition, in per cent."""
    scores = score_table(table)
    low, high = scores.uar_interval
    by_gender = [scores.uar_by_gender.get(gender) for gender in ("female", "male")]
    values = [*by_gender, scores.war, float(table.probabilities.max(1).mean())]
    cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
    return [f"{100 * scores.uar:.1f} [{100 * low:.1f}, {100 * high:.1f}]", *cells]


if __name__ == "__main__":
    main()
