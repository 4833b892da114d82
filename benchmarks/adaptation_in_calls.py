"""What adaptation to the speaker gains in long recordings: whole file, or running as a call goes on.

    python benchmarks/adaptation_in_calls.py ravdess.jsonl nemo.jsonl --model default

Each speaker's clips are joined to one long recording, in random order with pauses of 0.5 to 1.5 s. *Equal* has as many clips
of each emotion, *60 % neutral* fewer of the others (with RAVDESS, 4 neutral clips and 3 others). The windows of
`gemoclap timeline` are classified without adaptation, adapted to the windows so far, as a stream is, and adapted to all windows
of the recording. A clip's emotion is that with the most probability in the windows that overlap it, by the seconds of overlap;
clips in which no speech was found are left out. Shown is the UAR over the clips of all speakers, with an interval over the
speakers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from gemoclap import Predictor
from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.inference.emotion_timeline import emotion_timeline
from gemoclap.inference.stream import EmotionWindow
from gemoclap.metrics import bootstrap_interval, unweighted_average_recall

SHARES = ("equal", "60 % neutral")
WAYS = ("none", "running", "whole recording")
NEUTRAL_SHARE = 0.6
PAUSES = (0.5, 1.5)
Place = tuple[float, float, str]
"""Start and end in seconds, and the emotion, of a clip in a recording."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--model", default="default")
    parser.add_argument("--clips", type=int, default=40, help="clips per emotion and speaker, at most")
    options = parser.parse_args()
    predictor = Predictor.from_pretrained(options.model)
    table = Table("recordings", "clips", "minutes", *WAYS, title="UAR in %, [95 % interval over speakers]")
    for manifest in options.manifests:
        for shares in SHARES:
            table.add_row(f"{Path(manifest).stem}, {shares}", *row_of(predictor, manifest, shares, options.clips))
    Console(width=140).print(table)


def row_of(predictor: Predictor, manifest: str, shares: str, most: int) -> Iterator[str]:
    """Yield the cells of a row: how many clips and minutes, and the UAR in every way."""
    vocabulary = predictor.model.config.emotions
    rows = [row for row in read_manifest(manifest) if vocabulary.resolve(row.emotion)]
    labels = [word for word in vocabulary.emotions if any(vocabulary.resolve(row.emotion) == word for row in rows)]
    truth: list[str] = []
    speakers: list[str] = []
    said: dict[str, list[str]] = {way: [] for way in WAYS}
    seconds = 0.0
    with TemporaryDirectory() as folder:
        path = Path(folder, "call.wav")
        for number, name in enumerate(sorted({speaker_name(row) for row in rows})):
            random = np.random.default_rng(number)
            own = [row for row in rows if speaker_name(row) == name]
            drawn = draw(own, [str(vocabulary.resolve(row.emotion)) for row in own], shares, most, random)
            sound, places = joined(drawn, random)
            soundfile.write(path, sound, SAMPLE_RATE)
            seconds += len(sound) / SAMPLE_RATE
            answers = {way: windows(predictor, path, sound, labels, way) for way in WAYS}
            for start, end, emotion in places:
                emotions = {way: emotion_of(start, end, found) for way, found in answers.items()}
                if all(emotions.values()):
                    truth.append(emotion)
                    speakers.append(name)
                    for way, found_emotion in emotions.items():
                        said[way].append(str(found_emotion))
    yield str(len(truth))
    yield f"{seconds / 60:.0f}"
    for way in WAYS:
        uar = 100 * unweighted_average_recall(truth, said[way])
        low, high = (100 * one for one in bootstrap_interval(truth, said[way], speakers))
        yield f"{uar:.1f} [{low:.1f}, {high:.1f}]"


def draw(
    rows: Sequence[Utterance], emotions: Sequence[str], shares: str, most: int, random: np.random.Generator
) -> list[tuple[Utterance, str]]:
    """Return one speaker's clips in random order, with their emotions."""
    by_emotion: dict[str, list[Utterance]] = {}
    for place in random.permutation(len(rows)):
        by_emotion.setdefault(emotions[place], []).append(rows[place])
    if shares == SHARES[0]:
        count = min(most, *map(len, by_emotion.values()))
        drawn = [(row, emotion) for emotion, own in by_emotion.items() for row in own[:count]]
    else:
        neutral = [(row, "neutral") for row in by_emotion.pop("neutral")[:most]]
        # The other emotions in turn, beginning anywhere.
        words = [list(by_emotion)[place] for place in random.permutation(len(by_emotion))]
        count = round(len(neutral) * (1 - NEUTRAL_SHARE) / NEUTRAL_SHARE)
        drawn = neutral + [(by_emotion[word].pop(), word) for word in islice(cycle(words), count)]
    return [drawn[place] for place in random.permutation(len(drawn))]


def joined(drawn: Sequence[tuple[Utterance, str]], random: np.random.Generator) -> tuple[np.ndarray, list[Place]]:
    """Return clips with pauses between, and where each is."""
    parts: list[np.ndarray] = []
    places: list[Place] = []
    length = 0
    for row, emotion in drawn:
        pause = np.zeros(round(random.uniform(*PAUSES) * SAMPLE_RATE), np.float32)
        clip = load_audio(row.path, row.start, row.end)
        start = length + len(pause)
        length = start + len(clip)
        parts += [pause, clip]
        places.append((start / SAMPLE_RATE, length / SAMPLE_RATE, emotion))
    return np.concatenate(parts), places


def windows(
    predictor: Predictor, path: Path, sound: np.ndarray, labels: Sequence[str], way: str
) -> list[EmotionWindow]:
    """Return the windows of a recording, classified in one of the `WAYS`."""
    if way == "running":
        stream = predictor.stream(SAMPLE_RATE, labels=labels, adapt="speaker", batch_size=16)
        return stream.add(sound) + stream.finish()
    return emotion_timeline(predictor, path, labels=labels, adapt=None if way == "none" else "speaker").lanes[0].windows


def emotion_of(start: float, end: float, found: Sequence[EmotionWindow]) -> str | None:
    """Return the emotion with the most probability between two times, None if there is no window."""
    mass: dict[str, float] = {}
    for window in found:
        overlap = min(end, window.end) - max(start, window.start)
        for label, probability in window.probabilities.items() if overlap > 0 else ():
            mass[label] = mass.get(label, 0.0) + overlap * probability
    return max(mass, key=lambda label: mass[label]) if mass else None


if __name__ == "__main__":
    main()
