"""The report of a cross-validation of valence, arousal and dominance: a Markdown page and JSON, in the folder of the run."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.corpora.manifest import DIMENSIONS
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, read_yaml, write_json
from gemoclap.metrics.concordance import concordance, concordance_interval
from gemoclap.predictions import PREDICTIONS
from gemoclap.recipes.dimensions import METHOD, DimensionTable
from gemoclap.recipes.run_folder import CONFIG, FOLDS
from gemoclap.reports.tables import Cells, markdown_table
from gemoclap.writing import atomic_write

REMEDY = "run the cross-validation again"
CAPTION = (
    "CCC: concordance correlation coefficient. Brackets: 95 % intervals over speakers. RMSE: on the corpus's own scale."
)


@dataclass(frozen=True)
class DimensionScore:
    """The figures of one dimension.

    Attributes
    ----------
    rows, speakers : of the tested utterances whose value is known.
    ccc, low, high : over all folds together, with its 95 % interval over speakers.
    mean_of_folds, sd_of_folds : of the folds' CCCs; the deviation is that of a sample, NaN with one fold.
    rmse : root of the mean squared error, on the corpus's scale.
    """

    name: str
    rows: int
    speakers: int
    ccc: float
    low: float
    high: float
    mean_of_folds: float
    sd_of_folds: float
    rmse: float


def is_dimension_run(folder: str | os.PathLike) -> bool:
    """Whether a folder has a run of `--methods dimensions`."""
    config = Path(folder) / CONFIG
    return config.is_file() and read_yaml(config, REMEDY).get("methods") == [METHOD]


def dimension_scores(folder: Path, folds: list[str]) -> list[DimensionScore]:
    """Return the figures of each dimension over the finished ones of `folds`.

    Raises
    ------
    GemoclapError : no fold is finished, or its predictions cannot be read.
    """
    paths = [folder / METHOD / fold / PREDICTIONS for fold in folds]
    tables = [DimensionTable.read(path) for path in paths if path.is_file()]
    if not tables:
        raise GemoclapError(f"{folder}: no fold of {METHOD} is finished; {REMEDY}, it continues where it stopped")
    return [_score(name, tables) for name in DIMENSIONS if any(name in table.truth for table in tables)]


def _score(name: str, tables: list[DimensionTable]) -> DimensionScore:
    parts = [_known(name, table) for table in tables if name in table.truth]
    truth, prediction = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    speakers = [speaker for part in parts for speaker in part[2]]
    low, high = concordance_interval(truth, prediction, speakers)
    each = np.array([concordance(*part[:2]) for part in parts])
    return DimensionScore(
        name=name,
        rows=len(truth),
        speakers=len({speaker for speaker in speakers if speaker is not None}),
        ccc=concordance(truth, prediction),
        low=low,
        high=high,
        mean_of_folds=float(each.mean()),
        sd_of_folds=float(each.std(ddof=1)) if len(each) > 1 else math.nan,
        rmse=float(np.sqrt(np.mean((truth - prediction) ** 2))) if len(truth) else math.nan,
    )


def _known(name: str, table: DimensionTable) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    is_known = ~np.isnan(table.truth[name])
    speakers = [speaker for speaker, one in zip(table.speakers, is_known, strict=True) if one]
    return table.truth[name][is_known], table.prediction[name][is_known], speakers


def write_dimension_report(folder: Path) -> tuple[Path, list[DimensionScore]]:
    """Write report.md and results.json of a run, finished or not; return the path of report.md, and the figures.

    Raises
    ------
    GemoclapError : as `dimension_scores`, or folds.json cannot be read.
    """
    plan = read_json(folder / FOLDS, REMEDY)
    folds = [str(fold["name"]) for fold in plan["folds"]]
    scores = dimension_scores(folder, folds)
    missing = [fold for fold in folds if not (folder / METHOD / fold / PREDICTIONS).is_file()]
    lines = ["# Cross-validation of valence, arousal and dominance", "", *_warnings(plan, missing)]
    lines += [
        f"- Manifest: `{plan['manifest']}`",
        f"- Folds: {len(folds)}, the test speakers of each are in [{FOLDS}]({FOLDS})",
    ]
    lines += [
        "- Loss: 1 - CCC, mean over the dimensions; the last epoch is reported",
        f"- Settings: [{CONFIG}]({CONFIG})",
        "",
    ]
    lines += [markdown_table(*dimension_cells(scores)), "", CAPTION]
    write_json(folder / "results.json", _plain(plan, scores, missing))
    with atomic_write(folder / "report.md") as file:
        file.write("\n".join(lines) + "\n")
    return folder / "report.md", scores


def dimension_cells(scores: list[DimensionScore]) -> Cells:
    """Return the table with one row for each dimension."""
    header = ["dimension", "CCC pooled [95 % CI]", "CCC mean of folds ± sd", "RMSE", "utterances", "speakers"]
    rows = []
    for one in scores:
        interval = "" if math.isnan(one.low) else f" [{one.low:.3f}, {one.high:.3f}]"
        spread = "" if math.isnan(one.sd_of_folds) else f" ± {one.sd_of_folds:.3f}"
        ccc, mean = f"{_shown(one.ccc)}{interval}", f"{_shown(one.mean_of_folds)}{spread}"
        rows.append([one.name, ccc, mean, _shown(one.rmse), f"{one.rows:,}", f"{one.speakers:,}"])
    return header, rows


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _warnings(plan: dict[str, Any], missing: list[str]) -> list[str]:
    found = []
    if plan.get("speaker_overlap"):
        found.append(
            "**Speakers are, or may be, in both training and test: the figures may not be speaker-independent.**"
        )
    if missing:
        found.append(f"**Partial results: {', '.join(missing)} not finished.**")
    return [line for warning in found for line in (warning, "")]


def _plain(plan: dict[str, Any], scores: list[DimensionScore], missing: list[str]) -> dict[str, Any]:
    def figure(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        "manifest": plan["manifest"],
        "speaker_overlap": bool(plan.get("speaker_overlap")),
        "missing_folds": missing,
        "dimensions": [{name: figure(value) for name, value in asdict(one).items()} for one in scores],
    }
