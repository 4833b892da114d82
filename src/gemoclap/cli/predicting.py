"""`predict`. It checks paths before it imports torch, so that a misspelt path is reported at once."""

from __future__ import annotations

import glob
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemoclap.corpora.csv_io import read_csv
from gemoclap.corpora.layout import AUDIO_SUFFIXES, rows_of_folder
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.errors import GemoclapError
from gemoclap.files import to_json
from gemoclap.inference.adaptation import ALL, groups_in, read_statistics, write_statistics
from gemoclap.inference.answers import NO_SPEECH, UNKNOWN
from gemoclap.inference.model_folder import is_model_folder, model_source, require_model
from gemoclap.inference.rows import SUFFIXES, RowFile, check_parquet, key_of
from gemoclap.terminal import print_summary, progress_bar
from gemoclap.writing import check_target

if TYPE_CHECKING:
    from gemoclap.inference.prediction import Prediction
    from gemoclap.inference.predictor import Predictor

logger = logging.getLogger(__name__)
LISTS = (".csv", ".tsv")
"""Suffixes of a table that lists clips."""


def run_predict(args: Namespace) -> int:
    """Predict files, folders, manifests or lists, one row per clip; the status is 1 if some clips could not be read."""
    if args.output and args.json:
        raise GemoclapError("--json prints JSON lines, -o writes a file; give one of them")
    target = check_target(args.output, SUFFIXES, args.overwrite) if args.output else None
    if target:
        check_parquet(target)
    if not 0 <= args.threshold <= 1:
        raise GemoclapError(f"--threshold must lie between 0 and 1, not {args.threshold:g}")
    if args.columns and not (args.output or args.json):
        raise GemoclapError("--columns: the lines on the terminal have no columns; add -o FILE, or --json")
    require_model(model_source(args.model))
    clips = _clips(args.paths)
    groups = _groups(clips, args)
    if args.save_adapt:
        check_target(args.save_adapt, (".json",), args.overwrite, "--save_adapt")
    predictor, fingerprint = _loaded(args.model)
    predictor.check_speech = args.speech == "detect"
    predictor.any_words = args.any_words
    predictor.predict_gender = "gender" in args.columns
    if args.workers:
        predictor.workers = args.workers
    labels = args.labels or predictor.labels
    # The hash is not needed for predictions on the terminal, and takes a moment.
    model = fingerprint(predictor.model) if target or groups else ""
    predict = _way_to_predict(predictor, clips, groups, args, model)

    def answers(wanted: Sequence[Utterance]) -> Iterator[dict[str, Any]]:
        return (
            _row(clip, answer, args.threshold, predictor.check_speech, args.columns)
            for clip, answer in zip(wanted, predict(wanted), strict=True)
        )

    if target:
        made_with = {
            "model": model,
            "calibration": predictor.model.config.calibration,
            "labels": [*labels],
            "threshold": args.threshold,
            "speech": args.speech,
            "columns": args.columns,
            "adapted_to": None
            if groups is None
            else {"how": args.adapt, "by": args.by, "clips": [key_of(_about(clip)) for clip in clips]},
        }
        failed = _write(target, clips, answers, made_with, _columns(clips, labels, args.columns), args.overwrite)
    else:
        failed = _print(answers(clips), labels, args.json)
    if failed:
        where = "; the column 'error' says why" if target else ""
        print(f"gemoclap: {failed} of {len(clips)} clips could not be read{where}", file=sys.stderr)
    return 1 if failed else 0


def _loaded(model: str) -> tuple[Predictor, Callable[..., str]]:
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    from gemoclap.encoders.fingerprint import fingerprint
    from gemoclap.inference.predictor import Predictor

    return Predictor.from_pretrained(model), fingerprint


# Adaptation.


def _groups(clips: Sequence[Utterance], args: Namespace) -> list[str] | None:
    """Return the group of each clip; clips of a group are adapted to together. None = no adaptation."""
    if args.adapt == "none":
        if args.save_adapt:
            raise GemoclapError(
                "--save_adapt: there is no adaptation to save; give --adapt folder or --adapt speaker too"
            )
        return None
    if args.adapt == "folder":
        return [ALL] * len(clips)
    if args.adapt != "speaker":
        if args.save_adapt:
            raise GemoclapError("--save_adapt: the statistics of --adapt FILE are already saved; leave it out")
        if groups_in(args.adapt) == [ALL]:
            return [ALL] * len(clips)
    if args.by == "folder":
        return [str(Path(clip.path).parent) for clip in clips]
    for clip in clips:
        if clip.speaker is None:
            raise GemoclapError(
                f"{clip.path}: its speaker is not known; give a manifest with a speaker column, or --by folder"
            )
    return [speaker_name(clip) for clip in clips]


def _way_to_predict(
    predictor: Predictor, clips: Sequence[Utterance], groups: Sequence[str] | None, args: Namespace, model: str
) -> Callable[[Sequence[Utterance]], Iterable[Prediction | GemoclapError]]:
    """Return a function that predicts some of the clips.

    With --adapt folder or speaker, the statistics are measured on all clips, even if only some of them are to be predicted.
    """
    if groups is None:
        return lambda wanted: predictor.predict_many(wanted, args.labels, args.batch_size)
    keys = [key_of(_about(clip)) for clip in clips]
    group_of = dict(zip(keys, groups, strict=True))

    def adapted(wanted: Sequence[Utterance]) -> Iterable[Prediction | GemoclapError]:
        asked = [key_of(_about(clip)) for clip in wanted]
        if args.adapt not in ("folder", "speaker"):
            known = read_statistics(args.adapt, model)
            of_wanted = [group_of[key] for key in asked]
            return predictor.predict_adapted(wanted, of_wanted, args.labels, args.batch_size, known)[0]
        found, used = predictor.predict_adapted(clips, groups, args.labels, args.batch_size)
        if args.save_adapt and used:
            write_statistics(args.save_adapt, model, used)
        by_key = dict(zip(keys, found, strict=True))
        return [by_key[key] for key in asked]

    return adapted


# Which clips.


def _clips(given: Sequence[str]) -> list[Utterance]:
    """Return a row per clip: the files of folders and patterns, and the rows of manifests and tables."""
    found: dict[str, Utterance] = {}
    count = 0
    for name in given:
        for clip in _named(name):
            found.setdefault(key_of(_about(clip)), clip)
            count += 1
    if len(found) < count:
        logger.warning("%d clips are named more than once; each is predicted once", count - len(found))
    return [*found.values()]


def _named(name: str) -> Iterable[Utterance]:
    path = Path(name)
    if path.is_dir():
        if is_model_folder(path):
            raise GemoclapError(f"{path}: is the folder of a model, not of recordings; name it with --model {path}")
        return rows_of_folder(path)
    if path.suffix == ".jsonl":
        return read_manifest(path)
    if path.suffix.lower() in LISTS:
        return read_csv(path)
    if not path.exists() and glob.has_magic(name):
        files = sorted(file for file in glob.glob(name, recursive=True) if Path(file).suffix.lower() in AUDIO_SUFFIXES)
        if not files:
            raise GemoclapError(f"{name}: no audio file matches this pattern")
        return [Utterance(file, file) for file in files]
    return [Utterance(name, name)]


def _about(clip: Utterance) -> dict[str, Any]:
    """Return the fields that identify a clip: its path, and for a row of a manifest also its id, start and end."""
    about = {"path": clip.path, "id": clip.id, "start": clip.start, "end": clip.end}
    return {name: value for name, value in about.items() if value is not None and (name, value) != ("id", clip.path)}


# The rows.


def _row(
    clip: Utterance,
    prediction: Prediction | GemoclapError,
    threshold: float = 0.0,
    detect: bool = False,
    columns: Sequence[str] = (),
) -> dict[str, Any]:
    if isinstance(prediction, GemoclapError):
        return _about(clip) | {"error": str(prediction)}
    scores = {"confidence": prediction.confidence, **prediction.probabilities}
    emotion = prediction.emotion if prediction.confidence >= threshold else UNKNOWN
    if detect and not prediction.has_speech:
        emotion = NO_SPEECH
    row = _about(clip) | {"emotion": emotion, **{name: round(one, 6) for name, one in scores.items()}}
    row |= {name: value for name, value in _further(prediction).items() if name in columns}
    return row | ({"remark": prediction.remark} if prediction.remark else {})


def _further(prediction: Prediction) -> dict[str, Any]:
    """Return the values of the columns that --columns can add."""
    genders = prediction.genders or {}
    return {
        "gender": max(genders, key=lambda name: genders[name]) if genders else None,
        "seconds": round(prediction.seconds, 3),
        "embedding": [float(f"{value:.6g}") for value in prediction.embedding.tolist()],
    }


def _columns(clips: Sequence[Utterance], labels: Sequence[str], further: Sequence[str]) -> list[str]:
    of_manifests = {name for clip in clips for name in _about(clip)}
    about = [name for name in ("path", "id", "start", "end") if name in of_manifests]
    return [*about, "emotion", "confidence", *labels, *further, "error", "remark"]


def _write(
    path: Path,
    clips: Sequence[Utterance],
    answers: Callable[[Sequence[Utterance]], Iterator[dict[str, Any]]],
    made_with: dict[str, Any],
    columns: Sequence[str],
    overwrite: bool,
) -> int:
    """Write a row per clip, resuming an interrupted run; return the number of clips that could not be read."""
    keys = [key_of(_about(clip)) for clip in clips]
    with RowFile(path, made_with, columns, overwrite) as rows, progress_bar("predicting") as progress:
        left = [clip for key, clip in zip(keys, clips, strict=True) if key not in rows.failed]
        if len(left) < len(clips):
            done_before = len(clips) - len(left)
            print_summary(f"{path}: resuming, {done_before} of {len(clips)} rows were written before", path)
        for done, row in enumerate(answers(left), len(clips) - len(left) + 1):
            rows.add(row)
            progress(done, len(clips))
        rows.finish(keys)
    print_summary(f"{path}: {len(clips)} rows", path)
    return sum(rows.failed[key] for key in keys)


def _print(rows: Iterable[dict[str, Any]], labels: Sequence[str], as_json: bool) -> int:
    """Print a line per clip as it is predicted; return the number of clips that could not be read."""
    failed = 0
    for row in rows:
        failed += "error" in row
        if as_json:
            print(to_json(row), flush=True)
        elif "error" in row:
            print(f"gemoclap: {row['error']}", file=sys.stderr)
        else:
            scores = "  ".join(f"{label} {row[label]:.2f}" for label in labels)
            remark = f"  [{row['remark']}]" if "remark" in row else ""
            print(f"{row['path']}: {row['emotion']} ({scores}){remark}", flush=True)
    return failed
