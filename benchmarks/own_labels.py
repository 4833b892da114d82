"""How right a model is when it is asked with labels that it was not trained on, as `predict --labels` does.

    python benchmarks/own_labels.py ravdess.jsonl nemo.jsonl --model default

Every clip of a manifest is embedded once. Shown are:

- for the emotions that the model was trained on: UAR with its own labels, and with two sets of other words for them, the share
  of right answers, and the mean confidence;
- for each emotion of the corpus that it was not trained on: the share of its clips that are given its word, if all emotions of
  the corpus are asked for, and how well the word ranks the clips, as the area under the ROC curve (50 is chance);
- for each such emotion: which share of the clips of every emotion gets its word, if it is asked for together with happy alone
  (if the corpus has happy).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from search import embedded
from sklearn.metrics import recall_score, roc_auc_score

from gemoclap import GemoclapError, Predictor
from gemoclap.corpora.manifest import read_manifest
from gemoclap.labels import OTHER_WORDS
from gemoclap.models import classifier_of

BESIDE = "happy"
"""The emotion of training that is asked for beside a new one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    trained = Table(
        "corpus", "labels", "UAR", "right", "confidence", title="other words for its own emotions, in per cent"
    )
    new = Table("corpus", "emotion", "clips", "found", "area under ROC", title="emotions that it was not trained on")
    pairs = Table("corpus", "labels", "clips that get the first word", title="a new emotion and one other, in per cent")
    try:
        predictor = Predictor.from_pretrained(options.model)
        predictor.any_words = True
        for manifest in options.manifests:
            add_rows(predictor, manifest, trained, new, pairs)
    except GemoclapError as error:
        parser.error(str(error))
    for table in (trained, new, pairs):
        if table.rows:
            Console(width=120).print(table)


def add_rows(predictor: Predictor, manifest: str, trained: Table, new: Table, pairs: Table) -> None:
    """Add the rows of a corpus to each table."""
    rows = [row for row in read_manifest(manifest) if row.emotion]
    name, truth = Path(manifest).stem, np.array([row.emotion for row in rows])
    embeddings = embedded(predictor, rows, manifest)
    present = set(truth)
    own = [emotion for emotion in predictor.labels if emotion in present & OTHER_WORDS.keys()]
    is_own = np.isin(truth, own)
    for labels in (own, *([OTHER_WORDS[emotion][which] for emotion in own] for which in (0, 1))):
        probabilities = classifier_of(predictor.model, labels).classify(torch.from_numpy(embeddings[is_own])).numpy()
        answers = np.array(own)[probabilities.argmax(1)]
        uar = recall_score(truth[is_own], answers, average="macro")
        scores = uar, np.mean(answers == truth[is_own]), probabilities.max(1).mean()
        trained.add_row(name, ", ".join(labels), *(f"{100 * one:.1f}" for one in scores))
    asked = [*own, *sorted(present - {*predictor.labels})]
    cosines = similarities(predictor, embeddings, asked)
    answers = np.array(asked)[cosines.argmax(1)]
    for place, emotion in enumerate(asked[len(own) :], len(own)):
        has_it = truth == emotion
        found = np.mean(answers[has_it] == emotion)
        area = roc_auc_score(has_it, cosines[:, place])
        new.add_row(name, emotion, str(has_it.sum()), f"{100 * found:.1f}", f"{100 * area:.0f}")
        if BESIDE not in asked:
            continue
        gets_it = cosines[:, place] > cosines[:, asked.index(BESIDE)]
        shares = ", ".join(f"{one} {100 * np.mean(gets_it[truth == one]):.0f}" for one in sorted(present))
        pairs.add_row(name, f"{emotion}, {BESIDE}", shares)


def similarities(predictor: Predictor, embeddings: np.ndarray, labels: list[str]) -> np.ndarray:
    """Return the similarity of each clip to each label, ``(N, C)``; the temperature does not change which is the largest."""
    return embeddings @ np.stack([predictor.embed_words(label) for label in labels]).T


if __name__ == "__main__":
    main()
