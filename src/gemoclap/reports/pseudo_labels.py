"""A table that shows how well the pseudo-labels of GMP-TL agree with emotion, gender and speaker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.gmp.codebooks import QUALITY, REMEDY
from gemoclap.reports.tables import UNDEFINED, Cells, markdown_table, percent

KNOWN = ("emotion", "gender", "speaker")
EXPLANATION = (
    "Measured on the training frames, mean over folds. Inertia is the mean squared distance of a frame to the nearest centre; "
    "compare it only among numbers of clusters of the same frames. Purity (%) is the share of frames that have the most "
    "frequent label of their cluster; it always rises with the number of clusters. NMI is the normalised mutual information."
)


def pseudo_label_table(folders: Sequence[Path]) -> str:
    """Return `pseudo_label_cells` as Markdown."""
    return markdown_table(*pseudo_label_cells(folders))


def pseudo_label_cells(folders: Sequence[Path]) -> Cells:
    """Return a table with one row per scale: inertia, and agreement with emotion, gender and speaker.

    Parameters
    ----------
    folders : folders of clusters, one per fold, all with the same scales; the mean over folds is shown.
    """
    found = [read_json(folder / QUALITY, REMEDY) for folder in folders]
    try:
        rows = [_row(k, [fold[k] for fold in found]) for k in found[0]]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        where = ", ".join(str(folder / QUALITY) for folder in folders)
        raise GemoclapError(f"{where}: not the figures of clusters of the same scales; {REMEDY}") from error
    return ["clusters", "inertia", *(f"{name}: purity, NMI" for name in KNOWN)], rows


def _row(k: str, scales: Sequence[dict[str, Any]]) -> list[str]:
    cells = [_agreement([scale[name] for scale in scales]) for name in KNOWN]
    inertias = [scale["inertia"] for scale in scales if "inertia" in scale]  # older files have none
    return [f"{int(k):,}", inertia_cell(mean(inertias)) if inertias else UNDEFINED, *cells]


def _agreement(folds: Sequence[dict[str, Any] | None]) -> str:
    known = [fold for fold in folds if fold is not None]
    if not known:
        return UNDEFINED
    return agreement_cell(mean(fold["purity"] for fold in known), mean(fold["nmi"] for fold in known))


def inertia_cell(inertia: float) -> str:
    """Return an inertia with four digits, also where the last is a zero: ``"61.30"``, ``"1234"``."""
    return f"{inertia:#.4g}".rstrip(".")


def agreement_cell(purity: float, nmi: float) -> str:
    """Return purity in percent and NMI: ``"41.5, 0.030"``."""
    return f"{percent(purity)}, {nmi:.3f}"
