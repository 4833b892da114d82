"""The commands that train, score and predict; `cli.py` reads their arguments and turns errors into lines."""

from __future__ import annotations

import csv
import json
import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemoclap.config import Settings, check_seeds
from gemoclap.corpora.layout import AUDIO_SUFFIXES
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import speaker_name
from gemoclap.errors import GemoclapError
from gemoclap.files import atomic_write
from gemoclap.inference.predictor import Prediction, Predictor
from gemoclap.recipes.crossval import cross_validate, cross_validate_seeds
from gemoclap.recipes.run_folder import refuse_used_folder, seed_folder
from gemoclap.recipes.supervised import is_trained
from gemoclap.recipes.train import train
from gemoclap.reports import Results, collect, collect_together, print_table, write_report, write_scores
from gemoclap.reports.joined import refuse_other_files
from gemoclap.reports.results import score_table
from gemoclap.terminal import output_console, progress_bar
from gemoclap.training.distributed import leave_together, process_state
from gemoclap.training.evaluate import predict_table


def run_train(args: Namespace) -> int:
    """One method on all speakers -> a model."""
    output = Path(args.output)
    before = is_trained(output)
    folder = train(_settings(args), args.method, output)
    if process_state().is_main_process:
        what = "was trained before, nothing is left to do" if before else "the model"
        print(f"{folder}: {what}; try it with: gemoclap predict {folder} clip.wav")
    leave_together()
    return 0


def run_crossval(args: Namespace) -> int:
    """Methods over speaker-disjoint folds -> a table, a report and pictures."""
    output = Path(args.output)
    if args.seeds is not None:
        return _crossval_seeds(args, output)
    cross_validate(_settings(args), args.methods, output, keep_models=args.keep_models)
    if process_state().is_main_process:
        _report(collect(output))
    leave_together()
    return 0


def _crossval_seeds(args: Namespace, output: Path) -> int:
    """A run a seed, each reported when it is finished, and then all together."""
    settings = _settings(args)
    check_seeds("--seeds", args.seeds)
    if settings.train.seed:
        raise GemoclapError("train.seed: --seeds names them; leave one of the two out")
    folders = {seed: seed_folder(output, seed) for seed in args.seeds}
    refuse_other_files(output, list(folders.values()))
    is_main = process_state().is_main_process
    for folder in cross_validate_seeds(settings, args.methods, folders, keep_models=args.keep_models):
        if is_main:
            print(f"{write_report(folder)}: finished")
    if is_main:
        _report(collect_together(list(folders.values()), output))
    leave_together()
    return 0


def run_report(args: Namespace) -> int:
    """The report of a cross-validation, finished or not, written again; or one of several, side by side."""
    if len(args.folder) > 1 and not args.output:
        raise GemoclapError("a report of several runs needs a folder of its own; name it with -o")
    _report(collect_together(args.folder, args.output) if args.output else collect(args.folder[0]))
    return 0


def _report(results: Results) -> None:
    page = write_report(results)
    print_table(results, output_console())
    print(f"{page}: the report; results.json, results.csv and pictures beside it")


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
    heard = sorted(set(predictor.model.config.trained_speakers or ()) & {speaker_name(row) for row in utterances})
    if heard:
        print(f"the model was trained on {len(heard)} of these speakers: the figures are not speaker-independent")
    if args.output:
        table.write(Path(args.output) / "predictions.csv")
        write_scores(scores, table, args.output, f"{args.model} on {args.manifest}", heard)
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


def _settings(args: Namespace) -> Settings:
    return Settings(args.data, args.model, args.objective, args.gmp, args.train, args.cache)


def _clips(given: Sequence[str]) -> list[Utterance]:
    """Expand folders to the audio files below them and manifests to their rows."""
    clips: list[Utterance] = []
    for name in given:
        path = Path(name)
        if path.suffix == ".jsonl":
            clips += read_manifest(path)
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not found:
                raise GemoclapError(f"{path}: no audio files below it ({', '.join(sorted(AUDIO_SUFFIXES))})")
            clips += (Utterance(file, file) for file in found)
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
            print(json.dumps(row, ensure_ascii=False))
        elif "error" in row:
            print(f"gemoclap: {row['error']}", file=sys.stderr)
        else:
            scores = "  ".join(f"{label} {row[label]:.2f}" for label in labels)
            print(f"{row['path']}: {row['emotion']} ({scores})")


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"
