"""What adaptation to a speaker gains, by the number of clips, their shares of emotions, and the strength of training.

    python benchmarks/adaptation.py ravdess.jsonl --model default

Of each speaker, clips are drawn at random; their statistics are applied to these same clips, as
`gemoclap predict --adapt speaker` does, and the answers of all speakers are scored together. *Equal* draws as many clips of
each emotion as can be, *half neutral* draws half of them neutral, as in a call. Shown is the UAR minus that without adaptation,
in points, mean over the draws.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gemoclap.config import CacheSettings, Settings
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.group_statistics import Statistics
from gemoclap.inference.model_folder import model_source
from gemoclap.metrics import unweighted_average_recall
from gemoclap.models import classifier_of, load_emotion_model
from gemoclap.recipes.inputs import InputSources, load_audio_store

COUNTS = (1, 2, 5, 10, 20, 50)
STRENGTHS = (0.0, 2.0, 8.0, 32.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("--model", default="default")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    model: Any = load_emotion_model(model_source(options.model))
    vocabulary = model.config.emotions
    rows = [row for row in read_manifest(options.manifest) if vocabulary.resolve(row.emotion)]
    labels = np.array([vocabulary.resolve(row.emotion) for row in rows])
    classifier = classifier_of(model, tuple(word for word in vocabulary.emotions if word in labels))
    features = features_of(model, rows)
    speakers = np.array([speaker_name(row) for row in rows])
    for shares in ("equal", "half neutral"):
        table = Table("clips", *(f"strength {strength:g}" for strength in STRENGTHS), title=shares)
        for count in COUNTS:
            gains = [
                gains_of(classifier, features, labels, speakers, count, shares, np.random.default_rng(draw))
                for draw in range(options.draws)
            ]
            table.add_row(str(count), *(f"{gain:+.1f}" for gain in np.mean(gains, axis=0)))
        Console().print(table)


def features_of(model: Any, rows: list[Utterance]) -> np.ndarray:
    """Return the standardised pooled features, (N, P)."""
    settings = Settings(cache=CacheSettings(audio="disk"))
    store = load_audio_store(settings.cache, model.config.audio_settings, rows)
    source = InputSources(store, settings).for_test(model, rows)
    with torch.inference_mode():
        parts = [model.get_audio_features(**source.inputs(rows[at : at + 512])) for at in range(0, len(rows), 512)]
    return torch.cat(parts).numpy()


def gains_of(
    classifier: Any,
    features: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    count: int,
    shares: str,
    random: np.random.Generator,
) -> list[float]:
    """Return, for each strength, the UAR of adapted clips minus that of the same clips as they are, in points."""
    drawn = [draw(np.flatnonzero(speakers == name), labels, count, shares, random) for name in np.unique(speakers)]
    places = np.concatenate(drawn)
    plain = score(classifier, features[places], labels[places])
    adapted = [
        np.concatenate([Statistics.of(features[part]).apply(features[part], strength) for part in drawn])
        for strength in STRENGTHS
    ]
    return [score(classifier, one, labels[places]) - plain for one in adapted]


def draw(places: np.ndarray, labels: np.ndarray, count: int, shares: str, random: np.random.Generator) -> np.ndarray:
    """Return places of one speaker's clips, `count` of them or all that there are."""
    weights = 1 / np.array([np.sum(labels[places] == labels[place]) for place in places])
    if shares == "half neutral":
        neutral = labels[places] == "neutral"
        weights = np.where(neutral, 0.5 / max(neutral.sum(), 1), weights / max(weights[~neutral].sum(), 1e-9) / 2)
    return random.choice(places, min(count, len(places)), replace=False, p=weights / weights.sum())


def score(classifier: Any, features: np.ndarray, labels: np.ndarray) -> float:
    """Return the UAR in percent."""
    with torch.inference_mode():
        shares = classifier.classify(classifier.embed_features(torch.from_numpy(features))).numpy()
    said = [classifier.labels[index] for index in shares.argmax(1)]
    return 100 * unweighted_average_recall(list(labels), said)


if __name__ == "__main__":
    main()
