"""UAR of a linear probe for each layer of a frozen speech encoder, on unseen speakers.

    python benchmarks/emotion_by_layer.py --encoder openai/whisper-base ravdess.jsonl emodb.jsonl -o layers

The features are mean and standard deviation of each layer's frames, standardised on the training speakers. The classifier is
scikit-learn's logistic regression (C = 0.01), in the corpus's standard speaker-disjoint folds. With `--center` the features of
each speaker are first scaled to zero mean and unit variance over all clips of the speaker, without labels. The script writes
layers.csv and layers.png. Features are stored in the cache of `gemoclap crossval`.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gemoclap.config import AudioSettings, CacheSettings, DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.folds import Fold, make_folds
from gemoclap.data.reading import read_data
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.feature_cache import LayerFeatures
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.metrics import bootstrap_interval, unweighted_average_recall
from gemoclap.recipes.inputs import cache_folder, load_audio_store
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@dataclass(frozen=True)
class Score:
    """UAR in percent of one layer on one corpus, pooled over the folds, with a 95 % interval over speakers."""

    corpus: str
    layer: int
    uar: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--encoder", required=True, help="hub id or folder")
    parser.add_argument("--vocabulary", help="named set of emotions; default: each corpus's usual one")
    parser.add_argument("--center", action="store_true", help="each speaker's features to zero mean and unit variance")
    parser.add_argument("-o", "--output", default="layers", help="of the .csv and the .png, without suffix")
    options = parser.parse_args()
    try:
        scores = [one for manifest in options.manifests for one in by_layer(manifest, options)]
    except GemoclapError as error:
        parser.error(str(error))
    show(scores)
    write(scores, Path(options.output), f"{Path(options.encoder).name}, frozen, linear probe")


def by_layer(manifest: str, options: argparse.Namespace) -> list[Score]:
    """Return a score for each layer on one corpus."""
    rows, vocabulary, data = read_data(DataSettings(manifest=manifest, vocabulary=options.vocabulary))
    folds = make_folds(rows, data, vocabulary)
    tested = [row for fold in folds for row in fold.test]
    store = load_audio_store(CacheSettings(), AudioSettings(), tested)
    encoder = load_audio_encoder(options.encoder, "last").to(process_state().device)
    layers = LayerFeatures(encoder, store, "mean_std", cache_folder(CacheSettings()))
    with progress_bar(f"encoding {Path(manifest).stem}") as progress:
        layers.encode(tested, progress)
    features = {row.id: layers.of(row).numpy() for row in tested}
    if options.center:
        features = centered(tested, features)
    name = f"{Path(manifest).stem}, {len(vocabulary.emotions)} classes"
    number = len(next(iter(features.values())))
    return [_score(name, layer, folds, vocabulary, features) for layer in range(number)]


def centered(rows: list[Utterance], features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Bring the features of each speaker to zero mean and unit variance."""
    result = {}
    for speaker in {speaker_name(row) for row in rows}:
        own = [row.id for row in rows if speaker_name(row) == speaker]
        stacked = np.stack([features[name] for name in own])
        result |= dict(zip(own, (stacked - stacked.mean(0)) / (stacked.std(0) + 1e-6), strict=True))
    return result


def _score(name: str, layer: int, folds: list[Fold], vocabulary: Vocabulary, features: dict[str, np.ndarray]) -> Score:
    truth, found, speakers = [], [], []
    for fold in folds:
        train, test = (np.stack([features[row.id][layer] for row in part]) for part in (fold.train, fold.test))
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        probe.fit(train, [vocabulary.index(row.emotion) for row in fold.train])
        truth += [vocabulary.index(row.emotion) for row in fold.test]
        found += list(probe.predict(test))
        speakers += [speaker_name(row) for row in fold.test]
    values = unweighted_average_recall(truth, found), *bootstrap_interval(truth, found, speakers)
    return Score(name, layer, *(round(100 * value, 1) for value in values))


def show(scores: list[Score]) -> None:
    """Print a column a corpus and a row a layer."""
    corpora = list(dict.fromkeys(one.corpus for one in scores))
    table = Table("layer", *corpora)
    known = {(one.corpus, one.layer): f"{one.uar} [{one.low}, {one.high}]" for one in scores}
    for layer in range(max(one.layer for one in scores) + 1):
        table.add_row(str(layer), *(known.get((corpus, layer), "") for corpus in corpora))
    Console().print(table)


def write(scores: list[Score], target: Path, title: str) -> None:
    """Write the scores, and a line a corpus with its interval as a band."""
    with open(target.with_suffix(".csv"), "w", newline="") as file:
        rows = csv.DictWriter(file, list(asdict(scores[0])), lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(one) for one in scores)
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for corpus, marker in zip(dict.fromkeys(one.corpus for one in scores), cycle("osD^v*"), strict=False):
        own = [one for one in scores if one.corpus == corpus]
        places = [one.layer for one in own]
        (line,) = axes.plot(places, [one.uar for one in own], marker=marker, label=corpus)
        axes.fill_between(
            places, [one.low for one in own], [one.high for one in own], color=line.get_color(), alpha=0.12
        )
    axes.set(xlabel="layer (0 is the input of the first)", ylabel="UAR, percent", title=title)
    axes.set_xticks(sorted({one.layer for one in scores}))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", fontsize="small")
    figure.savefig(target.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
