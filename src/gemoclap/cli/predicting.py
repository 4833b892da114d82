"""`evaluate` and `predict`."""

from __future__ import annotations

import csv
import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemoclap.corpora.layout import rows_of_folder
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import common_speakers, speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.errors import GemoclapError
from gemoclap.files import to_json
from gemoclap.inference.predictor import Prediction, Predictor
from gemoclap.recipes.run_folder import refuse_used_folder
from gemoclap.reports import write_scores
from gemoclap.reports.results import score_table
from gemoclap.terminal import progress_bar
from gemoclap.training.evaluate import predict_table
from gemoclap.writing import atomic_write, folder_written_beside


def run_evaluate(args: Namespace) -> int:
    """A model on a labelled manifest -> scores and predictions."""
    if args.output:
        refuse_used_folder(Path(args.output))
    utterances = read_manifest(args.manifest)
    predictor = Predictor.from_pretrained(args.model)
    store = AudioStore(predictor.model.config.audio_settings)
    with progress_bar("reading audio") as progress:
        store.preload(utterances, progress=progress)
    with progress_bar("classifying") as progress:
        table = predict_table(predictor.model, utterances, store, batch_size=args.batch_size, progress=progress)
    scores = score_table(table)
    heard = sorted(common_speakers(predictor.model.config.trained_speakers or (), map(speaker_name, utterances)))
    if heard:
        print(f"the model was trained on {len(heard)} of these speakers: the figures are not speaker-independent")
    if args.output:
        with folder_written_beside(Path(args.output)) as folder:
            table.write(folder / "predictions.csv")
            write_scores(scores, table, folder, f"{args.model} on {args.manifest}", heard)
    low, high = map(_percent, scores.uar_interval)
    left_out = f" ({len(utterances) - scores.n} of other labels left out)" if scores.n < len(utterances) else ""
    print(
        f"{scores.n} utterances{left_out}: WAR {_percent(scores.war)} %, UAR {_percent(scores.uar)} % [{low}, {high}], "
        f"macro F1 {_percent(scores.macro_f1)} %"
    )
    print("recall: " + ", ".join(f"{label} {_percent(recall)}" for label, recall in scores.recalls.items()))
    return 0


def run_predict(args: Namespace) -> int:
    """Files, folders or manifests -> one row a clip; status 1 when some could not be read."""
    if args.output and args.json:
        raise GemoclapError("--json prints JSON lines and -o writes a CSV; give one of them")
    if args.output and Path(args.output).is_dir():
        raise GemoclapError(f"{args.output}: is a folder; give -o the name of a CSV file")
    clips = _clips(args.audio)
    predictor = Predictor.from_pretrained(args.model)
    rows: list[dict[str, Any]] = []
    with progress_bar("predicting") as progress:
        for clip, prediction in zip(clips, predictor.predict_many(clips, args.labels, args.batch_size), strict=True):
            rows.append(_row(clip.path, prediction))
            progress(len(rows), len(clips))
    labels = args.labels or predictor.labels
    if args.output:
        _write_rows(Path(args.output), labels, rows)
    else:
        _print_rows(labels, rows, args.json)
    failed = sum(1 for row in rows if "error" in row)
    if failed:
        where = "; the column 'error' says why" if args.output else ""
        print(f"gemoclap: {failed} of {len(rows)} clips could not be read{where}", file=sys.stderr)
    return 1 if failed else 0


def _clips(given: Sequence[str]) -> list[Utterance]:
    """Expand folders to the audio files below them and manifests to their rows."""
    clips: list[Utterance] = []
    for name in given:
        path = Path(name)
        if path.suffix == ".jsonl" and not path.is_dir():
            clips += read_manifest(path)
        elif path.is_dir():
            clips += rows_of_folder(path)
        else:
            clips.append(Utterance(name, name))
    return clips


def _row(path: str, prediction: Prediction | GemoclapError) -> dict[str, Any]:
    if isinstance(prediction, GemoclapError):
        return {"path": path, "error": str(prediction)}
    scores = {"confidence": prediction.confidence, **prediction.probabilities}
    return {"path": path, "emotion": prediction.emotion, **{name: round(one, 6) for name, one in scores.items()}}


def _write_rows(path: Path, labels: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, ["path", "emotion", "confidence", *labels, "error"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


def _print_rows(labels: Sequence[str], rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    for row in rows:
        if as_json:
            print(to_json(row))
        elif "error" in row:
            print(f"gemoclap: {row['error']}", file=sys.stderr)
        else:
            scores = "  ".join(f"{label} {row[label]:.2f}" for label in labels)
            print(f"{row['path']}: {row['emotion']} ({scores})")


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"
