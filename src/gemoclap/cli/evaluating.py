"""`evaluate`. It looks at paths first and imports torch then, so that a misspelt one is found at once."""

from __future__ import annotations

from argparse import Namespace

from gemoclap.cli.recordings import with_audio
from gemoclap.corpora.manifest import read_manifest
from gemoclap.inference.abilities import abilities_of
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.starting import many_imports
from gemoclap.writing import refuse_used_folder


def run_evaluate(args: Namespace) -> int:
    """Score a model on a labelled manifest, and write its predictions."""
    if args.output:
        refuse_used_folder(args.output)
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
