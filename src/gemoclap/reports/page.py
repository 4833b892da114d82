"""Writes the report of a cross-validation: a Markdown page, JSON, CSV and pictures, in the folder of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from gemoclap.corpora.speakers import natural
from gemoclap.files import write_json
from gemoclap.gmp.codebooks import is_clustered
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS
from gemoclap.metrics.calibration import BINS
from gemoclap.recipes.run_files import SELECTIONS
from gemoclap.reports import plots, result_tables, tables
from gemoclap.reports.canvas import FORMATS, NO_DATE, check_formats, lacking_remark
from gemoclap.reports.illustrated import Picture, draw_pictures, write_page
from gemoclap.reports.made import made_line
from gemoclap.reports.protocol import merged_labels, tested_speakers
from gemoclap.reports.pseudo_labels import EXPLANATION, pseudo_label_table
from gemoclap.reports.records import LEVEL, MethodResults, Results
from gemoclap.reports.report_latex import latex_tables
from gemoclap.reports.results import collect
from gemoclap.reports.speakers import ABOUT as ABOUT_SPEAKERS
from gemoclap.reports.speakers import CAPTION as ABOUT_PICTURE
from gemoclap.reports.speakers import COLUMNS as SPEAKER_COLUMNS
from gemoclap.reports.speakers import by_row, csv_rows, draw_speakers, spread_cells
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

CSV_FIRST = (
    "method", "aggregate", "fold", "fold_hash", "n_folds", "n", "war", "war_low", "war_high", "war_sd",
    "uar", "uar_low", "uar_high", "uar_sd", "macro_f1", "macro_f1_sd",
)  # fmt: skip
COMPARISON = "comparison.png"
"""The first picture on the page."""


def write_report(run: str | os.PathLike | Results, formats: Sequence[str] = FORMATS) -> Path:
    """Write report.md, results.json, .csv and .tex, speakers.csv and the pictures of a cross-validation into its folder.

    An unfinished run gets a report too, which names the folds that are missing. The report of several runs
    (`reports.joined`) goes to a folder of its own.

    Parameters
    ----------
    run : the run's folder, or the results that `gemoclap.reports.results.collect` read from it.
    formats : formats of the pictures: ``"svg"``, ``"pdf"``, and ``"png"``, which is always written for the page.

    Returns
    -------
    The path of report.md.

    Raises
    ------
    GemoclapError : as `gemoclap.reports.results.collect`.
    """
    formats = list(dict.fromkeys(["png", *formats]))
    check_formats(formats)
    results = run if isinstance(run, Results) else collect(run)
    pictures = report_pictures(results)
    # Everything is computed before the first file is written, and pictures are drawn last.
    data, rows = results.to_dict(), result_tables.csv_rows(results)
    speakers = [{"method": one.name, **line} for one in by_row(results) for line in csv_rows(one.scores)]
    latex = latex_tables(results, report_title(results))
    sections = report_sections(results, {name: caption for name, (caption, _) in pictures.items()})
    write_json(results.output / "results.json", data)
    tables.write_csv(results.output / "results.csv", rows, CSV_FIRST)
    if speakers:
        tables.write_csv(results.output / "speakers.csv", speakers, ("method", *SPEAKER_COLUMNS))
    else:  # an earlier report of other runs may have had speakers
        (results.output / "speakers.csv").unlink(missing_ok=True)
    with atomic_write(results.output / "results.tex") as file:
        file.write(latex)
    page = write_page(results.output / "report.md", sections)
    failed = draw_pictures(results.output, pictures, formats)
    if failed:
        kept = {name: caption for name, (caption, _) in pictures.items() if name not in failed}
        write_page(page, [*report_sections(results, kept), *dict.fromkeys(failed.values())])
    if results.is_joined:
        _remove_old_pictures(results.output, pictures)
    return page


def report_pictures(results: Results) -> dict[str, Picture]:
    """Return the pictures by file name, in the order of the page."""
    parts = "folds (or seeds, where a row is a mean over seeds)" if results.seed_means else "folds"
    over = result_tables.resampled(results)
    caption = (
        f"UAR of each method over all folds together, with its 95 % interval over {over}; circles: single {parts}; dotted "
        "line: guessing"
    )
    pictures: dict[str, Picture] = {COMPARISON: (caption, partial(plots.write_comparison, results))}
    confident = {
        result_tables.row_label(row): row.confidence for row in results.scored_rows if row.confidence is not None
    }
    if confident:
        caption = "Share of correct predictions against their probability, before and after a temperature"
        pictures["reliability.png"] = (caption, partial(plots.write_reliability, confident))
    if spreads := by_row(results):
        pictures["speakers.png"] = (ABOUT_PICTURE, partial(draw_speakers, spreads, len(results.classes)))
    for row in results.scored_rows:
        assert row.scores is not None
        title = f"{result_tables.row_label(row)}, pooled over folds"
        draw: Callable[..., object] = partial(plots.write_confusion, row.scores, title=title)
        pictures[f"confusion_{row.name}.png"] = (f"Confusion matrix of {row.title}, pooled over folds", draw)
    for row in results.scored_rows:
        if plots.has_curves(row.first.logs):
            seed = f", seed {row.seeds[0]}" if row.seeds else ""
            draw = partial(plots.write_curves, row.first.logs, title=f"{result_tables.row_label(row)}{seed}")
            pictures[f"curves_{row.name}.png"] = (f"Learning curves of {row.title}{seed}", draw)
    return pictures


def _remove_old_pictures(output: Path, pictures: Collection[str]) -> None:
    """Delete pictures that an earlier report of other runs left in the folder."""
    kept = {Path(name).stem for name in pictures}
    for kind in ("confusion_*", "curves_*", "mean_over_seeds", "reliability", "speakers"):
        for path in output.glob(f"{kind}.*"):
            if path.suffix.removeprefix(".") in NO_DATE and path.stem not in kept:
                path.unlink()


# The page of a cross-validation.


def report_sections(results: Results, pictures: dict[str, str]) -> list[str]:
    """Return the page's paragraphs. If speakers are shared, a warning comes first; otherwise the title does."""
    recalls = {result_tables.row_label(row): row.scores for row in results.scored_rows if row.scores is not None}
    sections = [
        *overlap_warning(results),
        *(f"**Beware: {warning}.**" for warning in results.encoder_warnings),
        f"# {report_title(results)}",
        *partial_warning(results),
        *adapted_remark(results),
        *_lacking_letters(results),
        *(f"![{caption}]({name})" for name, caption in pictures.items() if name == COMPARISON),
        _bullets(protocol_lines(results)),
        "## Results",
        f"In percent. {about_intervals(results)} The last column is the UAR of female speakers minus the UAR of male "
        "speakers, in points.",
        tables.markdown_table(*result_tables.summary_cells(results), text_columns=2 if results.seed_means else 1),
        *(f"**Beware: {caution}.**" for caution in results.cautions),
    ]
    if results.differences:
        about = "Paired by speaker. p comes from a permutation test over speakers, corrected for all comparisons in this table."
        sections += [
            "### Differences from the first method",
            about,
            tables.markdown_table(*result_tables.difference_cells(results)),
        ]
    if results.seed_means:
        sections += [
            "### Each seed",
            "Pooled over folds, in percent.",
            tables.markdown_table(*result_tables.seed_cells(results), text_columns=2),
        ]
    sections += [
        "### Recall by class, pooled",
        tables.markdown_table(*result_tables.recall_cells(recalls)),
        *_speaker_table(results),
        "### Confidence",
        about_confidence(),
        tables.markdown_table(*result_tables.confidence_cells(results), text_columns=2),
        "### Folds",
        _fold_table(results),
        *_pseudo_labels(results),
        "## How to read this",
        _bullets(reading_lines(results)),
        "## Pictures",
        "Each picture is also there as SVG. `gemoclap report --formats pdf` writes PDF.",
        *(f"![{caption}]({name})" for name, caption in pictures.items() if name != COMPARISON),
    ]
    return sections


def report_title(results: Results) -> str:
    """Return what was done, on which classes, in how many folds."""
    what = "Linear probes" if results.is_probe else "Cross-validation"
    return f"{what} on {results.subject}: {len(results.classes)} classes, {counted(len(results.folds), 'fold')}"


def _fold_table(results: Results) -> str:
    header, rows = result_tables.fold_cells(results)
    return tables.markdown_table(header, [[row[0], f"`{row[1]}`", *row[2:]] for row in rows], text_columns=4)


def _speaker_table(results: Results) -> list[str]:
    """Return how much recognition differs between speakers; an empty list if fewer than two are known."""
    if not (spreads := by_row(results)):
        return []
    about = f"{ABOUT_SPEAKERS} [speakers.csv](speakers.csv) has each of them."
    return ["### Speakers", about, tables.markdown_table(*spread_cells(spreads))]


def _lacking_letters(results: Results) -> list[str]:
    remark = lacking_remark([*results.classes, *(row.title for row in results.rows)])
    return [f"**Beware: {remark}.**"] if remark else []


def about_intervals(results: Results) -> str:
    """Return a sentence on what the brackets of the tables are."""
    return f"Brackets are 95 % intervals over {result_tables.resampled(results)}."


def about_confidence() -> str:
    """Return the paragraph that explains the table of confidence."""
    return (
        "Confidence is the probability of the predicted class. ECE, the expected calibration error, is the average distance "
        f"between confidence and the share of correct predictions, in points, over {BINS} bins of equal width. NLL is the "
        "negative log-likelihood. A temperature changes probabilities, but never which class is predicted. predictions.csv has "
        "the probabilities before the temperature. A saved model with a temperature in its config.json gives those after it."
    )


def _pseudo_labels(results: Results) -> list[str]:
    """Return tables about the clusters of gmp_tl; an empty list if no method has clusters."""
    tables_of = []
    for method in results.methods:
        folders = [method.folder / fold.name / "clusters" for fold in results.folds]
        finished = [folder for folder in folders if is_clustered(folder)]
        if finished:
            tables_of += [f"{method.title}:", pseudo_label_table(finished)]
    return ["### Pseudo-labels of GMP-TL", EXPLANATION, *tables_of] if tables_of else []


def overlap_warning(results: Results) -> list[str]:
    """Return a sentence on speakers in both training and test, in Markdown; empty if there are none."""
    if not results.speaker_overlap:
        return []
    shared = sorted({speaker for fold in results.folds for speaker in fold.shared_speakers}, key=natural)
    who = tables.shorten(shared, 10)
    if not who:
        return [
            "**Some speakers are unknown and may be in both training and test: the figures may not be speaker-independent.**"
        ]
    return [
        f"**Speakers are shared between training and test in this run ({who}): the figures are not speaker-independent.**"
    ]


def partial_warning(results: Results) -> list[str]:
    """Return a sentence on folds that are not finished, in Markdown; empty if there are none."""
    if not results.partial:
        return []
    lacking = [f"{method.title} lacks {_missing(method)}" for method in results.methods if method.missing]
    return [
        f"**Partial results:** {'; '.join(lacking)}. The figures cover finished folds only. To compare methods, use the "
        "differences below: they only use folds that both methods have finished."
    ]


def adapted_remark(results: Results) -> list[str]:
    """Return a sentence on features that were standardised by speaker, in Markdown; empty if they were not."""
    if not results.is_adapted:
        return []
    of_run = " of the first run" if results.is_joined else ""
    return [
        f"**Adapted to speakers:** the features{of_run} are standardised over all clips of each speaker, also of test "
        "speakers, without labels. So a prediction depends on the speaker's other clips, and the figures are not comparable "
        "with those of models that hear each clip alone."
    ]


def _missing(method: MethodResults) -> str:
    return tables.shorten(method.missing, 10) if method.folds else "all folds"


def protocol_lines(results: Results) -> list[str]:
    """Return what was done in Markdown, one sentence an item: manifest, folds, speakers, encoder, versions, epoch, settings."""
    counts = results.class_counts
    by_class = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    n_folds = counted(len(results.folds), "fold")
    return [
        f"Manifest: `{results.manifest}`",
        f"Tested utterances: {sum(counts.values()):,} ({by_class})",
        *(f"Labels: {merged}" for merged in merged_labels(results)),
        *_left_out(results),
        f"Protocol: {n_folds}, listed [below](#folds) with test speakers and hashes; {_disjoint(results)}",
        *_trained(results),
        *(line.removeprefix("- ") for line in made_line(results.made)),
        f"Reported: {SELECTIONS[results.selection]}; no epoch was chosen on test speakers",
        f"{_settings(results)}; figures: [results.json](results.json), [results.csv](results.csv), [results.tex](results.tex)",
    ]


def _left_out(results: Results) -> list[str]:
    """Return a line on utterances of the manifest whose label is no class; nothing if there are none, or an older run."""
    if not results.left_out:
        return []
    found = ", ".join(f"{label} {count:,}" for label, count in results.left_out.items())
    total = counted(sum(results.left_out.values()), "utterance")
    return [f"Neither trained on nor tested, because the label is not one of the classes: {total} ({found})"]


def _trained(results: Results) -> list[str]:
    """Return a line about the encoder and its training; nothing if no encoder is trained, or config.yaml does not say."""
    if results.is_probe:
        return _probed(results)
    model, train = results.config.get("model") or {}, results.config.get("train") or {}
    if not model.get("audio_encoder") or any(train.get(name) is None for name in ("epochs", "lr", "seed")):
        return []
    details = {"layers": "last", "keep_layers": None, "freeze": "none", "pooling": None, "lora_rank": None}
    changed = [f"{name} {model[name]}" for name, usual in details.items() if model.get(name, usual) != usual]
    epochs = counted(train["epochs"], "epoch")
    of_run = " of the first run" if results.is_joined else ""
    encoder = f"`{model['audio_encoder']}` ({', '.join(changed)})"
    line = f"Audio encoder{of_run}: {encoder}; {epochs}, learning rate {train['lr']:g}, seed {train['seed']}"
    is_voted = (results.config.get("objective") or {}).get("votes")
    return [line, *([f"Targets of the training{of_run}: the shares of the raters' votes"] if is_voted else [])]


def _probed(results: Results) -> list[str]:
    """Return a line about the heads of a probe; nothing if config.yaml does not say."""
    head, train = results.config.get("head") or {}, results.config.get("train") or {}
    if any(train.get(name) is None for name in ("steps", "lr", "batch_size")):
        return []
    layers = "the last layer" if head.get("layers") == "last" else "a learned weighted sum of all layers"
    return [
        f"Each row is a frozen encoder, and linear heads on the mean over the frames of {layers}: "
        f"{counted(train['steps'], 'step')}, learning rate {train['lr']:g}, batches of {train['batch_size']}"
    ]


def _settings(results: Results) -> str:
    if results.is_joined:
        runs = f"Runs, each with its config.yaml and folds.json: {', '.join(f'`{run}`' for run in results.runs)}"
        if not results.first_settings:
            return runs
        shown = ", ".join(f"`{one}`" for one in results.first_settings)
        return f"{runs}. The first run has {shown}; rows of the other runs are named after the values that they have instead"
    return "Settings: [config.yaml](config.yaml); utterances of each fold: [folds.json](folds.json)"


def _disjoint(results: Results) -> str:
    if any(fold.shared_speakers for fold in results.folds):
        return "**some speakers are in both training and test**"
    _, unknown = tested_speakers(results)
    if results.speaker_overlap or unknown:
        which = f"{unknown:,} test utterances" if unknown else "some training utterances"
        return f"the speaker of {which} is unknown, so the report cannot say whether all test speakers are unseen"
    if results.encoder_warnings:
        return "no speaker is in both training and test of this run; for the encoders see the warning above"
    return "no speaker is in both training and test"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def reading_lines(results: Results) -> list[str]:
    """Return how to read the figures, one item for each term, in Markdown."""
    fullest = max((method.pooled for method in results.scored if method.pooled is not None), key=lambda one: one.n)
    interval = INTERVAL_SEEDS if results.seed_means else INTERVAL
    return [
        "**WAR** (weighted average recall) is the share of utterances that are predicted correctly. **UAR** (unweighted "
        f"average recall) is the mean of the recalls of the classes. Guessing has a UAR of {100 / len(results.classes):.1f} %.",
        "**Pooled**: the test utterances of all folds are scored together. **Mean of folds**: each fold is scored alone, and "
        "all folds count the same; ± is the standard deviation over folds. The two differ if folds differ in size or "
        "classes. To compare with a published figure, use the one that its authors use.",
        f"**[95 % CI]**: {interval}. It shows how much the figure would change with other speakers. There are "
        f"{fullest.n_clusters:,} speakers here; an utterance of an unknown speaker counts as a speaker of its own. The "
        "interval is wider than one of plain percentiles, which is too narrow with few speakers (Hesterberg, 2015). With one "
        "seed, the interval says nothing about other seeds.",
        "**Differences** resample the same speakers for both methods. Two methods are said to differ if p is below "
        f"{LEVEL:g} after correction for the number of comparisons, and the interval excludes 0. p (permutation "
        "test) is the share of exchanges of two methods' answers for some speakers that give a difference at least as large. "
        "It takes only the speakers into account; the interval of a mean over seeds includes the seeds too. "
        "A method is never compared with itself with another seed. "
        "`gemoclap compare` compares every method with every other.",
        f"The figures are those of {SELECTIONS[results.selection]} of each fold. No epoch was chosen on the test speakers.",
    ]
