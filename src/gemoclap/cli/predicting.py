"""`predict`. Options, the model's folder, manifests and patterns are checked before torch is imported, which takes seconds."""

from __future__ import annotations

import hashlib
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gemoclap.cli.recordings import (
    clips_of,
    save_adaptation,
    say_what_is_needed,
    say_what_is_untrained,
    speakers_of,
)
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import read_bytes, to_json
from gemoclap.group_statistics import check_groups
from gemoclap.inference.abilities import abilities_of
from gemoclap.inference.adaptation import ALL, groups_in, read_statistics
from gemoclap.inference.job import Job, LocalEngine, Row, about, columns_of
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.inference.rows import SUFFIXES, RowFile, check_parquet, key_of
from gemoclap.labels import chosen_labels
from gemoclap.starting import many_imports
from gemoclap.terminal import on_one_line, print_summary, progress_bar
from gemoclap.wording import clock, counted
from gemoclap.writing import check_target, refuse_same_file

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor
    from gemoclap.inference.ray_engine import RayEngine

    Engine: TypeAlias = LocalEngine | RayEngine

ENOUGH_TO_ADAPT = 20
ADAPT_WELL = ("default", "research")
"""Number of clips and models for which adaptation is pointed out, as it gained points of UAR on every corpus that they were
not trained on (docs/models.md). With fewer clips it gets a warning."""


def run_predict(args: Namespace) -> int:
    """Predict files, folders, manifests or lists, one row per clip; the status is 1 if some clips could not be read."""
    if args.output and args.json:
        raise GemoclapError("--json prints JSON lines, -o writes a file; give one of them")
    target = check_target(args.output, SUFFIXES, args.overwrite) if args.output else None
    if target:
        check_parquet(target)
        refuse_same_file(target, args.paths)
    if not 0 <= args.threshold <= 1:
        raise GemoclapError(f"--threshold must lie between 0 and 1, not {args.threshold:g}")
    if args.columns and not (args.output or args.json):
        raise GemoclapError("--columns: the lines on the terminal have no columns; add -o FILE, or --json")
    if args.address and args.engine != "ray":
        raise GemoclapError("--address: is that of a Ray cluster; add --engine ray")
    require_model(model_source(args.model))
    clips = clips_of(args.paths)
    groups = _groups(clips, args)
    if args.save_adapt:
        check_target(args.save_adapt, (".json",), args.overwrite, "--save_adapt")
        refuse_same_file(args.save_adapt, args.paths, "--save_adapt")
    if args.labels is not None:
        chosen_labels(args.labels, ())
    if can := abilities_of(model_source(args.model)):
        can.check_labels(args.labels)
        if "gender" in args.columns:
            can.check_gender()
        if groups is not None:
            can.check_adaptable()
    job = Job(
        args.model,
        labels=args.labels,
        batch_size=args.batch_size,
        workers=args.workers if args.engine == "local" else None,
        any_words=args.any_words,
        find_speech=args.speech == "detect",
        threshold=args.threshold,
        columns=args.columns,
    )
    engine, predictor, model = _engine(job, args, needs_hash=target is not None or groups is not None)
    predictor.check_labels(args.labels)
    labels = args.labels or predictor.labels
    columns = columns_of(clips, labels, args.columns)
    say_what_is_untrained(args.labels, predictor.labels)
    answers = engine.rows if groups is None else _adapted(engine, predictor, clips, groups, args, model)
    if target:
        made_with = {
            "model": model,
            "calibration": predictor.model.config.calibration,
            "labels": [*labels],
            "threshold": args.threshold,
            "speech": args.speech,
            "columns": args.columns,
            "adapted_to": None if groups is None else _adapted_to(clips, args),
        }
        failed = _write(target, clips, answers, made_with, columns, args.overwrite)
    else:
        failed = _print(answers(clips), labels, args.json)
    if failed:
        where = "; the column 'error' says why" if target else ""
        print(f"gemoclap: {failed} of {counted(len(clips), 'clip')} could not be read{where}", file=sys.stderr)
    if groups is None:
        _point_out_adaptation(clips, len(clips) - failed, args.model, predictor.needs_adaptation)
    return 1 if failed else 0


def _engine(job: Job, args: Namespace, needs_hash: bool) -> tuple[Engine, Predictor, str]:
    """Return what does the job, the model, and the hash of its weights if that is needed."""
    if args.engine == "ray":
        # Imported here, because Ray takes seconds, and is an extra.
        from gemoclap.inference import ray_engine

        ray_engine.ray_module(args.debug)
    with many_imports():
        predictor = job.load()
    model = ""
    if needs_hash or args.engine == "ray":  # it takes a moment, and most predictions on the terminal do without
        from gemoclap.encoders.fingerprint import fingerprint

        model = fingerprint(predictor.model)
    if args.engine == "local":
        return LocalEngine(job, predictor), predictor, model
    say = partial(print, file=sys.stderr)
    return ray_engine.RayEngine(job, model, args.address, args.workers, say, args.debug), predictor, model


# Adaptation.


def _groups(clips: Sequence[Utterance], args: Namespace) -> list[str] | None:
    """Return the group of each clip; clips of a group are adapted to together. None = no adaptation."""
    if args.by == "folder" and args.adapt in ("none", "folder"):
        raise GemoclapError(f"--by folder: is for --adapt speaker, and not for --adapt {args.adapt}; leave it out")
    if args.adapt == "none":
        if args.save_adapt:
            raise GemoclapError(
                "--save_adapt: there is no adaptation to save; give --adapt folder or --adapt speaker too"
            )
        return None
    if args.adapt == "folder":
        return [ALL] * len(clips)
    known = None
    if args.adapt != "speaker":
        if args.save_adapt:
            raise GemoclapError("--save_adapt: the statistics of --adapt FILE are already saved; leave it out")
        known = groups_in(args.adapt)
        if [*known] == [ALL]:
            if args.by == "folder":
                raise GemoclapError(f"--by folder: {args.adapt} has statistics of all clips together; leave --by out")
            return [ALL] * len(clips)
    groups = _folders(clips) if args.by == "folder" else speakers_of(clips, ", or --by folder")
    check_groups(groups, known)
    return groups


def _folders(clips: Sequence[Utterance]) -> list[str]:
    return [str(Path(clip.path).parent) for clip in clips]


def _adapted_to(clips: Sequence[Utterance], args: Namespace) -> dict[str, Any]:
    """Return what rows are adapted to: rows that are adapted otherwise must not be in one table with them."""
    found: dict[str, Any] = {"how": args.adapt, "by": args.by, "clips": [key_of(about(clip)) for clip in clips]}
    if args.adapt not in ("folder", "speaker"):  # another file may get the same name
        found["statistics"] = hashlib.sha256(read_bytes(args.adapt)).hexdigest()[:16]
    return found


def _adapted(
    engine: Engine, predictor: Predictor, clips: Sequence[Utterance], groups: Sequence[str], args: Namespace, model: str
) -> Callable[[Sequence[Utterance]], Iterator[Row]]:
    """Return a function that predicts some of the clips, adapted to their groups.

    With --adapt folder or speaker, the statistics are measured on all clips, even if only some of them are to be predicted.
    They are saved behind the last row: an ended command must find nothing there when it is repeated.
    """
    keys = [key_of(about(clip)) for clip in clips]
    group_of = dict(zip(keys, groups, strict=True))

    def answers(wanted: Sequence[Utterance]) -> Iterator[Row]:
        asked = [key_of(about(clip)) for clip in wanted]
        if args.adapt not in ("folder", "speaker"):
            of_wanted = [group_of[key] for key in asked]
            known = read_statistics(args.adapt, model)
            found, _ = predictor.decide_adapted(engine.featured(wanted), of_wanted, args.labels, known)
            yield from map(engine.job.row, wanted, found)
            return
        of_all, used = predictor.decide_adapted(engine.featured(clips), groups, args.labels)
        by_key = dict(zip(keys, of_all, strict=True))
        yield from (engine.job.row(clip, by_key[key]) for clip, key in zip(wanted, asked, strict=True))
        if args.save_adapt:
            save_adaptation(args.save_adapt, model, used)
        heard = [not isinstance(answer, GemoclapError) and answer.has_speech for answer in of_all]
        _warn_of_few([group for group, counts in zip(groups, heard, strict=True) if counts], args.adapt)

    return answers


def _point_out_adaptation(clips: Sequence[Utterance], readable: int, model: str, needed: str | None) -> None:
    knows_speakers = all(clip.speaker is not None for clip in clips)
    how = "give --adapt speaker" if knows_speakers else "give a manifest that names the speakers, and --adapt speaker"
    say_what_is_needed(needed, how)
    if model in ADAPT_WELL and readable >= ENOUGH_TO_ADAPT:
        way = "speaker" if knows_speakers else "folder"
        what = "who speaks in each is known" if knows_speakers else "they were recorded in the same way"
        print(f"gemoclap: if {what}, --adapt {way} often finds more of the emotions right", file=sys.stderr)


def _warn_of_few(groups: Sequence[str], how: str) -> None:
    """Print which of the groups of recordings that were adapted to is the smallest, if it is small."""
    name, number = min(Counter(groups).items(), key=lambda one: one[1], default=("", ENOUGH_TO_ADAPT))
    if number < ENOUGH_TO_ADAPT:
        of = "" if how == "folder" else f" of {name}"
        print(
            f"gemoclap: --adapt {how}: there {'is' if number == 1 else 'are'} only {counted(number, 'recording')}{of}; if most "
            "have the same emotion, it is taken for the voice, and removed",
            file=sys.stderr,
        )


# The rows.


def _write(
    path: Path,
    clips: Sequence[Utterance],
    answers: Callable[[Sequence[Utterance]], Iterator[Row]],
    made_with: dict[str, Any],
    columns: Sequence[str],
    overwrite: bool,
) -> int:
    """Write a row per clip, resuming an interrupted run; return the number of clips that could not be read."""
    keys = [key_of(about(clip)) for clip in clips]
    with RowFile(path, made_with, columns, overwrite) as rows, progress_bar("predicting") as progress:
        left = [clip for key, clip in zip(keys, clips, strict=True) if key not in rows.failed]
        if len(left) < len(clips):
            done_before = len(clips) - len(left)
            print_summary(f"{path}: resuming, {done_before} of {counted(len(clips), 'row')} were written before", path)
        for done, row in enumerate(answers(left), len(clips) - len(left) + 1):
            rows.add(row)
            progress(done, len(clips))
        rows.finish(keys)
    print_summary(f"{path}: {counted(len(clips), 'row')}", path)
    return sum(rows.failed[key] for key in keys)


def _print(rows: Iterable[Row], labels: Sequence[str], as_json: bool) -> int:
    """Print a line per clip as it is predicted; return the number of clips that could not be read."""
    failed = 0
    for row in rows:
        failed += "error" in row
        if as_json:
            print(to_json(row), flush=True)
        elif "error" in row:
            print(on_one_line(f"gemoclap: {row['error']}"), file=sys.stderr)
        else:
            scores = "  ".join(f"{label} {row[label]:.2f}" for label in labels)
            remark = f"  [{row['remark']}]" if "remark" in row else ""
            print(on_one_line(f"{row['path']}{_place(row)}: {row['emotion']} ({scores}){remark}"), flush=True)
    return failed


def _place(row: Row) -> str:
    """Return which part of its file a row is about, by which the lines of a file can be told apart; empty for the whole."""
    if "start" not in row and "end" not in row:
        return ""
    return f" {clock(row.get('start', 0.0))} to {clock(row['end']) if 'end' in row else 'its end'}"
