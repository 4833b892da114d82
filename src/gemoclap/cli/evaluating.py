"""`evaluate`."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path

from gemoclap.corpora.manifest import read_manifest
from gemoclap.corpora.speakers import common_speakers, speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.inference.predictor import Predictor
from gemoclap.recipes.made import made_with
from gemoclap.recipes.run_folder import refuse_used_folder
from gemoclap.reports import write_scores
from gemoclap.reports.evaluation import label_remarks
from gemoclap.reports.rows import score_table
from gemoclap.terminal import progress_bar
from gemoclap.training.evaluate import predict_table, unknown_labels
from gemoclap.writing import folder_written_beside


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
    unknown = unknown_labels(utterances, predictor.model.config.emotions)
    for remark in label_remarks(table, unknown):
        print(f"beware: {remark}")
    if heard:
        print(f"the model was trained on {len(heard)} of these speakers: the figures are not speaker-independent")
    if args.output:
        with folder_written_beside(Path(args.output)) as folder:
            table.write(folder / "predictions.csv")
            title = f"{args.model} on {args.manifest}"
            calibration = predictor.model.config.calibration
            write_scores(
                scores, table, folder, title, heard, unknown=unknown, calibration=calibration, made=made_with()
            )
    low, high = map(_percent, scores.uar_interval)
    left_out = f" ({len(utterances) - scores.n} of other labels left out)" if scores.n < len(utterances) else ""
    print(
        f"{scores.n} utterances{left_out}: WAR {_percent(scores.war)} %, UAR {_percent(scores.uar)} % [{low}, {high}], "
        f"macro F1 {_percent(scores.macro_f1)} %"
    )
    print("recall: " + ", ".join(f"{label} {_percent(recall)}" for label, recall in scores.recalls.items()))
    return 0


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"
