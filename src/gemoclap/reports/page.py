"""Writes the reports: one Markdown page, JSON, CSV and pictures beside what they were computed from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from gemoclap.errors import GemoclapError, WriteError
from gemoclap.files import write_json
from gemoclap.gmp.codebooks import is_clustered
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS
from gemoclap.metrics.calibration import BINS
from gemoclap.recipes.run_files import SELECTIONS
from gemoclap.reports import plots, tables
from gemoclap.reports.canvas import FORMATS, NO_DATE, check_formats, lacking_remark, matplotlib
from gemoclap.reports.made import made_line
from gemoclap.reports.pseudo_labels import EXPLANATION, pseudo_label_table
from gemoclap.reports.records import LEVEL, MethodResults, Results
from gemoclap.reports.results import collect
from gemoclap.writing import FULL, atomic_write

CSV_FIRST = (
    "method", "aggregate", "fold", "fold_hash", "n_folds", "n", "war", "war_low", "war_high", "war_sd",
    "uar", "uar_low", "uar_high", "uar_sd", "macro_f1", "macro_f1_sd",
)  # fmt: skip
COMPARISON = "comparison.png"
"""The picture that comes first on the page."""

Picture = tuple[str, Callable[..., object]]
"""A caption, and what draws the picture to a path, given the formats."""


def write_report(run: str | os.PathLike | Results, formats: Sequence[str] = FORMATS) -> Path:
    """Write report.md, results.json, results.csv and the pictures of a cross-validation into its folder.

    An unfinished run gives a report too, which names the folds that are missing. What `reports.joined` read of several runs is
    written into the folder it names.

    Parameters
    ----------
    run : the run's folder, or what `gemoclap.reports.results.collect` read of it.
    formats : of the pictures: ``"png"``, which the page shows, ``"svg"``, ``"pdf"``.

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
    pictures = _pictures(results)
    # All is computed before the first file is written, and the pictures come last.
    data, rows = results.to_dict(), tables.csv_rows(results)
    sections = report_sections(results, {name: caption for name, (caption, _) in pictures.items()})
    write_json(results.output / "results.json", data)
    tables.write_csv(results.output / "results.csv", rows, CSV_FIRST)
    page = write_page(results.output / "report.md", sections)
    failed = draw_pictures(results.output, pictures, formats)
    if failed:
        kept = {name: caption for name, (caption, _) in pictures.items() if name not in failed}
        write_page(page, [*report_sections(results, kept), *dict.fromkeys(failed.values())])
    if results.is_joined:
        _let_go(results.output, pictures)
    return page


def write_page(path: Path, sections: list[str]) -> Path:
    """Write a page of paragraphs and return its path."""
    with atomic_write(path) as file:
        file.write("\n\n".join(sections) + "\n")
    return path


def draw_pictures(folder: Path, pictures: dict[str, Picture], formats: Sequence[str] = FORMATS) -> dict[str, str]:
    """Draw pictures by file name; return a sentence for each that could not be drawn.

    A report of hours of training is not lost for a picture: whatever a drawing library raises is said on the page. Without
    matplotlib none is drawn, which is said once.
    """
    try:
        matplotlib("figure")
    except GemoclapError as error:
        print(f"beware: {error}", file=sys.stderr)
        return dict.fromkeys(pictures, f"**There are no pictures:** {error}, and write the report again.")
    failed = {}
    for name, (_, draw) in pictures.items():
        try:
            draw(folder / name, formats=formats)
        except Exception as error:
            if isinstance(error, WriteError) or getattr(error, "errno", None) in FULL:
                raise  # nothing else can be written either
            failed[name] = (
                f"**{name} could not be drawn:** {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
    return failed


def write_illustrated(
    page: Path, sections: list[str], pictures: dict[str, Picture], formats: Sequence[str] = FORMATS
) -> Path:
    """Write a page and then its pictures, each of which one section shows; return the page's path.

    Of a picture that cannot be drawn the page says so instead.
    """
    write_page(page, sections)
    failed = draw_pictures(page.parent, pictures, formats)
    if failed:
        kept = [one for one in sections if not any(f"]({name})" in one for name in failed)]
        write_page(page, [*kept, *dict.fromkeys(failed.values())])
    return page


def _pictures(results: Results) -> dict[str, Picture]:
    """Return what is to be drawn by file name, in the order of the page: one of each kind a row of the tables."""
    parts = "folds, of a mean over seeds the seeds" if results.seed_means else "folds"
    over = tables.resampled(results)
    caption = f"UAR of each method, pooled, with its 95 % interval over {over}; circles are {parts}; dotted: guessing"
    pictures: dict[str, Picture] = {COMPARISON: (caption, partial(plots.write_comparison, results))}
    confident = {tables.row_label(row): row.confidence for row in results.scored_rows if row.confidence is not None}
    if confident:
        caption = "How often answers are right against how sure they are, before and after a temperature"
        pictures["reliability.png"] = (caption, partial(plots.write_reliability, confident))
    for row in results.scored_rows:
        assert row.scores is not None
        title = f"{tables.row_label(row)}, pooled over folds"
        draw: Callable[..., object] = partial(plots.write_confusion, row.scores, title=title)
        pictures[f"confusion_{row.name}.png"] = (f"Confusion matrix of {row.title}, pooled over folds", draw)
    for row in results.scored_rows:
        if plots.has_curves(row.first.logs):
            seed = f", seed {row.seeds[0]}" if row.seeds else ""
            draw = partial(plots.write_curves, row.first.logs, title=f"{tables.row_label(row)}{seed}")
            pictures[f"curves_{row.name}.png"] = (f"Learning curves of {row.title}{seed}", draw)
    return pictures


def _let_go(output: Path, pictures: Collection[str]) -> None:
    """Delete the pictures that an earlier report, of other runs, left in the folder."""
    kept = {Path(name).stem for name in pictures}
    for kind in ("confusion_*", "curves_*", "mean_over_seeds", "reliability"):
        for path in output.glob(f"{kind}.*"):
            if path.suffix.removeprefix(".") in NO_DATE and path.stem not in kept:
                path.unlink()


# The page of a cross-validation.


def report_sections(results: Results, pictures: dict[str, str]) -> list[str]:
    """Return the page's paragraphs; the first is the warning where speakers are shared, else the title."""
    recalls = {tables.row_label(row): row.scores for row in results.scored_rows if row.scores is not None}
    n_folds = tables.count(results.folds, "fold")
    sections = [
        *_overlap_warning(results),
        *(f"**Beware: {warning}.**" for warning in results.encoder_warnings),
        f"# Cross-validation on {results.vocabulary}: {len(results.classes)} classes, {n_folds}",
        *_partial_warning(results),
        *_lacking_letters(results),
        *(f"![{caption}]({name})" for name, caption in pictures.items() if name == COMPARISON),
        _protocol(results),
        "## Results",
        f"Percent. {_about_intervals(results)} The last column is the UAR of female minus that of male speakers, in points.",
        tables.summary_table(results),
        *(f"**Beware: {caution}.**" for caution in results.cautions),
    ]
    if results.differences:
        about = "Paired by speaker. p is that of a sign-flip test over speakers, corrected for all comparisons of this table."
        sections += ["### Differences from the first method", about, tables.difference_table(results)]
    if results.seed_means:
        sections += ["### Each seed", "Pooled over folds, percent.", tables.seed_table(results)]
    sections += [
        "### Recall by class, pooled",
        tables.recall_table(recalls),
        "### Confidence",
        _about_confidence(),
        tables.confidence_table(results),
        "### Folds",
        tables.fold_table(results),
        *_pseudo_labels(results),
        "## How to read this",
        _how_to_read(results),
        "## Pictures",
        "Each is there as SVG too; `gemoclap report --formats pdf` writes PDF.",
        *(f"![{caption}]({name})" for name, caption in pictures.items() if name != COMPARISON),
    ]
    return sections


def _lacking_letters(results: Results) -> list[str]:
    remark = lacking_remark([*results.classes, *(row.title for row in results.rows)])
    return [f"**Beware: {remark}.**"] if remark else []


def _about_intervals(results: Results) -> str:
    return f"In brackets: 95 % intervals over {tables.resampled(results)}."


def _about_confidence() -> str:
    return (
        "Confidence is the probability of the answer. ECE, the expected calibration error, is its distance from the share of "
        f"right answers, in points, over {BINS} bins of equal width; NLL is the negative log-likelihood. A temperature changes "
        "probabilities but no answer. predictions.csv has the probabilities before it. A saved model with a temperature in its "
        "config.json gives those after it."
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
        *made_line(results.made),
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
        runs = f"Runs, each with its config.yaml and folds.json: {', '.join(f'`{run}`' for run in results.runs)}"
        if not results.first_settings:
            return runs
        shown = ", ".join(f"`{one}`" for one in results.first_settings)
        return f"{runs}. The first has {shown}; the rows of the others are named after what they have in its place"
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
    interval = INTERVAL_SEEDS if results.seed_means else INTERVAL
    lines = [
        "- **WAR** (weighted average recall) is the share of utterances that are right; **UAR** (unweighted average "
        f"recall) is the mean of the classes' recalls, for which guessing gives {100 / len(results.classes):.1f} %.",
        "- **Pooled**: the test utterances of all folds together, scored once. **Mean of folds**: each fold is scored "
        "on its own and counts the same; ± is the standard deviation over folds. The two differ where folds differ in "
        "size or in classes; compare with others' work by the one they use.",
        f"- **[95 % CI]**: {interval}: how far the figure would move with others. There are {fullest.n_clusters:,} speakers "
        "here, an utterance of an unknown speaker counting as one. The tails are wider than those of plain percentiles, which "
        "cover too little with few speakers (Hesterberg, 2015). Of one seed the interval says nothing about other seeds.",
        "- **Differences** resample the same speakers for both methods. A difference counts as one where p is below "
        f"{LEVEL:g} after correction for the number of comparisons. No method is compared with itself under another seed.",
        f"- The figures are those of {SELECTIONS[results.selection]} of each fold, never of the epoch that is best on "
        "the test speakers.",
    ]
    return "\n".join(lines)
