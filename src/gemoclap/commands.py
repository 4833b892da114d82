"""What each command does, once its arguments are parsed; `cli.py` reads them and turns errors into lines."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from gemoclap import corpora
from gemoclap.corpora.layout import AUDIO_SUFFIXES
from gemoclap.config import Settings
from gemoclap.corpora.inspect import inspect, render
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.data.dataset import AudioStore
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError
from gemoclap.files import atomic_write, write_json
from gemoclap.inference.predictor import Prediction, Predictor
from gemoclap.labels import get_vocabulary
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.supervised import read_data, train
from gemoclap.reports import collect, print_table, write_report, write_scores
from gemoclap.reports.results import score_table
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state
from gemoclap.training.evaluate import predict_table

console = Console()


def run_prepare(args: Namespace) -> int:
    """A corpus on disk -> a manifest."""
    output = Path(args.output or f"{args.name}.jsonl")
    utterances = corpora.prepare(args.name, args.root, args.audio_root)
    write_manifest(utterances, output)
    speakers = len({row.speaker for row in utterances if row.speaker})
    console.print(f"{output}: {len(utterances)} utterances, {speakers} speakers; look at it with: gemoclap inspect {output}")
    return 0


def run_inspect(args: Namespace) -> int:
    """Counts and faults of a manifest; status 1 when there are faults."""
    utterances = read_manifest(args.manifest)
    vocabulary = get_vocabulary(args.vocabulary) if args.vocabulary else None
    with progress_bar("listening") as progress:
        inspection = inspect(utterances, vocabulary, progress)
    console.print(render(inspection, None if args.all else 10))
    if args.output:
        write_json(args.output, inspection.to_dict())
    return 1 if inspection.faults else 0


def run_convert(args: Namespace) -> int:
    """A manifest -> another toolkit's form, with the folds where it has a place for them."""
    folds = None
    if args.form == "emobox":
        args.data.manifest = args.manifest
        utterances, vocabulary, data = read_data(args.data)
        folds = {
            fold.name: ([row.id for row in fold.train], [row.id for row in fold.test])
            for fold in make_folds(utterances, data, vocabulary)
        }
    else:
        utterances = read_manifest(args.manifest)
    corpora.export(args.form, utterances, args.output, folds)
    console.print(f"{args.output}: {len(utterances)} utterances as {args.form}")
    return 0


def run_train(args: Namespace) -> int:
    """One method on all speakers -> a model."""
    folder = train(_settings(args), args.method, Path(args.output))
    if process_state().is_main_process:
        console.print(f"{folder}: the model; try it with: gemoclap predict {folder} clip.wav")
    return 0


def run_crossval(args: Namespace) -> int:
    """Methods over speaker-disjoint folds -> a table, a report and pictures."""
    output = Path(args.output)
    cross_validate(_settings(args), args.methods, output, keep_models=args.keep_models)
    if process_state().is_main_process:
        page = write_report(output)
        print_table(collect(output), console)
        console.print(f"{page}: the report; results.json, results.csv and pictures beside it")
    return 0


def run_report(args: Namespace) -> int:
    """The report of a cross-validation, finished or not, written again."""
    page = write_report(Path(args.folder))
    print_table(collect(Path(args.folder)), console)
    console.print(f"{page}: the report")
    return 0


def run_evaluate(args: Namespace) -> int:
    """A model on a labelled manifest -> scores and predictions."""
    predictor = Predictor.from_pretrained(args.model)
    utterances = read_manifest(args.manifest)
    store = AudioStore(predictor.model.config.audio_settings)
    with progress_bar("reading audio") as progress:
        store.preload(utterances, progress=progress)
    with progress_bar("classifying") as progress:
        table = predict_table(predictor.model, utterances, store, batch_size=args.batch_size, progress=progress)
    scores = score_table(table)
    if args.output:
        output = Path(args.output)
        if output.exists() and any(output.iterdir()):
            raise GemoclapError(f"{output}: is not empty; choose another folder with -o")
        table.write(output / "predictions.csv")
        write_scores(scores, table, output, f"{args.model} on {args.manifest}")
    low, high = scores.uar_interval
    console.print(
        f"{scores.n} utterances: WAR {100 * scores.war:.1f} %, UAR {100 * scores.uar:.1f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}], macro F1 {100 * scores.macro_f1:.1f} %"
    )
    console.print("recall: " + ", ".join(f"{label} {100 * recall:.1f}" for label, recall in scores.recalls.items()))
    return 0


def run_predict(args: Namespace) -> int:
    """Files, folders or manifests -> one row a clip; status 1 when some could not be read."""
    predictor = Predictor.from_pretrained(args.model)
    paths = _audio_paths(args.audio)
    labels = args.labels or list(predictor.labels)
    rows: list[dict[str, str]] = []
    with progress_bar("predicting") as progress:
        for path, prediction in zip(paths, predictor.predict_many(paths, args.labels, args.batch_size), strict=True):
            rows.append(_row(path, prediction))
            progress(len(rows), len(paths))
    if args.output:
        _write_rows(Path(args.output), labels, rows)
    else:
        _print_rows(labels, rows, args.json)
    failed = sum(1 for row in rows if row.get("error"))
    if failed:
        Console(stderr=True).print(f"gemoclap: {failed} of {len(rows)} clips could not be read; see the column 'error'")
    return 1 if failed else 0


def _settings(args: Namespace) -> Settings:
    return Settings(data=args.data, model=args.model, objective=args.objective, train=args.train)


def _audio_paths(given: Sequence[str]) -> list[str]:
    """Expand folders to the audio files below them and manifests to their files."""
    paths: list[str] = []
    for name in given:
        path = Path(name)
        if path.suffix == ".jsonl":
            paths += [row.path for row in read_manifest(path)]
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not found:
                raise GemoclapError(f"{path}: no audio files below it ({', '.join(sorted(AUDIO_SUFFIXES))})")
            paths += found
        else:
            paths.append(name)
    return paths


def _row(path: str, prediction: Prediction | GemoclapError) -> dict[str, str]:
    if isinstance(prediction, GemoclapError):
        return {"path": path, "error": str(prediction)}
    scores = {label: f"{score:.6f}" for label, score in prediction.probabilities.items()}
    return {"path": path, "emotion": prediction.emotion, "confidence": f"{prediction.confidence:.6f}", **scores}


def _write_rows(path: Path, labels: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, ["path", "emotion", "confidence", *labels, "error"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    console.print(f"{path}: {len(rows)} rows")


def _print_rows(labels: Sequence[str], rows: Sequence[dict[str, str]], as_json: bool) -> None:
    for row in rows:
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
        elif "error" in row:
            Console(stderr=True).print(f"gemoclap: {row['error']}", markup=False)
        else:
            scores = "  ".join(f"{label} {float(row[label]):.2f}" for label in labels)
            console.print(f"{row['path']}: {row['emotion']} ({scores})", markup=False, highlight=False, soft_wrap=True)


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "prepare": run_prepare,
    "inspect": run_inspect,
    "convert": run_convert,
    "train": run_train,
    "crossval": run_crossval,
    "report": run_report,
    "evaluate": run_evaluate,
    "predict": run_predict,
}
"""Command -> what it does; the arguments of each are in `cli.py`."""
