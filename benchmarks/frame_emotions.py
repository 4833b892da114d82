"""UAR of emotions predicted from pseudo-labels of frames, on unseen speakers, for each scale and pseudo-count.

    gemoclap crossval emodb.jsonl --methods gmp_tl -o runs/gmp
    python benchmarks/frame_emotions.py runs/gmp

For each fold of a cross-validation of gmp_tl that kept its models, emotions are predicted for each frame of the
test speakers' clips (`gemoclap.inference.frames`). The table shows the UAR of single frames, whose true emotion is that of the
clip, and of clips, predicted by the mean of their frames, over all folds. Use it to choose settings only on folds that are not
reported.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gemoclap.corpora.manifest import read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.gmp.frame_emotions import PSEUDO_COUNT, emotion_given_cluster
from gemoclap.inference.frames import FrameLabeler
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall
from gemoclap.predictions import read_predictions

Named = tuple[int, np.ndarray, FrameLabeler]
"""True class of a clip, clusters of its frames (F, S), and who named them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a cross-validation")
    parser.add_argument("--pseudo-counts", type=float, nargs="+", default=[PSEUDO_COUNT])
    options = parser.parse_args()
    if not (options.run / "folds.json").is_file():
        parser.error(f"{options.run}: not a cross-validation; give the folder of one of gmp_tl that kept its models")
    try:
        report(options.run, options.pseudo_counts)
    except GemoclapError as error:
        parser.error(str(error))


def report(run: Path, pseudo_counts: list[float]) -> None:
    """Print how often frames and clips are named rightly by the clusters of a cross-validation, and by its models."""
    plan = json.loads((run / "folds.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary.from_dict(plan["vocabulary"])
    rows = {row.id: row for row in read_manifest(plan["manifest"])}
    clips: list[Named] = []
    truth, said = [], []
    for fold in plan["folds"]:
        folder = run / "gmp_tl" / fold["name"]
        labeler = FrameLabeler.from_pretrained(folder)
        for name in fold["test"]:
            emotion = vocabulary.index(rows[name].emotion)
            assert emotion is not None
            clips.append((emotion, labeler(rows[name]).clusters, labeler))
        table = read_predictions(folder / "predictions.csv")
        truth += list(table.truth)
        said += list(table.prediction)
    show(clips, pseudo_counts, len(vocabulary.emotions))
    print(f"the model of gmp_tl itself: UAR of clips {100 * unweighted_average_recall(truth, said):.1f}")


def show(clips: list[Named], pseudo_counts: list[float], classes: int) -> None:
    """Print a row a pseudo-count and scale."""
    scales = clips[0][2].codebooks.scales
    table = Table("pseudo-count", "scale", "UAR of frames, %", "UAR of clips, %")
    for pseudo_count in pseudo_counts:
        for columns in [*([place] for place in range(len(scales))), list(range(len(scales)))]:
            frames, whole = scores(clips, columns, pseudo_count, classes)
            scale = f"{scales[columns[0]]:,}" if len(columns) == 1 and len(scales) > 1 else "all"
            table.add_row(f"{pseudo_count:g}", scale, f"{100 * frames:.1f}", f"{100 * whole:.1f}")
    Console().print(table)


def scores(clips: list[Named], columns: list[int], pseudo_count: float, classes: int) -> tuple[float, float]:
    """Return the UAR of frames and of clips, by the mean over some scales."""
    hits, totals = np.zeros(classes), np.zeros(classes)
    truth, said = [], []
    for emotion, clusters, labeler in clips:
        tables = [emotion_given_cluster(labeler.codebooks.tables[place], pseudo_count) for place in columns]
        found = np.mean([table[clusters[:, place]] for place, table in zip(columns, tables, strict=True)], axis=0)
        hits[emotion] += (found.argmax(1) == emotion).sum()
        totals[emotion] += len(found)
        truth.append(str(emotion))
        said.append(str(found.mean(0).argmax()))
    return float((hits / totals).mean()), unweighted_average_recall(truth, said)


if __name__ == "__main__":
    main()
