"""`index` and `search`. They look at paths first and import torch then, so that a misspelt one is found at once."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemoclap.audio import regular_file
from gemoclap.cli.model_options import INDEX
from gemoclap.cli.recordings import clips_of, say_what_is_needed
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import absolute, to_json
from gemoclap.inference.abilities import abilities_of
from gemoclap.inference.clip_index import ABOUT, CLIPS, EMBEDDINGS, ClipIndex, Found, IndexWriter
from gemoclap.inference.job import about
from gemoclap.inference.model_folder import EMBEDDED_MODELS, model_source, require_model
from gemoclap.inference.rows import SUFFIXES, check_parquet, key_of, write_rows
from gemoclap.labels import prompt_word
from gemoclap.starting import many_imports
from gemoclap.terminal import on_one_line, print_summary, progress_bar
from gemoclap.wording import clock, counted
from gemoclap.writing import check_folder, check_target, require_writable

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor


def run_index(args: Namespace) -> int:
    """Add recordings to an index; the status is 1 if some could not be read."""
    folder = _target(args.output)
    require_model(model_source(args.model))
    clips = clips_of(args.paths)
    if can := abilities_of(model_source(args.model)):
        can.check_prompts()
    predictor, made_by = _loaded(args.model)
    say_what_is_needed(predictor.needs_adaptation, "an index has its clips one by one, which makes it worse")
    predictor.check_speech = args.speech == "detect"
    size = predictor.embed_words(predictor.labels[0]).size
    name = args.model if args.model in EMBEDDED_MODELS else str(Path(args.model).resolve())
    made_with = {"model": made_by, "name": name, "labels": [*predictor.labels], "size": size, "speech": args.speech}
    failed = 0
    with IndexWriter(folder, made_with, args.overwrite) as index, progress_bar("indexing") as progress:
        new = [clip for clip in clips if not _is_known(index, clip)]
        for done, (clip, parts) in enumerate(
            zip(new, predictor.predict_parts(new, batch_size=args.batch_size), strict=True), 1
        ):
            index.add(_key_fields(clip), parts, _stamp(clip))
            if isinstance(parts, GemoclapError):
                print(on_one_line(f"gemoclap: {parts}"), file=sys.stderr)
                failed += 1
            progress(done, len(new))
    known = f" (already there: {len(clips) - len(new):,})" if len(new) < len(clips) else ""
    named = "" if args.output == INDEX else f" --index {shlex.quote(str(folder))}"
    asked = next((label for label in predictor.labels if label != "neutral"), predictor.labels[0])
    print(
        f"{folder}: {counted(len(new) - failed, 'recording')} added{known}; it has {index.recordings:,} with "
        f"{counted(index.parts, 'part')} of speech; "
        f"search it with: gemoclap search {shlex.quote(asked)}{named}"
    )
    if failed:
        print(f"gemoclap: {failed} of {counted(len(new), 'recording')} could not be read", file=sys.stderr)
    return 1 if failed else 0


def run_search(args: Namespace) -> int:
    """Show the parts of recordings that are most like words, or like a clip."""
    words = " ".join(args.words)
    if words and args.like is not None:
        raise GemoclapError("give words for an emotion or --like CLIP, not both")
    if not words and args.like is None:
        raise GemoclapError("give words for an emotion, or --like CLIP")
    if args.output and args.json:
        raise GemoclapError("--json prints JSON lines, -o writes a file; give one of them")
    target = check_target(args.output, SUFFIXES, args.overwrite) if args.output else None
    if target:
        check_parquet(target)
    if args.like is not None:
        regular_file(args.like)
    index = ClipIndex(Path(args.index))
    name = args.model or index.made_with["name"]
    require_model(model_source(name))
    predictor, made_by = _loaded(name)
    if made_by != index.made_with["model"]:
        raise GemoclapError(
            f"{args.index}: was made by another model than {name}, or by an earlier version of it; name the other one with "
            "--model, or make the index again with 'gemoclap index ... --overwrite'"
        )
    predictor.any_words = args.any_words
    predictor.check_speech = index.made_with["speech"] == "detect"  # as when the index was made
    question = predictor.embed_words(words) if args.like is None else _embedding_of(predictor, args.like)
    if args.like is None and prompt_word(words, predictor.labels) not in predictor.labels:
        print(_what_is_known(predictor, words), file=sys.stderr)
    if not index.parts:
        print(f"gemoclap: {args.index}: has no speech, so nothing can be found in it", file=sys.stderr)
    found = index.search(question, args.count)
    rows = [row_of(rank, one) for rank, one in enumerate(found, 1)]
    if target:
        columns = ["rank", "similarity", "path", "id", "start", "end", "emotion", "confidence"]
        write_rows(target, [name for name in columns if name != "id" or any("id" in row for row in rows)], rows)
        print_summary(f"{target}: {counted(len(rows), 'row')}", target)
    elif args.json:
        for row in rows:
            print(to_json(row))
    else:
        for row in rows:
            print(on_one_line(_line(row)))
    return 0


def _embedding_of(predictor: Predictor, clip: str) -> np.ndarray:
    """Return the embedding of a clip to compare with, and print what makes a comparison with it doubtful."""
    answer = predictor(clip)
    if answer.remarks.clip:
        print(f"gemoclap: {clip}: {answer.remarks.clip}", file=sys.stderr)
    return answer.embedding


def row_of(rank: int, found: Found) -> dict[str, Any]:
    """Return a result as plain data; its columns are those of a list of parts, which other commands read."""
    return {
        "rank": rank,
        "similarity": round(found.similarity, 4),
        "path": found.about["path"],
        **({"id": found.about["id"]} if "id" in found.about else {}),
        "start": found.start,
        "end": found.end,
        "emotion": found.emotion,
        "confidence": found.confidence,
    }


def _line(row: Mapping[str, Any]) -> str:
    place = f"{clock(row['start'])} to {clock(row['end'])}"
    return (
        f"{row['rank']:>3}  {row['similarity']:.2f}  {row['path']}  {place}  {row['emotion']} {row['confidence']:.2f}"
    )


def _what_is_known(predictor: Predictor, words: str) -> str:
    """Say what words that are no class of training are compared with, and which word is spelt like them."""
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    from gemoclap.clap.words import spelling_hint

    return (
        f"{words!r} is not an emotion that the model was trained on{spelling_hint(words, predictor.labels)}; it knows "
        f"{', '.join(predictor.labels)}, and finds clips of those whose words are similar"
    )


def _loaded(model: str) -> tuple[Predictor, str]:
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    with many_imports():
        from gemoclap.encoders.fingerprint import fingerprint
        from gemoclap.inference.predictor import Predictor

        predictor = Predictor.from_pretrained(model)
    return predictor, fingerprint(predictor.model)


def _target(output: str) -> Path:
    """Return the folder of the index; raise a GemoclapError if it has other files."""
    folder = check_folder(output)
    require_writable(folder)
    if folder.is_dir() and not (folder / ABOUT).is_file() and any(_others(folder)):
        raise GemoclapError(f"{folder}: has other files than an index; give -o a new folder")
    return folder


def _others(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name not in (".lock", CLIPS, EMBEDDINGS))


def _is_known(index: IndexWriter, clip: Utterance) -> bool:
    stamp = index.known.get(key_of(_key_fields(clip)))
    return stamp is not None and stamp == _stamp(clip)


def _key_fields(clip: Utterance) -> dict[str, Any]:
    """Return what identifies a clip wherever a search is made: with the whole path."""
    return about(clip) | {"path": str(absolute(clip.path))}


def _stamp(clip: Utterance) -> list[int] | None:
    """Return size and time of a file, by which it is known later whether it has changed; None if it cannot be looked at."""
    try:
        found = os.stat(clip.path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
