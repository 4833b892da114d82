"""Draws the embeddings of a fold's test clips as points in a plane, coloured by emotion, gender, speaker and corpus.

Each fold has a model of its own, and the embeddings of two models have nothing in common, so each fold has a map of its own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from gemoclap.predictions import EMBEDDINGS, read_embeddings
from gemoclap.reports.canvas import COLOURS, FORMATS, drawing, new_figure, save
from gemoclap.reports.records import MethodResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEIGHBOURS = 15
"""Number of neighbours of a point that UMAP keeps close; its own default."""
FEWEST = 8
"""With fewer points there are no neighbourhoods to keep, and a plain projection is drawn."""
SHOWN = 12
"""Largest number of names in a legend."""
OTHERS = "#D0D0D0"
"""Colour of the points whose names the legend does not have; lighter than all of `COLOURS`."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class FoldMap:
    """The test clips of one fold in a plane.

    Attributes
    ----------
    fold : its name.
    points : (N, 2).
    drawn_by : name of the projection: UMAP, t-SNE or PCA.
    colourings : what the points are coloured by -> (N,) words.
    """

    fold: str
    points: np.ndarray
    drawn_by: str
    colourings: dict[str, list[str]]


def fold_maps(method: MethodResults, most: int) -> list[FoldMap]:
    """Return the maps of the first finished folds whose embeddings were saved, `most` at most.

    Raises
    ------
    GemoclapError : a file of embeddings is damaged.
    """
    table = method.predictions
    found: list[FoldMap] = []
    for fold in method.folds:
        if table is None or len(found) == most:
            break
        rows = [place for place, name in enumerate(table.folds) if name == fold]
        embeddings = read_embeddings(method.folder / fold / EMBEDDINGS, len(rows))
        if embeddings is None:
            continue
        speakers = [table.speakers[row] or UNKNOWN for row in rows]
        corpora = [speaker.rpartition("/")[0] or UNKNOWN for speaker in speakers]
        short = [speaker.rpartition("/")[2] for speaker in speakers]
        several = len(set(corpora)) > 1
        colourings = {
            "emotion": [table.truth[row] for row in rows],
            "gender": [table.genders[row] or UNKNOWN for row in rows],
            "speaker": speakers if several else short,
            **({"corpus": corpora} if several else {}),
        }
        found.append(FoldMap(fold, *projected(embeddings), colourings))
    return found


def projected(embeddings: np.ndarray) -> tuple[np.ndarray, str]:
    """Return points (N, 2) of embeddings (N, E), and the name of the projection; the same embeddings give the same points.

    UMAP is used if it is installed, otherwise t-SNE, both with cosine distances. Few points are projected by PCA.
    """
    number = len(embeddings)
    if number == 1:
        return np.zeros((1, 2)), "PCA"
    if number < FEWEST:
        plane = PCA(min(2, number, embeddings.shape[1])).fit_transform(embeddings)
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1]))), "PCA"
    umap = _umap()
    if umap is None:
        perplexity = min(30.0, (number - 1) / 3)
        points = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=0).fit_transform(embeddings)
        return points, "t-SNE"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks that a fixed seed means one thread
        mapper = umap.UMAP(n_neighbors=min(NEIGHBOURS, number - 1), metric="cosine", random_state=0)
        return np.asarray(mapper.fit_transform(embeddings)), "UMAP"


def _umap() -> Any:
    """Return the module umap, or None if it is not installed (the extra ``report``). It takes seconds to import."""
    try:
        return import_module("umap")
    except ImportError:
        return None


def draw_map(
    points: np.ndarray, words: Sequence[str], path: str | os.PathLike, formats: Sequence[str] = FORMATS
) -> None:
    """Draw points (N, 2), coloured by words (N,)."""
    with drawing():
        figure = new_figure(3.35, 2.6, "constrained")
        _draw_points(figure.add_subplot(), points, words)
        save(figure, path, formats)


def _draw_points(axes: Axes, points: np.ndarray, words: Sequence[str]) -> None:
    names = sorted(set(words))
    size = 22 if len(points) <= 300 else 9

    def draw(drawn: Sequence[str], colour: str, label: str, zorder: float = 1.0) -> None:
        chosen = np.isin(words, drawn)
        axes.scatter(
            points[chosen, 0], points[chosen, 1], s=size, alpha=0.8, linewidths=0, rasterized=True, color=colour, label=label,
            zorder=zorder,
        )  # fmt: skip

    for name, colour in zip(names[:SHOWN], COLOURS, strict=False):
        draw([name], colour, name)
    if len(names) > SHOWN:
        draw(
            names[SHOWN:], OTHERS, f"and {len(names) - SHOWN} more", zorder=0.9
        )  # last in the legend, behind the others
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.4, handletextpad=0.1)
    # Only nearness has a meaning, not the axes.
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")
