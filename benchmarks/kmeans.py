"""k-means of a corpus's frames: this project's beside faiss and scikit-learn, on the same frames in a file.

    python benchmarks/kmeans.py                                                # 100,000 frames x 64, k = 256
    python benchmarks/kmeans.py --frames 1260000 --dim 768 --k 64 512 4096     # IEMOCAP at HuBERT-base's size
    python benchmarks/kmeans.py --file frames.npy                              # of an encoder

faiss, all:    faiss.Kmeans with its 25 iterations over all frames in memory; the ratios are to it.
faiss:         faiss.Kmeans as it comes, which draws a sample of 256 frames a centroid.
scikit-learn:  MiniBatchKMeans on the mapped file, in batches of at least 4096.
ours:          gemoclap.gmp.clustering.fit_kmeans on the mapped file.

Made-up frames are states (Gaussians of unequal width around means of unequal scale in every dimension) that last for
some frames, and noise that changes smoothly in time. Each run is a process of its own, the methods take turns, and
the median of the rounds is shown. Time is that from the file to the centroids. Memory is the peak above what the
process held when everything was imported (Linux only): of all of it, mapped pages of the file included, which the
system takes back when it needs them, and without these. Inertia is the mean squared distance of a frame to its nearest
centroid, over all frames, measured after the run in the same way for all.

faiss's wheel may take a new processor for a very old one: what its and numpy's matrix products are made for is printed.
OPENBLAS_CORETYPE=SkylakeX in the environment sets it right for both on processors with AVX-512.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import faiss
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_info

from gemoclap.gmp.clustering import assign, fit_kmeans
from gemoclap.gmp.frames import ArrayFrames

ROWS = 50_000
DWELL = 8
"""Frames that a state lasts on average; 160 ms."""
SMOOTHNESS = 0.8
"""Correlation of the noise of a frame with that of the next."""


def matrix_products() -> str:
    """Say what multiplies matrices in faiss and in numpy: one that does not know the processor is several times as slow."""
    found = {}
    for one in threadpool_info():
        owner = next((name for name in ("faiss", "numpy") if name in one["filepath"]), None)
        if owner and one["user_api"] == "blas":
            found[owner] = f"{one['internal_api']} {one['version']} for {one.get('architecture', 'any processor')}"
    return ", ".join(f"{owner}: {words}" for owner, words in found.items())


def make_frames(path: Path, frames: int, dim: int, states: int, dtype: str) -> None:
    """Write ``(frames, dim)`` as a .npy file, part by part."""
    rng = np.random.default_rng(0)
    scale = rng.gamma(1.0, 1.0, dim)
    means, widths = rng.normal(size=(states, dim)) * scale, rng.gamma(2.0, 0.5, states)
    array = np.lib.format.open_memmap(path, "w+", dtype, (frames, dim))
    for start in range(0, frames, ROWS):
        count = min(ROWS, frames - start)
        changes = np.cumsum(rng.random(count) < 1 / DWELL)
        state = rng.integers(0, states, changes[-1] + 1)[changes]
        white = rng.normal(size=(count, dim)).astype(np.float32)
        noise = lfilter([(1 - SMOOTHNESS**2) ** 0.5], [1, -SMOOTHNESS], white, axis=0)
        array[start : start + count] = means[state] + noise * widths[state, None]
    array.flush()


def faiss_all(path: Path, k: int, seed: int) -> np.ndarray:
    frames = np.load(path).astype(np.float32, copy=False)
    kmeans = faiss.Kmeans(frames.shape[1], k, seed=seed, max_points_per_centroid=len(frames))
    kmeans.train(frames)
    return kmeans.centroids


def faiss_sample(path: Path, k: int, seed: int) -> np.ndarray:
    frames = np.load(path).astype(np.float32, copy=False)
    kmeans = faiss.Kmeans(frames.shape[1], k, seed=seed)
    kmeans.train(frames)
    return kmeans.centroids


def scikit_learn(path: Path, k: int, seed: int) -> np.ndarray:
    frames = np.load(path, mmap_mode="r")
    return MiniBatchKMeans(k, batch_size=max(4096, 4 * k), n_init=1, random_state=seed).fit(frames).cluster_centers_


def ours(path: Path, k: int, seed: int) -> np.ndarray:
    return fit_kmeans(ArrayFrames(np.load(path, mmap_mode="r")), k, seed=seed).centroids


METHODS: dict[str, Callable[[Path, int, int], np.ndarray]] = {
    "faiss, all": faiss_all,
    "faiss": faiss_sample,
    "scikit-learn": scikit_learn,
    "ours": ours,
}


def run(method: str, path: Path, k: int, seed: int) -> dict[str, float]:
    """Run one method in this process, and measure it."""
    process, done, highest = psutil.Process(), threading.Event(), 0

    def unmapped() -> int:
        memory = process.memory_info()
        return memory.rss - memory.shared

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, unmapped())

    faiss.knn(np.zeros((32, 64), np.float32), np.zeros((2, 64), np.float32), 1)  # starts the threads of the library
    # getrusage's peak would be that of the process that started this one, if higher.
    Path("/proc/self/clear_refs").write_text("5")
    start, start_unmapped = process.memory_info().rss, unmapped()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    centroids = METHODS[method](path, k, seed).astype(np.float32, copy=False)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    frames = ArrayFrames(np.load(path, mmap_mode="r"))
    total = sum(float(assign(block, centroids)[1].sum(dtype=np.float64)) for block in frames.blocks())
    return {
        "seconds": seconds,
        "peak": peak / 2**10 - start / 2**20,
        "unmapped": (highest - start_unmapped) / 2**20,
        "inertia": total / len(frames),
    }


def run_apart(method: str, path: Path, k: int, seed: int) -> dict[str, float]:
    """Run one method in a process of its own."""
    command = [sys.executable, __file__, "--only", method, "--file", str(path), "--k", str(k), "--seed", str(seed)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def compare(path: Path, k: int, rounds: int, methods: Sequence[str]) -> Table:
    found: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for seed in range(rounds):
        for method, measured in found.items():
            one = run_apart(method, path, k, seed)
            measured.append(one)
            print(
                f"k = {k}, {method}: {one['seconds']:.1f} s, inertia {one['inertia']:.5g}", file=sys.stderr, flush=True
            )
    medians = {
        method: {name: median(one[name] for one in measured) for name in measured[0]}
        for method, measured in found.items()
    }
    full = medians["faiss, all"]
    table = Table("method", title=f"k = {k}")
    for column in ("time, s", "ratio", "peak, MB", "unmapped, MB", "ratio", "inertia", "ratio"):
        table.add_column(column, justify="right")
    for method, one in medians.items():
        table.add_row(
            method,
            f"{one['seconds']:.1f}",
            f"{one['seconds'] / full['seconds']:.2f}",
            f"{one['peak']:.0f}",
            f"{one['unmapped']:.0f}",
            f"{one['unmapped'] / full['unmapped']:.2f}",
            f"{one['inertia']:.5g}",
            f"{one['inertia'] / full['inertia']:.4f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, nargs="+", default=[256])
    parser.add_argument("--states", type=int, default=1000, help="of the made-up frames")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the file")
    parser.add_argument("--rounds", type=int, default=3)
    leave_out = "what not to run: the sample that faiss draws is most of the frames where k is large"
    parser.add_argument("--leave-out", nargs="+", choices=tuple(METHODS)[1:], default=[], help=leave_out)
    parser.add_argument("--folder", help="for the file of frames; default: the system's for temporary files")
    parser.add_argument("--file", type=Path, help="a .npy file of frames (N, D), in place of made-up ones")
    parser.add_argument("--only", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(options.only, options.file, options.k[0], options.seed)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = options.file or Path(folder) / "frames.npy"
        if not options.file:
            make_frames(path, options.frames, options.dim, options.states, options.dtype)
        count, dim = np.load(path, mmap_mode="r").shape
        print(f"{count} frames x {dim}, {options.rounds} rounds, {faiss.omp_get_max_threads()} thread(s)")
        print(matrix_products())
        methods = [method for method in METHODS if method not in options.leave_out]
        for k in options.k:
            Console(width=110).print(compare(path, k, options.rounds, methods))


if __name__ == "__main__":
    main()
