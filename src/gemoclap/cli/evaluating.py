"""`evaluate`. It looks at paths first and imports torch then, so that a misspelt one is found at once."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from gemoclap.cli.recordings import with_audio
from gemoclap.corpora.manifest import read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.inference.abilities import abilities_of
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.starting import many_imports
from gemoclap.writing import refuse_used_folder


def _refuse_others(output: str) -> None:
    """Raise a GemoclapError if a folder has files; an earlier evaluation is named with the model and manifest it was of."""
    scores = Path(output, "scores.json")
    if scores.is_file():
        title = str(read_json(scores, "choose another folder with -o").get("title", "another model"))
        raise GemoclapError(
            f"{output}: holds the evaluation of {title} already; remove the folder, or choose another with -o"
        )
    refuse_used_folder(output)


def run_evaluate(args: Namespace) -> int:
    """Score a model on a labelled manifest, and write its predictions."""
    if args.output:
        _refuse_others(args.output)
    utterances = with_audio(read_manifest(args.manifest), args.manifest)
    require_model(model_source(args.model))
    if can := abilities_of(model_source(args.model)):
        if args.adapt != "none":
            can.check_adaptable()
        if not args.merges:  # a label can be what classes are joined to
            can.check_labels(args.labels)
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    with many_imports():
        from gemoclap.cli.scoring import score
    score(args, utterances)
    return 0
