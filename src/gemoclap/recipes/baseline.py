"""The field's baseline: openSMILE eGeMAPS functionals and a support vector machine, in the same folds as the methods.

Features: the 88 functionals of eGeMAPSv02 (Eyben et al., 2016) over the whole clip, neither trimmed nor cut.
Classifier [C]: standardised features, RBF kernel, cost 1 (scikit-learn's own default: nothing is tuned on anyone),
classes weighted by their inverse frequency because UAR is what is compared. With several costs given, one is chosen by
UAR over speaker-disjoint parts of the fold's training speakers; neither test nor development speakers ever have a say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensmile
from safetensors.numpy import load_file, save
from scipy.special import softmax
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.files import atomic_write
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall

UNTUNED = (1.0,)
"""scikit-learn's default cost alone."""
COSTS = (0.1, 1.0, 10.0, 100.0)
"""The costs to choose from where one is to be chosen."""
INNER_FOLDS = 5
"""Most speaker-disjoint parts the cost is chosen over."""
SHORTEST = 960
"""Samples (60 ms) that openSMILE needs for one frame; shorter clips are filled up with zeros."""

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``."""


@dataclass(frozen=True)
class SvmPredictions:
    """What the SVM says of a fold's test part, in its order.

    Attributes
    ----------
    ids : N utterance ids.
    emotions : N predicted classes, as words.
    scores : (N, C) softmax over the decision values, columns in the vocabulary's order. They rank the classes; they are
        no calibrated probabilities.
    cost : the SVM's cost.
    """

    ids: tuple[str, ...]
    emotions: tuple[str, ...]
    scores: np.ndarray
    cost: float


class EgemapsFeatures:
    """eGeMAPSv02 functionals of utterances; each is extracted once, shared by folds and, with a folder, by runs.

    A file in `cache_dir` is used only for the very stretches of the very files (path, size, modification time) and the
    openSMILE version that it was made with.

    Parameters
    ----------
    cache_dir : folder for the features between runs; None keeps them in memory only.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        self.cache_dir = cache_dir
        self._rows: dict[str, np.ndarray] = {}
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
        )

    @property
    def names(self) -> list[str]:
        """The 88 functionals' names."""
        return list(self._smile.feature_names)

    def __call__(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the functionals of `utterances`, (N, 88) float32; extracts those that `preload` has not seen."""
        for utterance in utterances:
            key = _stretch(utterance)
            if key not in self._rows:
                self._rows[key] = self._extract(utterance)
        return np.stack([self._rows[_stretch(utterance)] for utterance in utterances])

    def preload(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> None:
        """Read the features of all `utterances` from the cache, or extract them and fill it.

        Raises
        ------
        GemoclapError : an audio file cannot be read.
        """
        keys = sorted({_stretch(utterance): utterance for utterance in utterances}.items())
        path = None if self.cache_dir is None else self.cache_dir / f"egemaps-{_fingerprint(keys)}.safetensors"
        if path is not None and path.is_file():
            self._rows |= dict(zip((key for key, _ in keys), load_file(path)["functionals"], strict=True))
            return
        for done, (_, utterance) in enumerate(keys, 1):
            self([utterance])
            if progress is not None:
                progress(done, len(keys))
        if path is not None:
            with atomic_write(path, "wb") as file:
                file.write(save({"functionals": np.stack([self._rows[key] for key, _ in keys])}))

    def _extract(self, utterance: Utterance) -> np.ndarray:
        waveform = load_audio(utterance.path, utterance.start, utterance.end)
        filled = np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
        return self._smile(filled, SAMPLE_RATE).reshape(-1).astype(np.float32)


def _stretch(utterance: Utterance) -> str:
    """Return a name for the stretch of audio: absolute path, start, end."""
    return json.dumps([str(Path(utterance.path).resolve()), utterance.start, utterance.end])


def _fingerprint(keys: Sequence[tuple[str, Utterance]]) -> str:
    """Return 16 hex digits over the stretches, their files' size and modification time, and the extractor's version."""
    digest = hashlib.sha256(f"eGeMAPSv02 {opensmile.__version__} {SHORTEST}".encode())
    for key, utterance in keys:
        path = Path(utterance.path)
        stat = path.stat() if path.is_file() else None
        digest.update(f"\n{key} {stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]


def run_fold(
    fold: Fold, features: EgemapsFeatures, vocabulary: Vocabulary, costs: Sequence[float] = UNTUNED
) -> SvmPredictions:
    """Fit the SVM on a fold's training part and classify its test part; `costs` as `fit_svm`."""
    classes, speakers = _indices(fold.train, vocabulary), [row.speaker for row in fold.train]
    svm, cost = fit_svm(features(fold.train), classes, speakers, costs)
    scores = class_scores(svm, features(fold.test), len(vocabulary.emotions))
    return SvmPredictions(
        ids=tuple(row.id for row in fold.test),
        emotions=tuple(vocabulary.emotions[index] for index in scores.argmax(axis=1)),
        scores=scores,
        cost=cost,
    )


def fit_svm(
    features: np.ndarray, classes: np.ndarray, speakers: Sequence[str | None], costs: Sequence[float] = UNTUNED
) -> tuple[Pipeline, float]:
    """Fit scaler and SVM.

    Parameters
    ----------
    features : (N, 88).
    classes : (N,) class indices.
    speakers : N names.
    costs : one SVM cost, or several of which the one is taken whose mean UAR over speaker-disjoint parts is best. Where
        the speakers give no such parts (one speaker, or some unknown) the first cost is taken.

    Returns
    -------
    The fitted pipeline and its cost.
    """
    svm = SVC(C=costs[0], class_weight="balanced", break_ties=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("svm", svm)])
    splits = _inner_splits(classes, speakers) if len(costs) > 1 else []
    if not splits:
        return pipeline.fit(features, classes), costs[0]
    search = GridSearchCV(pipeline, {"svm__C": list(costs)}, scoring=_uar, cv=splits, error_score="raise")
    search.fit(features, classes)
    return search.best_estimator_, float(search.best_params_["svm__C"])


def _inner_splits(classes: np.ndarray, speakers: Sequence[str | None]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (fitted on, scored on) places that share no speaker; pairs that would fit one class alone are left out."""
    number = min(INNER_FOLDS, len(set(speakers)))
    if None in speakers or number < 2:
        return []
    splits = GroupKFold(number).split(classes, classes, groups=np.array(speakers, dtype=str))
    return [(fitted, scored) for fitted, scored in splits if len(np.unique(classes[fitted])) > 1]


def _uar(svm: Pipeline, features: np.ndarray, classes: np.ndarray) -> float:
    return unweighted_average_recall(classes, svm.predict(features))


def class_scores(svm: Pipeline, features: np.ndarray, number: int) -> np.ndarray:
    """Return (N, `number`) softmax over the one-against-rest decision values; a class that was not fitted gets 0."""
    decision = svm.decision_function(features)
    if decision.ndim == 1:  # scikit-learn gives one column for two classes
        decision = np.stack([-decision, decision], axis=1)
    scores = np.zeros((len(features), number))
    scores[:, svm.classes_] = softmax(decision, axis=1)
    return scores


def _indices(rows: Sequence[Utterance], vocabulary: Vocabulary) -> np.ndarray:
    return np.array([vocabulary.index(row.emotion) for row in rows])
