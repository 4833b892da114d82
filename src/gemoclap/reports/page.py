"""Writes the reports: one Markdown page, JSON, CSV and pictures beside what they were computed from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from gemoclap.files import write_json
from gemoclap.gmp.codebooks import is_clustered
from gemoclap.metrics import Scores
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.run_files import SELECTIONS
from gemoclap.reports import plots, tables
from gemoclap.reports.pseudo_labels import EXPLANATION, pseudo_label_table
from gemoclap.reports.results import MethodResults, Results, collect
from gemoclap.writing import atomic_write

CSV_FIRST = (
    "method", "aggregate", "fold", "fold_hash", "n_folds", "n", "war", "war_low", "war_high", "war_sd",
    "uar", "uar_low", "uar_high", "uar_sd", "macro_f1", "macro_f1_sd",
)  # fmt: skip
WORST_MISTAKES = 10


def write_report(run: str | os.PathLike | Results) -> Path:
    """Write report.md, results.json, results.csv and the pictures of a cross-validation into its folder.

    An unfinished run gives a report too, which names the folds that are missing. What `reports.joined` read of several runs is
    written into the folder it names.

    Parameters
    ----------
    run : the run's folder, or what `gemoclap.reports.results.collect` read of it.

    Returns
    -------
    The path of report.md.

    Raises
    ------
    GemoclapError : as `gemoclap.reports.results.collect`.
    """
    results = run if isinstance(run, Results) else collect(run)
    write_json(results.output / "results.json", results.to_dict())
    tables.write_csv(results.output / "results.csv", tables.csv_rows(results), CSV_FIRST)
    pictures = _write_pictures(results)
    return _write_page(results.output / "report.md", report_sections(results, pictures))


def write_scores(
    scores: Scores,
    table: PredictionTable,
    output_dir: str | os.PathLike,
    title: str,
    trained_speakers: Sequence[str] = (),
) -> Path:
    """Write scores.json, scores.csv, report.md and confusion.png of one evaluation.

    Parameters
    ----------
    scores : what `table` comes to.
    table : the predictions; the report counts its classes and speakers and lists its most confident mistakes.
    output_dir : folder to write into; predictions.csv is the evaluation's own to write.
    title : names model and data, ``"models/iemocap on emodb.jsonl"``.
    trained_speakers : of the speakers scored here, those that the model was trained on; the report then says so first.

    Returns
    -------
    The path of report.md.
    """
    output_dir = Path(output_dir)
    write_json(output_dir / "scores.json", {"title": title, **scores.to_dict()})
    tables.write_csv(output_dir / "scores.csv", [tables.scores_row(scores)])
    plots.write_confusion(scores, output_dir / "confusion.png", title)
    return _write_page(output_dir / "report.md", _evaluation_sections(scores, table, title, trained_speakers))


def _write_page(path: Path, sections: list[str]) -> Path:
    with atomic_write(path) as file:
        file.write("\n\n".join(sections) + "\n")
    return path


def _write_pictures(results: Results) -> dict[str, str]:
    """Draw every picture and return file name -> caption, in the order of the page."""
    pictures = {"comparison.png": "UAR of each method, pooled, with its 95 % interval; circles are folds"}
    plots.write_comparison(results, results.output / "comparison.png")
    if results.seed_means:
        pictures["mean_over_seeds.png"] = "Mean UAR over seeds, with its 95 % interval over speakers; circles are seeds"
        plots.write_seed_comparison(results, results.output / "mean_over_seeds.png")
    for method in results.scored:
        assert method.pooled is not None
        name = f"confusion_{method.name}.png"
        title = f"{tables.method_label(method)}, pooled over folds"
        plots.write_confusion(method.pooled, results.output / name, title)
        pictures[name] = f"Confusion matrix of {method.title}, pooled over folds"
    for method in results.scored:
        name = f"curves_{method.name}.png"
        if plots.write_curves(method.logs, results.output / name, tables.method_label(method)):
            pictures[name] = f"Learning curves of {method.title}"
    if results.is_joined:
        _let_go(results.output, pictures)
    return pictures


def _let_go(output: Path, pictures: Collection[str]) -> None:
    """Delete the pictures that an earlier report, of other runs, left in the folder."""
    for kind in ("confusion_*", "curves_*", "mean_over_seeds"):
        for path in output.glob(f"{kind}.png"):
            if path.name not in pictures:
                path.unlink()


# The page of a cross-validation.


def report_sections(results: Results, pictures: dict[str, str]) -> list[str]:
    """Return the page's paragraphs; the first is the warning where speakers are shared, else the title."""
    recalls = {tables.method_label(method): method.pooled for method in results.scored if method.pooled is not None}
    n_folds = tables.count(results.folds, "fold")
    sections = [
        *_overlap_warning(results),
        *(f"**Beware: {warning}.**" for warning in results.encoder_warnings),
        f"# Cross-validation on {results.vocabulary}: {len(results.classes)} classes, {n_folds}",
        *_partial_warning(results),
        _protocol(results),
        "## Results",
        "Percent. The last column is the UAR of female minus that of male speakers, in points.",
        tables.summary_table(results),
    ]
    if results.differences:
        sections += ["### Differences from the first method", tables.difference_table(results)]
    if results.seed_means:
        sections += ["### Mean over seeds", _about_seeds(results), tables.seed_table(results)]
    sections += [
        "### Recall by class, pooled",
        tables.recall_table(recalls),
        "### Folds",
        tables.fold_table(results),
        *_pseudo_labels(results),
        "## How to read this",
        _how_to_read(results),
        "## Pictures",
        *(f"![{caption}]({name})" for name, caption in pictures.items()),
    ]
    return sections


def _about_seeds(results: Results) -> str:
    return (
        "Pooled over folds, percent. Intervals are over speakers, of the mean over these seeds; what other seeds would do they "
        f"do not say, the standard deviation hints at it. Differences are from {results.seed_means[0].title}, paired by "
        "utterance, where there are as many seeds."
    )


def _pseudo_labels(results: Results) -> list[str]:
    """Return what is known of the clusters of gmp_tl, where a method has some."""
    tables_of = []
    for method in results.methods:
        folders = [method.folder / fold.name / "clusters" for fold in results.folds]
        finished = [folder for folder in folders if is_clustered(folder)]
        if finished:
            tables_of += [f"{method.title}:", pseudo_label_table(finished)]
    return ["### Pseudo-labels of GMP-TL", EXPLANATION, *tables_of] if tables_of else []


def _overlap_warning(results: Results) -> list[str]:
    if not results.speaker_overlap:
        return []
    shared = sorted({speaker for fold in results.folds for speaker in fold.shared_speakers})
    who = tables.shorten(shared, 10)
    what = f"are shared between training and test in this run ({who})" if who else "may be shared: some are unknown"
    return [f"**Speakers {what}: the figures are not speaker-independent.**"]


def _partial_warning(results: Results) -> list[str]:
    if not results.partial:
        return []
    lacking = [f"{method.title} lacks {_missing(method)}" for method in results.methods if method.missing]
    return [
        f"**Partial results:** {'; '.join(lacking)}. Figures cover the finished folds alone: compare methods here only "
        "by the differences below, which use the folds that both have."
    ]


def _missing(method: MethodResults) -> str:
    return tables.shorten(method.missing, 10) if method.folds else "all folds"


def _protocol(results: Results) -> str:
    counts = results.class_counts
    by_class = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    n_folds = tables.count(results.folds, "fold")
    lines = [
        f"- Manifest: `{results.manifest}`",
        f"- Tested utterances: {sum(counts.values()):,} ({by_class})",
        f"- Protocol: {n_folds}, listed [below](#folds) with test speakers and hashes; {_disjoint(results)}",
        *_trained(results),
        f"- Reported: {SELECTIONS[results.selection]}; no epoch was chosen on test speakers",
        f"- {_settings(results)}; figures: [results.json](results.json), [results.csv](results.csv)",
    ]
    return "\n".join(lines)


def _trained(results: Results) -> list[str]:
    """Return what is trained, in a line; nothing of a run that trains no encoder, or says nothing of it."""
    model, train = results.config.get("model") or {}, results.config.get("train") or {}
    if not model.get("audio_encoder") or any(train.get(name) is None for name in ("epochs", "lr", "seed")):
        return []
    details = {"layers": "last", "keep_layers": None, "freeze": "none", "pooling": None, "lora_rank": None}
    told = [f"{name} {model[name]}" for name, usual in details.items() if model.get(name, usual) != usual]
    epochs = tables.count(range(train["epochs"]), "epoch")
    whose = " of the first run" if results.is_joined else ""
    encoder = f"`{model['audio_encoder']}` ({', '.join(told)})"
    return [f"- Audio encoder{whose}: {encoder}; {epochs}, learning rate {train['lr']:g}, seed {train['seed']}"]


def _settings(results: Results) -> str:
    if results.is_joined:
        return f"Runs, each with its config.yaml and folds.json: {', '.join(f'`{run}`' for run in results.runs)}"
    return "Settings: [config.yaml](config.yaml); utterances of each fold: [folds.json](folds.json)"


def _disjoint(results: Results) -> str:
    if any(fold.shared_speakers for fold in results.folds):
        return "**some speakers are both trained and tested on**"
    unknown = max(sum(name is None for name in _speakers(method)) for method in results.scored)
    if results.speaker_overlap or unknown:
        who = f"the speaker of {unknown:,} tested" if unknown else "the speaker of some trained"
        return f"{who} utterances is unknown, so whether they are unseen cannot be told"
    if results.encoder_warnings:
        return "no speaker is both trained and tested on in this run; what its encoders know stands above"
    return "no speaker is both trained and tested on"


def _speakers(method: MethodResults) -> tuple[str | None, ...]:
    return method.predictions.speakers if method.predictions is not None else ()


def _how_to_read(results: Results) -> str:
    fullest = max((method.pooled for method in results.scored if method.pooled is not None), key=lambda one: one.n)
    lines = [
        "- **WAR** (weighted average recall) is the share of utterances that are right; **UAR** (unweighted average "
        f"recall) is the mean of the classes' recalls, for which guessing gives {100 / len(results.classes):.1f} %.",
        "- **Pooled**: the test utterances of all folds together, scored once. **Mean of folds**: each fold is scored "
        "on its own and counts the same; ± is the standard deviation over folds. The two differ where folds differ in "
        "size or in classes; compare with others' work by the one they use.",
        f"- **[95 % CI]**: percentile bootstrap over speakers ({fullest.n_clusters:,} here, an utterance of an unknown "
        "speaker counting as one; 1,000 resamples): how far the figure would move with other speakers, training being "
        "the same. With about ten speakers it is somewhat too narrow. It says nothing about other seeds.",
        "- **Differences** resample the same speakers for both methods, so they can be clear of 0 where the methods' "
        "own intervals overlap.",
        f"- The figures are those of {SELECTIONS[results.selection]} of each fold, never of the epoch that is best on "
        "the test speakers.",
    ]
    return "\n".join(lines)


# The page of one evaluation.


def _evaluation_sections(
    scores: Scores, table: PredictionTable, title: str, trained_speakers: Sequence[str]
) -> list[str]:
    header = ["n", "WAR [95 % CI]", "UAR [95 % CI]", "macro F1", "UAR female", "UAR male", "gap (points)"]
    figures = [
        f"{scores.n:,}",
        tables.with_interval(scores.war, scores.war_interval),
        tables.with_interval(scores.uar, scores.uar_interval),
        tables.percent(scores.macro_f1),
        *(tables.percent(scores.uar_by_gender.get(gender)) for gender in ("female", "male")),
        tables.points(scores.gender_gap),
    ]
    counts = Counter(table.truth)
    by_class = ", ".join(f"{name} {counts[name]:,}" for name in table.classes)
    who = tables.shorten(trained_speakers, 10)
    warning = f"**The model was trained on speakers scored here ({who}): the figures are not speaker-independent.**"
    sections = [
        *([warning] if trained_speakers else []),
        f"# Evaluation: {title}",
        f"{scores.n:,} utterances ({by_class}) of {scores.n_clusters:,} speakers, an utterance of an unknown speaker "
        "counting as one. Percent; intervals are a percentile bootstrap over speakers.",
        tables.markdown_table(header, [figures], text_columns=0),
        "## Recall by class",
        tables.markdown_table(list(scores.recalls), [[tables.percent(one) for one in scores.recalls.values()]], 0),
    ]
    mistakes = _mistakes(table)
    if mistakes:
        header = ["utterance", "true", "predicted", "probability"]
        sections += ["## Most confident mistakes", tables.markdown_table(header, mistakes, text_columns=3)]
    return [*sections, "![Confusion matrix](confusion.png)"]


def _mistakes(table: PredictionTable) -> list[list[str]]:
    """Return the wrong predictions with the highest probabilities, which are worth listening to."""
    chosen = np.array([table.classes.index(word) for word in table.prediction])
    confidence = table.probabilities[np.arange(len(table)), chosen]
    wrong = np.array([true != said for true, said in zip(table.truth, table.prediction, strict=True)])
    rows = np.flatnonzero(wrong & ~np.isnan(confidence))
    rows = rows[np.argsort(-confidence[rows], kind="stable")][:WORST_MISTAKES]
    return [[table.ids[i], table.truth[i], table.prediction[i], tables.percent(confidence[i])] for i in rows.tolist()]
