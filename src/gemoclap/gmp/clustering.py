"""k-means of a corpus's frames, which can be many times larger than memory.

The scales of GMP-TL's pseudo-labels are codebooks of several sizes [P]. The way of fitting them is ours [C]:

1. faiss clusters a random sample of the frames. Its initial centroids are from scikit-learn's greedy k-means++.
2. Passes over all frames follow, block by block. Each is a Lloyd step that moves centroids `RELAXATION` times as far as to the
   means. With n_c frames in cluster c, a step of w times the distance leaves n_c (1 - w)^2 |mean - centroid|^2 above the
   lowest inertia. For 0 < w < 2 the inertia therefore falls as in Lloyd's own step (w = 1), and in fewer passes. The last
   step has w = 1.
3. The centroid of a cluster without frames moves to a random frame, with a probability proportional to the frame's squared
   distance from its centroid (as in k-means++). This cannot raise the inertia.

In the passes, the nearest centroids are found with a matrix product in numpy. The BLAS in faiss's wheel is an old one that
mistakes newer processors for one of 2004, and is then four to six times slower (docs/performance.md).

The inertia is lower than after the 25 iterations of `faiss.Kmeans` over all frames, in fewer passes (benchmarks/kmeans.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import sparse
from sklearn.cluster import kmeans_plusplus

from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.gmp.frames import FrameBlocks
from gemoclap.writing import atomic_write

CHUNK = 4096
"""Rows that are assigned at a time; with k centroids their products take 16 KiB x k."""
LARGEST = 1e15
"""Largest absolute value; with larger values the squared distance of two frames may not be finite in float32."""

SAMPLE_BYTES = 512 * 2**20
SAMPLE_POINTS = 64
"""Frames per centroid in the sample, if `SAMPLE_BYTES` allow it; otherwise `LEAST_POINTS` in total."""
LEAST_POINTS = 2048
START_POINTS = 32
"""Frames per centroid that k-means++ chooses from, because its time grows with their number times k. There are fewer if they
would not fit into `SAMPLE_BYTES` in float64, which takes a third of the time of float32."""
SAMPLE_ITERATIONS = 5
RELAXATION = 1.5

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KMeans:
    """A codebook.

    Attributes
    ----------
    centroids : ``(k, D)`` float32.
    inertia : mean squared distance of a frame to its nearest centroid, over all frames.
    history : the inertia of each pass over all frames; it never rises, apart from rounding, and ends with `inertia`.
    empty : how many times a cluster without frames was moved in these passes.
    """

    centroids: np.ndarray
    inertia: float
    history: tuple[float, ...]
    empty: int


def fit_kmeans(
    frames: FrameBlocks,
    k: int,
    *,
    passes: int = 10,
    tolerance: float = 2e-4,
    seed: int = 0,
    sample_bytes: int = SAMPLE_BYTES,
    progress: Progress | None = None,
) -> KMeans:
    """Fit k centroids to all frames.

    Memory: the sample, and as much again for the initial centroids; two blocks; k x D centroids in a few copies, one of them
    float64; `CHUNK` x k products; and up to 20 bytes per frame for distances and random draws (25 MB for IEMOCAP). The frames
    are read once for the sample, once per pass, and once more after a pass that leaves a cluster empty.

    The result depends on frames, k, settings, and number of threads. Another block size changes it by rounding. If there are
    fewer distinct frames than k, the remaining clusters stay empty.

    Parameters
    ----------
    frames : at least k.
    k : number of centroids.
    passes : largest number of passes over all frames, including the last, which measures the final centroids.
    tolerance : after a pass that lowers the inertia by a smaller share, one last pass follows.
    seed : 0 or more.
    sample_bytes : memory of the sample, and of the frames for k-means++; each has at least k frames.
    progress : called after every block with the frames of all passes. The inertia of each pass is logged.

    Raises
    ------
    GemoclapError : k is below one or above the number of frames, `passes` is below one, or a value is not finite or beyond
        `LARGEST`.
    """
    _check_settings(frames, k, passes)
    rng = np.random.default_rng(seed)
    sample = _draw(frames, k, sample_bytes, rng)
    offset = sample.mean(0, dtype=np.float64).astype(np.float32)
    centroids = _cluster_sample(sample, offset, k, sample_bytes, rng)
    del sample
    history: list[float] = []
    empty, total = 0, passes * len(frames)
    last = passes == 1
    while True:
        step = _visit(frames, centroids, offset, _after(progress, len(history) * len(frames), total))
        history.append(float(step.distances.mean(dtype=np.float64)))
        _log.info("k-means, k = %d, pass %d of at most %d: inertia %.6g", k, len(history), passes, history[-1])
        if last:
            break
        settled = len(history) > 1 and history[-2] - history[-1] <= tolerance * history[-2]
        last = len(history) == passes - 1 or (settled and bool(step.counts.all()))
        centroids = _moved(centroids, step.means, 1.0 if last else RELAXATION)
        reseeded = _reseed(frames, centroids, step, rng)
        if reseeded:
            _log.info("k-means, k = %d: %d empty clusters moved", k, reseeded)
        empty += reseeded
    if progress is not None:
        progress(total, total)
    return KMeans(centroids, history[-1], tuple(history), empty)


def assign(block: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centroid of each frame, by exact search.

    Parameters
    ----------
    block : ``(n, D)``.
    centroids : ``(k, D)`` float32.

    Returns
    -------
    tuple : labels ``(n,)`` int64 and squared distances ``(n,)`` float32.

    Raises
    ------
    GemoclapError : frames and centroids differ in D, or a value is not finite or beyond `LARGEST`.
    """
    if block.shape[1:] != centroids.shape[1:]:
        raise GemoclapError(
            f"frames of shape {block.shape} do not go with centroids of shape {centroids.shape}; "
            "fit the k-means on features of the same layer and encoder"
        )
    _check_values(block, "frame {}".format)
    labels, distances = np.empty(len(block), np.int64), np.empty(len(block), np.float32)
    for rows, _, nearest, squared in _nearest(block, centroids, centroids.mean(0)):
        labels[rows], distances[rows] = nearest, squared
    return labels, distances


def save_kmeans(path: Path, model: KMeans) -> None:
    """Write a safetensors file with `centroids`, and the other fields as JSON in its metadata.

    Raises
    ------
    GemoclapError : it cannot be written.
    """
    figures = {"inertia": model.inertia, "history": model.history, "empty": model.empty}
    try:
        with atomic_write(path, "wb") as file:
            file.write(save({"centroids": model.centroids}, {"kmeans": json.dumps(figures)}))
    except OSError as error:
        raise GemoclapError(
            f"{path}: cannot be written ({error.strerror}); free space there or name another folder"
        ) from error


def load_kmeans(path: Path) -> KMeans:
    """Read what `save_kmeans` wrote.

    Raises
    ------
    GemoclapError : the file is absent, damaged or of another kind.
    """
    try:
        with safe_open(path, "numpy") as file:
            centroids, figures = file.get_tensor("centroids"), json.loads((file.metadata() or {})["kmeans"])
        if centroids.ndim != 2 or centroids.dtype != np.float32 or not np.isfinite(centroids).all():
            raise ValueError("its centroids are not (k, D) finite float32")
        return KMeans(
            centroids, float(figures["inertia"]), tuple(map(float, figures["history"])), int(figures["empty"])
        )
    except FileNotFoundError:
        raise GemoclapError(f"{path}: there is no such file; fit the k-means first") from None
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise GemoclapError(f"{path}: not a readable k-means ({reason}); delete it and fit it again") from error


def _check_settings(frames: FrameBlocks, k: int, passes: int) -> None:
    if k < 1:
        raise GemoclapError(f"k-means with k = {k}: set k to 1 or more")
    if k > len(frames):
        raise GemoclapError(f"k-means with k = {k} of {len(frames)} frames: set k to at most that or add clips")
    if passes < 1:
        raise GemoclapError(f"k-means with {passes} passes: set passes to 1 or more")


def _check_values(block: np.ndarray, where: Callable[[int], str], start: int = 0) -> None:
    # Comparisons with NaN are false. Minimum and maximum need no copy of the block.
    if len(block) and not (block.min() >= -LARGEST and block.max() <= LARGEST):
        row, column = np.argwhere(~(np.abs(block) <= LARGEST))[0]
        raise GemoclapError(
            f"{where(start + int(row))} has the value {block[row, column]:g}; leave its clip out, or delete what holds "
            "it and compute it again"
        )


def _placed(frames: FrameBlocks) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks with the number of their first row."""
    start = 0
    for block in frames.blocks():
        yield start, block
        start += len(block)
    if start != len(frames):
        raise ValueError(f"{type(frames).__name__} has {len(frames)} frames and gave {start}")


def _gather(frames: FrameBlocks, rows: np.ndarray) -> np.ndarray:
    """Return copies of some frames in the order of `rows`, after checking all values of all frames."""
    gathered = np.empty((len(rows), frames.dim), np.float32)
    order = np.argsort(rows)
    ascending = rows[order]
    for start, block in _placed(frames):
        _check_values(block, frames.where, start)
        first, last = np.searchsorted(ascending, (start, start + len(block)))
        gathered[order[first:last]] = block[ascending[first:last] - start]
    return gathered


def _draw(frames: FrameBlocks, k: int, sample_bytes: int, rng: np.random.Generator) -> np.ndarray:
    """Return random frames in random order, so that the first ones are a random sample too."""
    points = min(max(SAMPLE_POINTS * k, LEAST_POINTS), sample_bytes // (4 * frames.dim))
    points = min(max(points, k), len(frames))
    return _gather(frames, rng.choice(len(frames), points, replace=False))


def faiss_package() -> Any:
    """Return faiss. It is an extra: only GMP-TL needs it."""
    return needed("faiss", "clustering frames (gmp_tl)", "faiss-cpu")


def _cluster_sample(
    sample: np.ndarray, offset: np.ndarray, k: int, sample_bytes: int, rng: np.random.Generator
) -> np.ndarray:
    """Return centroids ``(k, D)`` of a sample, which is shifted in place (see `_nearest`)."""
    sample -= offset
    _log.info("k-means, k = %d: clusters a sample of %d frames", k, len(sample))
    among = max(k, min(max(START_POINTS * k, LEAST_POINTS), sample_bytes // (8 * sample.shape[1])))
    start, _ = kmeans_plusplus(sample[:among].astype(np.float64), k, random_state=int(rng.integers(2**30)))
    kmeans = faiss_package().Kmeans(
        sample.shape[1],
        k,
        niter=SAMPLE_ITERATIONS,
        seed=int(rng.integers(2**30)),
        min_points_per_centroid=1,  # with fewer points faiss prints a warning
        max_points_per_centroid=len(sample),  # with more points faiss draws its own sample
    )
    kmeans.train(sample, init_centroids=start.astype(np.float32))
    return kmeans.centroids + offset


def _nearest(
    block: np.ndarray, centroids: np.ndarray, offset: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield chunks: row numbers, the rows minus `offset`, labels, squared distances."""
    # |x|^2 - 2 x.c + |c|^2 loses precision in float32 if the frames are far from the origin.
    shifted = centroids - offset
    half = 0.5 * np.einsum("kd,kd->k", shifted, shifted)
    for first in range(0, len(block), CHUNK):
        rows = slice(first, first + CHUNK)
        chunk = block[rows] - offset
        closeness = chunk @ shifted.T
        closeness -= half
        labels = closeness.argmax(1)
        highest = closeness[np.arange(len(labels)), labels]
        yield rows, chunk, labels, np.maximum(np.einsum("nd,nd->n", chunk, chunk) - 2 * highest, 0)


@dataclass(frozen=True)
class _Step:
    """Result of a pass over all N frames: `means` ``(k, D)`` float64, `counts` ``(k,)``, `distances` ``(N,)``."""

    means: np.ndarray
    counts: np.ndarray
    distances: np.ndarray


def _visit(frames: FrameBlocks, centroids: np.ndarray, offset: np.ndarray, progress: Callable[[int], None]) -> _Step:
    """Assign every frame, and return the means of the clusters; for an empty cluster, its centroid."""
    k = len(centroids)
    sums, counts = np.zeros(centroids.shape), np.zeros(k, np.int64)
    distances = np.empty(len(frames), np.float32)
    for start, block in _placed(frames):
        for rows, chunk, labels, squared in _nearest(block, centroids, offset):
            count = len(labels)
            distances[start + rows.start : start + rows.start + count] = squared
            counts += np.bincount(labels, minlength=k)
            # float32 within a chunk, float64 over chunks; np.add.at is a hundred times slower.
            members = sparse.csr_array((np.ones(count, np.float32), labels, np.arange(count + 1)), (count, k))
            sums += members.T @ chunk
        progress(start + len(block))
    sums /= np.maximum(counts, 1)[:, None]
    sums += offset
    sums[counts == 0] = centroids[counts == 0]
    return _Step(sums, counts, distances)


def _moved(centroids: np.ndarray, means: np.ndarray, relaxation: float) -> np.ndarray:
    return (centroids + relaxation * (means - centroids)).astype(np.float32)


def _reseed(frames: FrameBlocks, centroids: np.ndarray, step: _Step, rng: np.random.Generator) -> int:
    """Move the centroids of empty clusters, in place, to frames that are far from their centroids; return the number."""
    empty = np.flatnonzero(step.counts == 0)
    empty = empty[: np.count_nonzero(step.distances)]
    if len(empty):
        weights = step.distances / step.distances.sum(dtype=np.float64)
        rows = rng.choice(len(weights), len(empty), replace=False, p=weights)
        centroids[empty] = _gather(frames, rows)
    return len(empty)


def _after(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Return a function that reports the frames of one pass to `progress`, after `before` frames of earlier passes."""
    if progress is None:
        return lambda done: None
    return lambda done: progress(before + done, total)
