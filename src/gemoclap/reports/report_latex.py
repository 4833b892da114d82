"""The tables of a cross-validation in LaTeX, with captions that stand alone in a paper."""

from __future__ import annotations

from gemoclap.reports.latex import plain_latex_table
from gemoclap.reports.protocol import merged_labels, tested_speakers
from gemoclap.reports.records import LEVEL, Results
from gemoclap.reports.result_tables import difference_cells, label_with_seeds, resampled
from gemoclap.reports.tables import UNDEFINED, WITH_INTERVALS, figure_cells, percent
from gemoclap.wording import counted

HEADER = ("method", "WAR", "UAR", "macro F1", "UAR female", "UAR male")


def latex_tables(results: Results, title: str) -> str:
    """Return the scores of each row, and the differences from the first row if there are several; both need booktabs.

    Parameters
    ----------
    title : what was done, for the captions: ``"Cross-validation on ravdess: 8 classes, 6 folds"``.
    """
    what = f"{title}{_tested(results)}"
    brackets = f"brackets: 95 % intervals over {resampled(results)}"
    tables = [
        plain_latex_table(
            f"{what}. In percent, test utterances of all folds together; {brackets}.",
            "cross-validation",
            HEADER,
            _score_rows(results),
        )
    ]
    if results.differences:
        header, rows = difference_cells(results)
        tables.append(
            plain_latex_table(
                f"{what}. Differences in UAR, paired by speaker; {brackets}; p: permutation test over speakers, "
                f"before and after Holm's correction. Two methods differ if the corrected p is below {LEVEL:g} and the "
                "interval excludes 0.",
                "differences",
                header,
                rows,
            )
        )
    return "\n".join(tables)


def _tested(results: Results) -> str:
    """Return what was tested, and what a reader must know before comparing the figures with others."""
    most = max(row.scores.n for row in results.scored_rows if row.scores is not None)
    known, unknown = tested_speakers(results)
    whose = counted(known, "speaker") if known else "unknown speakers"
    overlap = any(fold.shared_speakers for fold in results.folds)
    remarks = [
        *((True, merged) for merged in merged_labels(results)),
        (bool(known and unknown), f"the speaker of {counted(unknown, 'utterance')} is unknown"),
        (bool(unknown), "an utterance of an unknown speaker counts as a speaker of its own"),
        (results.speaker_overlap, f"training and test {'share' if overlap else 'may share'} speakers"),
        (bool(results.encoder_warnings), "an encoder was trained on test speakers"),
        (results.is_adapted, "features are standardised over all clips of each speaker, without labels"),
        (results.partial, "some folds are not finished"),
    ]
    said = "".join(f"; {remark}" for holds, remark in remarks if holds)
    return f", {counted(most, 'utterance')} of {whose}{said}"


def _score_rows(results: Results) -> list[list[str]]:
    rows = []
    for row in results.rows:
        label = label_with_seeds(row)
        if row.scores is None:
            rows.append([label, *[UNDEFINED] * (len(HEADER) - 1)])
            continue
        by_gender = [percent(row.scores.uar_by_gender.get(gender)) for gender in ("female", "male")]
        rows.append([label, *figure_cells(row.scores, WITH_INTERVALS), *by_gender])
    return rows
