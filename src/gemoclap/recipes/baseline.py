"""The field's baseline: openSMILE eGeMAPS functionals and a support vector machine, in the same folds as the methods.

Features: the 88 functionals of eGeMAPSv02 (Eyben et al., 2016) over a clip. Silence is not cut off. Of a clip that is longer
than ``data.audio.max_seconds`` only the beginning is used, as in the methods that the baseline is compared with. This also
limits the memory that is needed.
Classifier [C]: a support vector machine with an RBF kernel on standardised features. The cost is 1, which is scikit-learn's
default; nothing is tuned. Classes are weighted by their inverse frequency, because UAR is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save
from scipy.special import softmax
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gemoclap.audio import SAMPLE_RATE, Recording
from gemoclap.cores import usable_cores
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.extras import needed
from gemoclap.labels import Vocabulary
from gemoclap.writing import atomic_write

SHORTEST = 960
"""Number of samples (60 ms) that openSMILE needs for one frame. Shorter clips are padded with zeros."""

WORKERS = 8
"""Largest number of clips that are processed at the same time. openSMILE uses one core for each clip."""

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``."""


class EgemapsFeatures:
    """eGeMAPSv02 functionals of utterances. They are computed once and used in all folds, and with a folder in all runs.

    A file in `cache_dir` is used only if it was computed by the same version of openSMILE, from the same files (path, size,
    modification time), from the same parts of these files, and with the same `max_seconds`.

    Parameters
    ----------
    cache_dir : folder for the features between runs; None keeps them in memory only.
    max_seconds : how much of a longer clip is used, from its start; None uses all of it.

    Raises
    ------
    GemoclapError : openSMILE is not installed.
    """

    def __init__(self, cache_dir: Path | None = None, max_seconds: float | None = None) -> None:
        self.cache_dir = cache_dir
        self._most = None if max_seconds is None else max(1, round(max_seconds * SAMPLE_RATE))
        self._rows: dict[str, np.ndarray] = {}
        opensmile = opensmile_package()
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
        )

    @property
    def names(self) -> list[str]:
        """The 88 functionals' names."""
        return list(self._smile.feature_names)

    def __call__(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the functionals of `utterances`, (N, 88) float32; extracts those that `preload` has not seen."""
        lacking = {_stretch(utterance): utterance for utterance in utterances}
        self._extract_all({key: utterance for key, utterance in lacking.items() if key not in self._rows})
        return np.stack([self._rows[_stretch(utterance)] for utterance in utterances])

    def preload(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> None:
        """Read the features of all `utterances` from the cache, or extract them and fill it.

        Raises
        ------
        GemoclapError : an audio file cannot be read.
        """
        keys = sorted({_stretch(utterance): utterance for utterance in utterances}.items())
        path = None if self.cache_dir is None else self.cache_dir / f"egemaps-{self._fingerprint(keys)}.safetensors"
        if path is not None and path.is_file():
            self._rows |= dict(zip((key for key, _ in keys), load_file(path)["functionals"], strict=True))
            return
        self._extract_all(dict(keys), progress)
        if path is not None:
            with atomic_write(path, "wb") as file:
                file.write(save({"functionals": np.stack([self._rows[key] for key, _ in keys])}))

    def _extract_all(self, utterances: Mapping[str, Utterance], progress: Progress | None = None) -> None:
        """Extract several clips at once; openSMILE sets up a pipeline of its own for each, and lets go of Python's lock."""
        with ThreadPoolExecutor(max(1, min(WORKERS, len(utterances), usable_cores()))) as pool:
            found = pool.map(self._extract, utterances.values())
            for done, (key, functionals) in enumerate(zip(utterances, found, strict=True), 1):
                self._rows[key] = functionals
                if progress is not None:
                    progress(done, len(utterances))

    def _extract(self, utterance: Utterance) -> np.ndarray:
        waveform = Recording(utterance.path, utterance.start, utterance.end).read(0, self._most)
        filled = np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
        return self._smile(filled, SAMPLE_RATE).reshape(-1).astype(np.float32)

    def _fingerprint(self, keys: Sequence[tuple[str, Utterance]]) -> str:
        """Return a hash, 16 hex digits, of everything that the features of these stretches depend on; see the class."""
        made_with = f"eGeMAPSv02 {opensmile_package().__version__} {SHORTEST} {self._most}"
        digest = hashlib.sha256(made_with.encode())
        for key, utterance in keys:
            path = Path(utterance.path)
            stat = path.stat() if path.is_file() else None
            digest.update(f"\n{key} {stat and (stat.st_size, stat.st_mtime_ns)}".encode())
        return digest.hexdigest()[:16]


def opensmile_package() -> Any:
    """Return opensmile. It is an extra, and slow to import: only this baseline and the ranks of EMS need it."""
    return needed("opensmile", "openSMILE's features (egemaps_svm, EMS)")


def _stretch(utterance: Utterance) -> str:
    """Return a name for an utterance's stretch of audio: absolute path, start and end."""
    return json.dumps([os.path.abspath(utterance.path), utterance.start, utterance.end])


def run_fold(fold: Fold, features: EgemapsFeatures, vocabulary: Vocabulary) -> np.ndarray:
    """Fit the SVM on a fold's training part and score its test part.

    Returns
    -------
    (N, C) softmax of the decision values. Rows are in the order of ``fold.test``, columns in the order of the vocabulary. The
    values rank the classes, but they are not calibrated probabilities.
    """
    svm = fit_svm(features(fold.train), _indices(fold.train, vocabulary))
    return class_scores(svm, features(fold.test), len(vocabulary.emotions))


def fit_svm(features: np.ndarray, classes: np.ndarray) -> Pipeline:
    """Fit scaler and RBF SVM on ``features (N, 88)`` and class indices ``(N,)``.

    The cost is scikit-learn's default, 1, and all classes have the same total weight, because UAR is compared [C].
    """
    return make_pipeline(StandardScaler(), SVC(class_weight="balanced", break_ties=True)).fit(features, classes)


def class_scores(svm: Pipeline, features: np.ndarray, number: int) -> np.ndarray:
    """Return (N, `number`) softmax over the one-against-rest decision values; a class without training data gets 0."""
    decision = svm.decision_function(features)
    if decision.ndim == 1:  # scikit-learn gives one column for two classes
        decision = np.stack([-decision, decision], axis=1)
    scores = np.zeros((len(features), number))
    scores[:, svm.classes_] = softmax(decision, axis=1)
    return scores


def _indices(rows: Sequence[Utterance], vocabulary: Vocabulary) -> np.ndarray:
    return np.array([vocabulary.index(row.emotion) for row in rows])
