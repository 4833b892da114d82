"""`export`. It looks at paths first and imports torch then, so that a misspelt one is found at once."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from gemoclap.cli.recordings import require_audio, with_audio
from gemoclap.corpora.manifest import read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.starting import many_imports
from gemoclap.writing import check_target, written_beside

MOST_LOST = 0.005
"""UAR that 8-bit weights may cost."""


def run_export(args: Namespace) -> int:
    """A model -> an ONNX file, and the contract on the terminal."""
    target = check_target(args.output, (".onnx",), args.overwrite)
    rows = with_audio(read_manifest(args.check_on), args.check_on) if args.check_on else []
    require_model(model_source(args.model))
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    with many_imports():
        from gemoclap.inference.exporting import check_exportable, export_onnx, unweighted_recall
        from gemoclap.inference.onnx_predictor import OnnxPredictor
        from gemoclap.inference.predictor import Predictor
        from gemoclap.training.choices import choice_of
        from gemoclap.training.evaluate import labelled_rows

        predictor = Predictor.from_pretrained(args.model, device="cpu")
    check_exportable(predictor.model)
    # With the labels of the clips as the classes are spelt, as in 'gemoclap evaluate'.
    vocabulary = choice_of(predictor.model.config.emotions, found=[row.emotion for row in rows]).vocabulary
    rows = labelled_rows(rows, vocabulary) if rows else []
    require_audio(rows)
    # Before the export, because a faulty clip ends the command.
    scores = [unweighted_recall(predictor, rows, vocabulary)] if rows else []
    with written_beside(target) as beside:
        contract, difference = export_onnx(predictor.model, beside, _title(args.model), args.int8)
        if rows:
            scores.append(unweighted_recall(OnnxPredictor(beside), rows, vocabulary))
            if args.int8 and scores[1] < scores[0] - MOST_LOST:
                raise GemoclapError(
                    f"--int8 lowers UAR from {_percent(scores[0])} to {_percent(scores[1])} % on {args.check_on}, more than "
                    f"{100 * MOST_LOST:g} points; leave --int8 out"
                )
    print(
        f"{target}: {target.stat().st_size / 1e6:.1f} MB; probabilities differ from the model's by {difference:.1g} at most"
    )
    if scores:
        print(f"UAR on {args.check_on}: {_percent(scores[1])} %; the model's own: {_percent(scores[0])} %")
    elif args.int8:
        print("beware: what 8-bit weights cost was not measured; --check_on MANIFEST does that")
    print(*contract.words(), sep="\n")
    return 0


def _title(model: str) -> str:
    """Return a model's name: of a folder called model, that of the run; a path is nobody's business."""
    parts = [part for part in Path(model).parts if part not in ("model", "/", ".", "..")]
    return parts[-1] if parts else model


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
