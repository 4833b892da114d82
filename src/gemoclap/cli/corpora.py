"""The commands that work with manifests and need no model: prepare, inspect and convert."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from gemoclap import corpora
from gemoclap.corpora.inspect import inspect
from gemoclap.corpora.inspect_text import render
from gemoclap.corpora.layout import rows_of_folder
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.corpora.speakers import shown_speakers
from gemoclap.data.folds import make_folds
from gemoclap.data.reading import read_data
from gemoclap.files import write_json
from gemoclap.labels import get_vocabulary
from gemoclap.terminal import output_console, print_summary, progress_bar
from gemoclap.wording import counted
from gemoclap.writing import check_folder, check_target

logger = logging.getLogger(__name__)


def run_prepare(args: Namespace) -> int:
    """Write a manifest of a corpus on disk."""
    output = check_target(args.output or f"{args.name}.jsonl", overwrite=args.overwrite)
    utterances = corpora.prepare(args.name, args.root, args.audio_root, args.corpus, args.columns, args.votes)
    write_manifest(utterances, output)
    speakers = len(shown_speakers(utterances))
    counts = f"{counted(len(utterances), 'utterance')}, {counted(speakers, 'speaker')}"
    print_summary(f"{output}: {counts}; check it with: gemoclap inspect {output}", output)
    _say_missing(utterances, args.name.lower() in corpora.IMPORTERS)
    return 0


def _say_missing(utterances: Sequence[Utterance], is_import: bool) -> None:
    """Warn of audio files that are not there, which are most often all of them."""
    missing = [row.path for row in utterances if not os.path.exists(row.path)]
    if missing:
        cure = "; --audio_root names the folder that the paths start from" if is_import else ""
        logger.warning(
            "the audio of %s of %s is not there, such as %s%s",
            f"{len(missing):,}",
            counted(len(utterances), "utterance"),
            missing[0],
            cure,
        )


def run_inspect(args: Namespace) -> int:
    """Count the rows of a manifest, or the audio files in a folder, and list faults; the status is 1 if there are any."""
    output = check_target(args.output, overwrite=args.overwrite) if args.output else None
    is_folder = Path(args.manifest).is_dir()
    utterances = rows_of_folder(Path(args.manifest)) if is_folder else read_manifest(args.manifest, as_spelt=True)
    vocabulary = get_vocabulary(args.vocabulary) if args.vocabulary else None
    with progress_bar("reading audio") as progress:
        inspection = inspect(utterances, vocabulary, progress, speakers=not is_folder)
    output_console(output).print(render(inspection, None if args.all else 10))
    if output:
        write_json(output, inspection.to_dict())
    return 1 if inspection.faults else 0


def run_convert(args: Namespace) -> int:
    """Write a manifest in another toolkit's format, with folds if the format has them."""
    if args.form == "csv":
        check_target(args.output, overwrite=args.overwrite)
    else:
        check_folder(args.output)
    folds = None
    if args.form == "emobox":
        utterances, vocabulary, data = read_data(args.data)
        folds = {
            fold.name: [[row.id for row in part] for part in (fold.train, fold.test, fold.dev)]
            for fold in make_folds(utterances, data, vocabulary)
        }
    else:
        utterances = read_manifest(args.manifest)
    corpora.export(args.form, utterances, args.output, folds, args.overwrite)
    print_summary(f"{args.output}: {counted(len(utterances), 'utterance')} as {args.form}", Path(args.output))
    return 0
