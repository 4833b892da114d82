"""k-means over blocks: against naive float64 loops and scikit-learn, and what it holds in memory."""

from __future__ import annotations

import logging
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from gemoclap.data.shards import Shards
from gemoclap.errors import GemoclapError
from gemoclap.gmp import clustering
from gemoclap.gmp.clustering import KMeans, assign, fit_kmeans, load_kmeans, save_kmeans
from gemoclap.gmp.frames import ArrayFrames, ShardFrames


def noise(frames: int, dim: int, seed: int = 0) -> np.ndarray:
    """Overlapping clusters with an offset."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 1.5, (20, dim))
    return (means[rng.integers(0, 20, frames)] + rng.normal(size=(frames, dim)) + 3.0).astype(np.float32)


def naive_distances(frames: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return squared distances (N, k) in float64."""
    rows = [((centroids.astype(np.float64) - frame) ** 2).sum(1) for frame in frames.astype(np.float64)]
    return np.stack(rows)


def naive_inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    return float(naive_distances(frames, centroids).min(1).mean())


def fit(array: np.ndarray, k: int, block: int = 700, **settings) -> KMeans:
    return fit_kmeans(ArrayFrames(array, block), k, **settings)


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("count", [0, 1, 19, 5000])
def test_assign_against_a_naive_search(count: int, offset: float) -> None:
    frames = noise(count, 80, seed=1) + np.float32(offset)
    centroids = noise(37, 80, seed=2) + np.float32(offset)
    labels, squared = assign(frames, centroids)
    assert (labels.dtype, labels.shape) == (np.int64, (count,))
    assert (squared.dtype, squared.shape) == (np.float32, (count,))
    if count:
        expected = naive_distances(frames, centroids)
        assert_array_equal(labels, expected.argmin(1))
        assert_allclose(squared, expected.min(1), rtol=1e-4)


def test_faiss_alone_would_have_failed_far_from_the_origin() -> None:
    frames, centroids = noise(5000, 80, seed=1) + np.float32(3000), noise(37, 80, seed=2) + np.float32(3000)
    expected = naive_distances(frames, centroids).min(1)
    assert_allclose(assign(frames, centroids)[1], expected, rtol=1e-4)
    assert abs(faiss.knn(frames, centroids, 1)[0][:, 0] - expected).max() > 1


def test_far_from_the_origin_it_fits_as_well_as_near_it() -> None:
    frames = noise(3000, 20)
    near, far = fit(frames, 30), fit(frames + np.float32(3000), 30)
    assert_allclose(far.inertia, naive_inertia(frames + np.float32(3000), far.centroids), rtol=1e-4)
    assert_allclose(far.inertia, near.inertia, rtol=0.02)


@pytest.mark.parametrize(("sample_bytes", "points"), [(4 * 10 * 500, 500), (1, 40), (10**9, 64 * 40)])
def test_a_sample_is_as_large_as_memory_and_clusters_ask(
    sample_bytes: int, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, seen, chosen_among = noise(4000, 10), [], []
    draw, spread = clustering._cluster_sample, clustering.kmeans_plusplus
    monkeypatch.setattr(clustering, "_cluster_sample", lambda sample, *rest: seen.append(sample) or draw(sample, *rest))
    monkeypatch.setattr(
        clustering,
        "kmeans_plusplus",
        lambda array, *rest, **more: chosen_among.append(array) or spread(array, *rest, **more),
    )
    model = fit(frames, 40, sample_bytes=sample_bytes)
    assert_allclose(model.inertia, naive_inertia(frames, model.centroids), rtol=1e-5)
    assert (len(seen[0]), seen[0].nbytes <= max(sample_bytes, 4 * 10 * 40)) == (points, True)
    assert 40 <= len(chosen_among[0]) <= points
    assert chosen_among[0].nbytes <= max(sample_bytes, 8 * 10 * 40)


def test_a_sample_is_of_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(20_000, dtype=np.float32)[:, None]
    seen = []
    draw = clustering._cluster_sample
    monkeypatch.setattr(
        clustering, "_cluster_sample", lambda sample, *rest: seen.append(sample.copy()) or draw(sample, *rest)
    )
    fit(rows, 4, block=999)
    (drawn,) = seen[0].T
    assert len(np.unique(drawn)) == len(drawn) == clustering.LEAST_POINTS
    for part in (drawn, drawn[:500]):  # its beginning is a sample as well
        assert abs(part.mean() - 10_000) < 4 * 5774 / len(part) ** 0.5


@pytest.mark.parametrize("k", [1, 3, 64])
def test_inertia_is_that_of_the_final_centroids_over_all_frames(k: int) -> None:
    frames = noise(5000, 12)
    model = fit(frames, k, seed=k)
    assert (model.centroids.shape, model.centroids.dtype) == ((k, 12), np.float32)
    assert_allclose(model.inertia, naive_inertia(frames, model.centroids), rtol=1e-5)
    assert model.history[-1] == model.inertia
    assert model.inertia < 1.02 * SklearnKMeans(k, n_init=1, random_state=0).fit(frames).inertia_ / len(frames)


def test_one_centroid_is_the_mean_of_all_frames() -> None:
    frames = noise(20_000, 6) + np.float32(100)
    assert_allclose(fit(frames, 1).centroids[0], frames.mean(0, dtype=np.float64), rtol=1e-6)


def test_a_last_step_is_that_of_lloyd() -> None:
    frames, k = noise(3000, 8), 15
    before, after = fit(frames, k, passes=1, seed=4), fit(frames, k, passes=2, seed=4)
    labels = naive_distances(frames, before.centroids).argmin(1)
    means = np.stack([frames[labels == label].mean(0, dtype=np.float64) for label in range(k)])
    assert_allclose(after.centroids, means, rtol=1e-5, atol=1e-6)
    assert_allclose(after.history, [naive_inertia(frames, before.centroids), naive_inertia(frames, means)], rtol=1e-5)


def test_a_step_before_the_last_goes_further() -> None:
    frames, k = noise(3000, 8), 15
    start = fit(frames, k, passes=1, seed=4).centroids.astype(np.float64)
    for relaxation in (clustering.RELAXATION, 1.0):
        labels = naive_distances(frames, start).argmin(1)
        means = np.stack([frames[labels == label].mean(0, dtype=np.float64) for label in range(k)])
        start = start + relaxation * (means - start)
    assert_allclose(fit(frames, k, passes=3, tolerance=0, seed=4).centroids, start, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_inertia_never_rises(seed: int) -> None:
    history = fit(noise(4000, 10, seed), 100, passes=20, tolerance=0, seed=seed).history
    assert len(history) > 5
    assert (np.diff(history) <= 1e-6 * np.array(history[1:])).all()
    assert history[-1] < history[0]


def test_passes_end_when_the_inertia_settles() -> None:
    frames = noise(4000, 10)
    history = fit(frames, 50, passes=50, tolerance=1e-2).history
    gains = 1 - np.array(history[1:]) / history[:-1]
    assert 2 < len(history) < 50
    assert (gains[:-2] > 1e-2).all() and gains[-2] <= 1e-2
    assert len(fit(frames, 50, passes=3, tolerance=-1.0).history) == 3


@pytest.mark.parametrize("seed", range(5))
def test_clusters_that_lie_apart_are_found(seed: int) -> None:
    frames, truth = make_blobs(2000, 16, centers=12, cluster_std=0.05, random_state=seed)
    model = fit(frames.astype(np.float32), 12, seed=seed)
    assert adjusted_rand_score(truth, assign(frames.astype(np.float32), model.centroids)[0]) == 1.0


def test_the_size_of_blocks_changes_nothing_but_rounding() -> None:
    frames = noise(9001, 10)
    models = [fit(frames, 30, block, seed=5, tolerance=0) for block in (37, 333, 4097, 9001)]
    for model in models[1:]:
        assert_allclose(model.centroids, models[0].centroids, atol=1e-4)
        assert_allclose(model.history, models[0].history, rtol=1e-6)


def test_the_seed_decides() -> None:
    frames = noise(3000, 10)
    first, again, other = (fit(frames, 40, seed=seed) for seed in (1, 1, 2))
    assert_array_equal(first.centroids, again.centroids)
    assert first.history == again.history
    assert not np.array_equal(first.centroids, other.centroids)


def test_half_precision_on_disk(tmp_path: Path) -> None:
    frames = noise(2000, 10).astype(np.float16)
    np.save(tmp_path / "frames.npy", frames)
    mapped = fit(np.load(tmp_path / "frames.npy", mmap_mode="r"), 16)
    assert_array_equal(mapped.centroids, fit(frames.astype(np.float32), 16).centroids)


def test_an_empty_cluster_moves_to_a_far_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, _ = make_blobs([300, 300, 10], 4, centers=np.eye(3, 4) * 50, cluster_std=0.1, random_state=0)
    frames = frames.astype(np.float32)
    start = np.array([[50, 0, 0, 0], [0, 50, 0, 0], [-900, -900, -900, 0]], np.float32)
    monkeypatch.setattr(clustering, "_cluster_sample", lambda *_: start)
    model = fit(frames, 3)
    assert model.empty == 1
    assert model.inertia < 0.1 < 50 < model.history[0]
    assert (np.bincount(assign(frames, model.centroids)[0]) == (300, 300, 10)).all()


@pytest.mark.parametrize("seed", range(3))
def test_many_empty_clusters_find_frames_and_inertia_does_not_rise(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise(3000, 6, seed)
    start = np.concatenate([frames[:20], np.full((30, 6), 1e4, np.float32)])
    monkeypatch.setattr(clustering, "_cluster_sample", lambda *_: start)
    model = fit(frames, 50, seed=seed, passes=15, tolerance=0)
    assert model.empty >= 30
    assert (np.bincount(assign(frames, model.centroids)[0], minlength=50) > 0).all()
    assert (np.diff(model.history) <= 0).all()
    assert_array_equal(model.centroids, fit(frames, 50, seed=seed, passes=15, tolerance=0).centroids)


@pytest.mark.parametrize(("distinct", "k"), [(1, 1), (1, 7), (5, 5), (5, 64)])
def test_fewer_distinct_frames_than_clusters(distinct: int, k: int) -> None:
    values = noise(distinct, 9)
    model = fit(values[np.arange(300) % distinct], k)
    assert np.isfinite(model.centroids).all()
    assert model.inertia < 1e-4
    assert len(np.unique(assign(values, model.centroids)[0])) == distinct


def test_as_many_clusters_as_frames() -> None:
    frames = noise(40, 9)
    assert fit(frames, 40, block=7).inertia < 1e-4


@pytest.mark.parametrize(
    ("k", "settings", "message"),
    [(0, {}, "k = 0: set k"), (11, {}, "k = 11 of 10 frames"), (2, {"passes": 0}, "set passes to 1")],
)
def test_settings_that_cannot_be(k: int, settings: dict, message: str) -> None:
    with pytest.raises(GemoclapError, match=message):
        fit(noise(10, 3), k, **settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_cannot_be(value: float) -> None:
    frames = noise(100, 3)
    frames[57, 2] = value
    with pytest.raises(GemoclapError, match="^frame 57 has the value .*; leave its clip out"):
        fit(frames, 4, block=10)
    with pytest.raises(GemoclapError, match="^frame 57 has the value"):
        assign(frames, noise(4, 3))


def test_frames_of_another_layer() -> None:
    with pytest.raises(GemoclapError, match=r"\(5, 3\) do not go with centroids of shape \(2, 4\)"):
        assign(noise(5, 3), noise(2, 4))


class MadeUpFrames:
    """Makes each block when it is asked for, and sees which of those it gave are still held."""

    dim = 64

    def __init__(self, blocks: int, rows: int) -> None:
        self.count, self.rows = blocks, rows
        self.held: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def __len__(self) -> int:
        return self.count * self.rows

    def blocks(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            self.held = [one for one in self.held if one() is not None]
            self.most = max(self.most, len(self.held))
            block = noise(self.rows, self.dim, number)
            self.held.append(weakref.ref(block))
            yield block
            del block

    def where(self, row: int) -> str:
        return str(row)


def test_no_more_than_a_block_is_held_when_the_next_is_read() -> None:
    frames = MadeUpFrames(blocks=60, rows=500)
    tracemalloc.start()
    fit_kmeans(frames, 8, passes=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frames.most == 1
    assert peak < len(frames) * frames.dim * 4 / 3


def test_a_source_that_ends_early() -> None:
    frames = MadeUpFrames(blocks=3, rows=50)
    frames.rows, frames.blocks = 51, MadeUpFrames(3, 50).blocks
    with pytest.raises(ValueError, match="has 153 frames and gave 150"):
        fit_kmeans(frames, 2)


def test_progress_and_log(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO, logger="gemoclap"):
        model = fit(noise(1000, 5), 4, block=300, progress=lambda done, total: calls.append((done, total)))
    assert calls[:5] == [(300, 10_000), (600, 10_000), (900, 10_000), (1000, 10_000), (1300, 10_000)]
    assert calls[-1] == (10_000, 10_000)
    assert calls == sorted(calls)
    assert [f"{value:.6g}" in caplog.text for value in model.history] == [True] * len(model.history)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    shards = Shards(tmp_path / "frames")
    lengths = {"a": 5, "b": 0, "c": 31, "d": 1, "e": 12}
    for key, length in lengths.items():
        shards.add({key: torch.from_numpy(noise(length, 3, length)).bfloat16()})
    return shards


@pytest.mark.parametrize("block", [1, 4, 12, 1000])
@pytest.mark.parametrize("keys", ["abcde", "ecba", "b", "d"])
def test_frames_of_shards_are_the_clips_one_after_the_other(shards: Shards, keys: str, block: int) -> None:
    frames = ShardFrames(shards, list(keys), block)
    expected = torch.cat([shards[key] for key in keys]).float().numpy()
    assert (len(frames), frames.dim) == expected.shape
    for _ in range(2):
        found = list(frames.blocks())
        assert [len(part) for part in found[:-1]] == [block] * (len(found) - 1)
        assert all(0 < len(part) <= block and part.flags.c_contiguous and part.dtype == np.float32 for part in found)
        assert_array_equal(np.concatenate([np.empty((0, 3), np.float32), *found]), expected)


def test_frames_of_shards_are_clustered_as_those_of_an_array(shards: Shards) -> None:
    array = torch.cat([shards[key] for key in "cea"]).float().numpy()
    model = fit_kmeans(ShardFrames(shards, ["c", "e", "a"], 10), 6, seed=3)
    assert_array_equal(model.centroids, fit(array, 6, 10, seed=3).centroids)


def test_a_bad_value_names_its_clip(shards: Shards) -> None:
    bad = torch.zeros(4, 3)
    bad[2, 1] = torch.nan
    shards.add({"bad": bad.bfloat16()})
    keys = ["a", "b", "bad", "c"]
    with pytest.raises(GemoclapError, match="frames: frame 2 of clip 'bad' has the value nan"):
        fit_kmeans(ShardFrames(shards, keys, 8), 2)
    with pytest.raises(
        GemoclapError, match="frames: frame 2 of clip 'anna_03' has the value nan; leave .* out, or delete"
    ):
        fit_kmeans(ShardFrames(shards, keys, 8, {"a": "anna_01", "bad": "anna_03"}), 2)


@pytest.mark.parametrize(
    ("keys", "message"),
    [("abxy", "has no frames of 2 of 4 clips, 'x' the first"), ("aba", "'a' is named 2 times"), ("", "no clips")],
)
def test_clips_that_cannot_be(shards: Shards, keys: str, message: str) -> None:
    with pytest.raises(GemoclapError, match=message):
        ShardFrames(shards, list(keys))


def test_shards_of_something_else(tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    shards.add({"a": torch.zeros(7)})
    with pytest.raises(GemoclapError, match="not frames"):
        ShardFrames(shards, ["a"])


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = fit(noise(500, 5), 7)
    save_kmeans(tmp_path / "new" / "kmeans.safetensors", model)
    loaded = load_kmeans(tmp_path / "new" / "kmeans.safetensors")
    assert_array_equal(loaded.centroids, model.centroids)
    assert (loaded.inertia, loaded.history, loaded.empty) == (model.inertia, model.history, model.empty)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kmeans.safetensors"]


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "kmeans.safetensors"
    with pytest.raises(GemoclapError, match="no such file; fit"):
        load_kmeans(path)
    save_kmeans(path, fit(noise(500, 5), 7))
    whole = path.read_bytes()
    for damaged in (b"", b"{}", whole[:40], whole[:-3]):
        path.write_bytes(damaged)
        with pytest.raises(GemoclapError, match=r"not a readable k-means \(.*\); delete it") as error:
            load_kmeans(path)
        assert "\n" not in str(error.value)
    centroids = np.ones((2, 3), np.float32)
    others = [({"weight": centroids}, {}), ({"centroids": centroids}, {}), ({"centroids": centroids}, {"kmeans": "[]"})]
    others += [({"centroids": bad}, {"kmeans": "{}"}) for bad in (centroids[0], centroids * np.nan, np.ones((2, 3)))]
    for tensors, metadata in others:
        save_file(tensors, path, metadata)
        with pytest.raises(GemoclapError, match="not a readable k-means"):
            load_kmeans(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GemoclapError, match="cannot be written"):
        save_kmeans(tmp_path / "file" / "kmeans.safetensors", fit(noise(50, 5), 2))
