"""`predict --engine ray`: the rows of the local engine, also when a worker dies, and what is said where that cannot be.

All tests that need a cluster share one: it takes seconds to start, and each worker some more.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pairs import free_port
from small import complaint, run
from sound import noise, write

from gemoclap import __version__
from gemoclap.corpora.manifest import Utterance
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.errors import GemoclapError
from gemoclap.inference import ray_engine
from gemoclap.inference.job import Job, LocalEngine
from gemoclap.inference.ray_engine import Origin, RayEngine, Worker

if missing := [name for name in ("ray", "pyarrow") if find_spec(name) is None]:
    pytest.skip(f"no {' and '.join(missing)}: pip install 'gemoclap[ray]'", allow_module_level=True)
ray, pyarrow = ray_engine.ray_module(), import_module("pyarrow")

CLIPS = 18
NOTES = "GEMOCLAP_TEST_NOTES"
"""Variable of the environment that names the folder in which workers note what they do."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster of two workers on this machine; yields a folder that its workers see, for notes."""
    notes, before = Path(tempfile.mkdtemp(prefix="ray")), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NOTES, str(notes))
        ray.init(
            address="local", num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _temp_dir=str(notes / "ray"),
            # The machine may be busy with other tests: workers are not to stand behind them, nor to be given up.
            _system_config={"worker_niceness": 0, "worker_register_timeout_seconds": 600},
        )  # fmt: skip
        # The workers cannot import this file, so its classes are sent to them.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield notes
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)
    shutil.rmtree(notes, ignore_errors=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips in no order of length: one is silent, one is no sound, and the name of one is not UTF-8."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS - 3):
        write(folder / f"{number:02}.wav", noise(0.3 + 0.1 * (number * 7 % 10), seed=number))
    write(folder / "03-silent.wav", np.zeros(8000))
    (folder / "05-bad.wav").write_text("no sound")
    write(folder / "x.wav", noise(0.4, seed=99)).rename(folder / os.fsdecode(b"09-\xe9.wav"))
    return folder


class DiesOnce(Worker):
    """The first worker that gets a second block is killed by it. Each notes the blocks that it begins."""

    def __call__(self, table: Any) -> Any:
        notes = Path(os.environ[NOTES])
        with (notes / str(os.getpid())).open("a+") as file:
            file.write(json.loads(table.column("clip")[0].as_py())["path"] + "\n")
            file.seek(0)
            begun = file.readlines()
        if len(begun) == 2 and not (notes / "killed").exists():
            (notes / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(table)


class DiesAlways(Worker):
    """Has no model, and no block outlives it."""

    def __init__(self, *_: Any) -> None:
        pass

    def __call__(self, table: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class CannotStart(DiesAlways):
    """As where the package is not installed."""

    def __init__(self, *_: Any) -> None:
        raise ModuleNotFoundError("No module named 'gemoclap'")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def assert_equal(rows: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    """Words must be equal; numbers too, but for the rounding of other batches."""
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row:
            try:
                assert float(row[name]) == pytest.approx(float(other[name]), abs=2e-6)
            except ValueError:
                assert row[name] == other[name]


def interrupted(count: int, patch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come after so many rows of the local engine."""
    whole = LocalEngine.rows

    def some(engine: LocalEngine, wanted: list[Utterance]) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(whole(engine, wanted)):
            if number == count:
                raise KeyboardInterrupt
            yield row

    patch.setattr(LocalEngine, "rows", some)


def test_ray_resumes_a_local_run_and_has_the_same_rows_though_a_worker_is_killed(
    cluster: Path, small_model: Path, clips: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(clips.parent)  # relative paths must be found by the workers too
    given = ["predict", clips.name, "--model", os.path.relpath(small_model), "--columns", "seconds"]
    assert run(*given, "-o", tmp_path / "local.csv") == 1
    given += ["-o", tmp_path / "ray.csv"]
    with monkeypatch.context() as patch:
        interrupted(2, patch)
        assert run(*given) == 130
    monkeypatch.setattr(ray_engine, "Worker", DiesOnce)
    capfd.readouterr()
    assert run(*given, "--engine", "ray", "--workers", "2") == 1
    shown = capfd.readouterr()
    assert shown.out.splitlines() == [
        f"{tmp_path / 'ray.csv'}: resuming, 2 of 18 rows were written before", f"{tmp_path / 'ray.csv'}: 18 rows"
    ]  # fmt: skip
    said = [
        line for line in shown.err.splitlines() if not line.startswith("predicting: ")
    ]  # slow machines show progress
    assert said == [
        "Ray: 16 clips in 8 blocks; processes: 2, with one CPU each",
        "gemoclap: 1 of 18 clips could not be read; the column 'error' says why",
    ]
    assert_equal(rows_of(tmp_path / "ray.csv"), rows_of(tmp_path / "local.csv"))
    assert len(rows_of(tmp_path / "ray.csv")) == CLIPS
    killed = (cluster / "killed").read_text()
    begun = {note.name: note.read_text().splitlines() for note in cluster.iterdir() if note.name.isdigit()}
    assert len(begun[killed]) == 2 and sum(map(len, begun.values())) == 8 + 1
    assert [pid for pid, blocks in begun.items() if pid != killed and begun[killed][1] in blocks]


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (DiesAlways, "Ray: workers died 2 times at one block of clips"),
        (CannotStart, "Ray: a worker could not start: ModuleNotFoundError: No module named 'gemoclap'"),
    ],
)
def test_a_worker_that_never_answers_ends_the_job(
    worker: type, expected: str, cluster: Path, small_model: Path, clips: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(ray_engine, "Worker", worker)
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    options = ["--model", small_model, "--engine", "ray", "--workers", "1", "-o", tmp_path / "out.csv"]
    capsys.readouterr()
    assert run("predict", clips / "00.wav", *options) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"gemoclap: {expected}")
    assert not (tmp_path / "out.csv").exists()


# What needs no cluster: a worker is an object, and its table one of pyarrow.


def table_of(*paths: Path | str) -> Any:
    clips = [Utterance(str(path), str(path)) for path in paths]
    return pyarrow.table({"clip": [ray_engine._text_of(clip) for clip in clips]})


@pytest.fixture
def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process predicts blocks of five."""

    def dataset(engine: RayEngine, clips: list[Utterance], wants_features: bool) -> Any:
        worker = Worker(engine.job, engine._origin(clips), wants_features)
        tables = (worker(table_of(*(clip.path for clip in clips[at : at + 5]))) for at in range(0, len(clips), 5))
        return SimpleNamespace(iter_batches=lambda **_: tables)

    monkeypatch.setattr(RayEngine, "_dataset", dataset)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)


def test_adapting_gives_what_it_gives_locally(
    without_cluster: None, frozen_model: Path, clips: Path, tmp_path: Path
) -> None:
    given = ["predict", clips, "--model", frozen_model, "--speech", "all", "--adapt"]
    ways = {"local": [], "ray": ["--engine", "ray", "--workers", "1"]}
    for name, options in ways.items():
        saved = tmp_path / f"{name}.json"
        assert run(*given, "folder", "--save_adapt", saved, *options, "-o", tmp_path / f"{name}.csv") == 1
    assert_equal(rows_of(tmp_path / "ray.csv"), rows_of(tmp_path / "local.csv"))
    saved = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ways]
    assert saved[0]["model"] == saved[1]["model"]
    groups = [one["groups"]["all"] for one in saved]
    assert groups[0]["count"] == groups[1]["count"] == CLIPS - 2  # neither the unreadable nor the silent one
    for name in ("mean", "square"):
        assert groups[0][name] == pytest.approx(groups[1][name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("labels", ["machine,human", "features,answer,problem"])
def test_labels_may_be_any_words(
    labels: str, without_cluster: None, small_model: Path, clips: Path, tmp_path: Path
) -> None:
    given = ["predict", clips, "--model", small_model, "--labels", labels, "--any_words"]
    for engine in ("local", "ray"):
        assert run(*given, "--engine", engine, "--workers", "1", "-o", tmp_path / f"{engine}.csv") == 1
    rows = rows_of(tmp_path / "ray.csv")
    assert_equal(rows, rows_of(tmp_path / "local.csv"))
    likely = [row for row in rows if not row["error"]]
    assert len(likely) == CLIPS - 1
    for row in likely:
        assert sum(float(row[label]) for label in labels.split(",")) == pytest.approx(1, abs=1e-4)


@pytest.fixture(scope="module")
def hash_of_model(small_model: Path) -> str:
    return fingerprint(Job(str(small_model)).load().model)


def test_a_worker_without_the_same_model_package_or_folder_says_so(
    small_model: Path, hash_of_model: str, clips: Path
) -> None:
    def said(model: Path = small_model, **changes: str) -> str:
        origin = Origin(**{"version": __version__, "weights": hash_of_model, "folder": None, **changes})  # type: ignore[arg-type]
        answer = Worker(Job(str(model)), origin, False)(table_of(clips / "00.wav"))
        assert answer.column_names == ["problem"]
        with pytest.raises(GemoclapError) as error:
            list(ray_engine._answers_in(answer))
        return str(error.value)

    assert "gemoclap is" in said(version="0.0.1") and "but 0.0.1 where the command runs" in said(version="0.0.1")
    assert f"{small_model}: is another model than where the command runs" in said(weights="0123456789abcdef")
    assert f"{clips / 'none'}: no such folder, but relative paths refer to it" in said(folder=str(clips / "none"))
    assert f"{clips / 'none'}: no such folder" in said(clips / "none")


@pytest.mark.parametrize("wants_features", [False, True])
def test_a_file_that_only_a_worker_lacks_ends_the_job_and_one_that_is_nowhere_has_a_row(
    wants_features: bool, small_model: Path, hash_of_model: str, clips: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    names = [clips / "00.wav", tmp_path / "late.wav"]
    worker = Worker(Job(str(small_model)), Origin(__version__, hash_of_model, None), wants_features)
    table = worker(table_of(*names))
    dataset = SimpleNamespace(iter_batches=lambda **_: iter([table]))
    monkeypatch.setattr(RayEngine, "_dataset", lambda *_: dataset)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    engine = RayEngine(Job(str(small_model)), hash_of_model)
    answers = engine.featured if wants_features else engine.rows
    wanted = [Utterance(str(name), str(name)) for name in names]
    first, second = answers(wanted)
    if wants_features:
        local = next(LocalEngine(Job(""), Job(str(small_model)).load()).featured(wanted[:1]))
        for one, other in zip(first, local, strict=True):
            assert type(one) is type(other) and np.array_equal(one, other)
            assert not isinstance(one, np.ndarray) or one.dtype == other.dtype
        assert "no such audio file" in str(second)
    else:
        assert "emotion" in first and second.keys() == {"path", "error"}
    shutil.copy(names[0], names[1])
    with pytest.raises(GemoclapError, match=r"late\.wav: is not on machine .*; every machine must have it"):
        list(answers(wanted))


def test_blocks_have_a_share_for_each_worker_and_a_batch_is_not_cut() -> None:
    """Of 1000 clips, two workers get four blocks each, but none gets more than the local engine sorts together."""
    asked: dict[str, Any] = {}

    def from_items(items: list[dict[str, str]], override_num_blocks: int) -> Any:
        asked.update(clips=len(items), blocks=override_num_blocks)
        return SimpleNamespace(map_batches=lambda worker, **options: asked.update(options))

    data = SimpleNamespace(
        from_items=from_items,
        DataContext=SimpleNamespace(get_current=lambda: SimpleNamespace(execution_options=SimpleNamespace())),
        ActorPoolStrategy=lambda size: size,
    )
    for resources, clips, workers, expected in (
        ({"CPU": 2.0}, 1000, None, (2, 8, None)),
        ({"CPU": 2.0}, 10_000, None, (2, 40, None)),
        ({"CPU": 64.0}, 3, None, (3, 3, None)),
        ({"CPU": 64.0, "GPU": 4.0}, 1000, None, (4, 16, 1)),
        ({"CPU": 64.0}, 1000, 5, (5, 20, None)),
        ({}, 8, None, (1, 4, None)),
    ):
        engine = RayEngine(Job("default"), "", workers=workers)
        engine.ray = SimpleNamespace(data=data, cluster_resources=lambda found=resources: found)
        engine._dataset([Utterance(str(number), f"/{number}.wav") for number in range(clips)], False)
        assert (asked["compute"], asked["blocks"], asked["num_gpus"]) == expected and asked["clips"] == clips


def test_what_cannot_work_is_said_before_the_work(
    small_model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    given = ["predict", clips, "--model", small_model, "-o", tmp_path / "out.csv"]
    assert "add --engine ray" in complaint(capsys, *given, "--address", "auto")
    assert "run this command on one of its machines" in complaint(
        capsys, *given, "--engine", "ray", "--address", "ray://head:10001"
    )
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    said = complaint(capsys, *given, "--engine", "ray", "--address", f"127.0.0.1:{free_port()}")
    assert "Connection refused; on this machine, 'ray status' must show the cluster" in said
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    assert "ray://elsewhere:10001" in complaint(capsys, *given, "--engine", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    said = complaint(capsys, *given, "--engine", "ray")
    assert said == "gemoclap: --engine ray needs the package 'gemoclap[ray]': pip install 'gemoclap[ray]'\n"
    assert not list(tmp_path.iterdir())


def test_ray_reports_no_usage_to_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    ray_engine.ray_module()
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
