"""How often 'gemoclap search' finds what was asked for, with words of training, other words, and whole sentences.

    python benchmarks/search.py ravdess.jsonl nemo.jsonl --model default

Every clip of a manifest is embedded, each emotion is asked for in several ways, and all clips are ranked. Shown for each kind
of question, as means over emotions and wordings:

- precision at 20: of the first 20 clips, the share that has the emotion;
- recall: of the N clips that have the emotion, the share that is among the first N;
- by chance: what both would be if clips were drawn.

The last kind are words without any emotion, which 'search' refuses unless --any_words is given. There is nothing right to find,
so shown is how similar the first clip is, compared with the first of the words of training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gemoclap import GemoclapError, Predictor
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.inference.prediction import Prediction
from gemoclap.terminal import progress_bar

QUESTIONS = {
    "neutral": (
        ("unemotional", "matter-of-fact"),
        ("someone sounds neutral", "a person who speaks without any feeling"),
    ),
    "happy": (("joyful", "cheerful", "delighted"), ("someone sounds happy", "a person who is laughing")),
    "sad": (("unhappy", "depressed", "in tears"), ("someone sounds sad", "a person who is about to cry")),
    "angry": (("furious", "enraged", "annoyed"), ("someone sounds furious", "a person who is shouting")),
    "fearful": (("afraid", "scared", "terrified"), ("someone sounds terrified", "a frightened person")),
    "disgusted": (("revolted", "repelled"), ("someone sounds disgusted", "a person who finds something repulsive")),
}
"""Emotion -> other words for it, and sentences."""
MEANINGLESS = ("banana", "Tuesday", "the car is red", "the quarterly report")
FIRST = 20
KINDS = ("words of training", "other words", "sentences")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    table = Table("corpus", "question", "precision at 20", "recall", "by chance", title="in per cent")
    try:
        predictor = Predictor.from_pretrained(options.model)
        predictor.any_words = True
        for manifest in options.manifests:
            for cells in rows_of(predictor, manifest):
                table.add_row(*cells)
    except GemoclapError as error:
        parser.error(str(error))
    Console(width=120).print(table)


def rows_of(predictor: Predictor, manifest: str) -> list[list[str]]:
    resolve = predictor.model.config.emotions.resolve
    rows = [row for row in read_manifest(manifest) if resolve(row.emotion) in QUESTIONS]
    truth = np.array([str(resolve(row.emotion)) for row in rows])
    embeddings = embedded(predictor, rows, manifest)
    asked = [word for word in QUESTIONS if word in truth]
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    best = []
    for emotion in asked:
        for kind, questions in zip(KINDS, ((emotion,), *QUESTIONS[emotion]), strict=True):
            for question in questions:
                cosines = embeddings @ predictor.embed_words(question)
                found[kind].append(scores(cosines, truth == emotion))
                best += [cosines.max()] if kind == KINDS[0] else []
    name = Path(manifest).stem
    cells = [[name, kind, *(f"{100 * one:.0f}" for one in np.mean(found[kind], axis=0))] for kind in KINDS]
    highest = [float((embeddings @ predictor.embed_words(word)).max()) for word in MEANINGLESS]
    similarities = [f"{min(some):.2f} to {max(some):.2f}" for some in (highest, best)]
    about = f"no emotion: similarity {similarities[0]}, of words of training {similarities[1]}"
    return [*cells, [name, about, "-", "-", "-"]]


def embedded(predictor: Predictor, rows: Sequence[Utterance], name: str) -> np.ndarray:
    """Return the embeddings ``(N, E)`` of clips."""
    found = []
    with progress_bar(Path(name).stem) as progress:
        for done, answer in enumerate(predictor.predict_many(rows), 1):
            if not isinstance(answer, Prediction):
                raise answer
            found.append(answer.embedding)
            progress(done, len(rows))
    return np.stack(found)


def scores(cosines: np.ndarray, is_right: np.ndarray) -> tuple[float, float, float]:
    """Return precision among the first, recall among as many as are right, and what chance gives."""
    ranked = is_right[np.argsort(-cosines, kind="stable")]
    return float(ranked[:FIRST].mean()), float(ranked[: is_right.sum()].mean()), float(is_right.mean())


if __name__ == "__main__":
    main()
