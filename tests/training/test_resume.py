"""kill -9 at many moments; the same command again must end with the bits of an uninterrupted run."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_standins import (
    KILLABLE,
    ContrastiveObjective,
    TinyBatches,
    development_uar,
    finish,
    start,
    tiny_model,
    train_noisy,
)

from gemoclap.errors import GemoclapError
from gemoclap.training import checkpoint as checkpoint_module
from gemoclap.training.loop import run_epochs

TIMINGS = {"seconds", "utterances_per_second", "data_wait_seconds"}
PAUSE = 0.01  # seconds a batch, so that there is time to kill within an epoch


def log_without_timings(output: Path) -> list[dict]:
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def assert_same_outcome(output: Path, reference: Path, processes: int = 1) -> None:
    for process in range(processes):
        weights = load_file(output / f"final-{process}.safetensors")
        expected = load_file(reference / f"final-{process}.safetensors")
        assert weights.keys() == expected.keys()
        assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
    assert log_without_timings(output) == log_without_timings(reference)
    assert [path.name for path in (output / "checkpoint").iterdir()] == ["step-00000016"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    finish(start(train_noisy, output))
    return output


def kill_when(output: Path, condition: Callable[[], bool], processes: int = 1) -> None:
    running = start(train_noisy, output, processes=processes, pause=PAUSE)
    patience = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < patience
        assert all(process.is_alive() for process in running), "ended before it could be killed"
        time.sleep(0.001)
    for process in running:
        process.kill()
    for process in running:
        process.join()


def rows_logged(output: Path) -> int:
    log = output / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def steps_saved(output: Path) -> int:
    return max((int(path.name[5:]) for path in output.glob("checkpoint/step-*")), default=0)


def test_the_noise_of_every_generator_reaches_the_weights(tmp_path, reference):
    """The reference is worth comparing with: it repeats itself, and dropout did change it."""
    finish(start(train_noisy, tmp_path))
    assert_same_outcome(tmp_path, reference)
    assert float(load_file(reference / "final-0.safetensors")["largest"]) > 0
    selected = [row["epoch"] for row in log_without_timings(reference) if row["selected"]]
    assert selected not in ([], [4]), "the best epoch should not be the last, or restoring it is not tested"


@pytest.mark.parametrize("moment", ["first_step", "mid_epoch", "first_epoch", "best_is_past", "last_epoch"])
def test_killed_once(tmp_path, reference, moment):
    conditions = {
        "first_step": lambda: steps_saved(tmp_path) >= 1,
        "mid_epoch": lambda: steps_saved(tmp_path) >= 6,
        "first_epoch": lambda: rows_logged(tmp_path) >= 1,
        "best_is_past": lambda: rows_logged(tmp_path) >= 3,
        "last_epoch": lambda: steps_saved(tmp_path) >= 15,
    }
    kill_when(tmp_path, conditions[moment])
    finish(start(train_noisy, tmp_path))
    assert_same_outcome(tmp_path, reference)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_again_and_again_at_random_moments(tmp_path, reference, seed):
    moments = random.Random(seed)
    for _ in range(4):
        before = steps_saved(tmp_path)
        if before >= 16:
            break
        running = start(train_noisy, tmp_path, pause=PAUSE)
        time.sleep(moments.uniform(0.15, 0.5))
        running[0].kill()
        running[0].join()
        assert steps_saved(tmp_path) >= before
    finish(start(train_noisy, tmp_path))
    assert_same_outcome(tmp_path, reference)


def test_two_processes_killed(tmp_path):
    finish(start(train_noisy, tmp_path / "whole", processes=2))
    kill_when(tmp_path / "killed", lambda: steps_saved(tmp_path / "killed") >= 6, processes=2)
    finish(start(train_noisy, tmp_path / "killed", processes=2))
    assert_same_outcome(tmp_path / "killed", tmp_path / "whole", processes=2)


def test_another_number_of_processes_is_refused(tmp_path):
    kill_when(tmp_path, lambda: steps_saved(tmp_path) >= 1, processes=2)
    model = tiny_model(dropout=0.3)
    with pytest.raises(GemoclapError, match="written by 2 processes"):
        run_epochs(
            model, ContrastiveObjective(), TinyBatches(30, 4), KILLABLE, tmp_path, run_key="noisy",
            evaluate=development_uar(model),
        )  # fmt: skip


class Killed(BaseException):
    """What no handler catches, in place of the signal."""


@pytest.mark.parametrize("inner", ["save_file", "write_json", "_publish", "_remove_others"])
@pytest.mark.parametrize("call", [3, 17])
def test_stopped_inside_the_writing_of_a_checkpoint(tmp_path, reference, monkeypatch, inner, call):
    original, calls = getattr(checkpoint_module, inner), 0

    def stop(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call and inner != "save_file":
            raise Killed
        original(*arguments, **options)
        if calls == call:
            Path(arguments[1]).write_bytes(b"half")
            raise Killed

    if (inner, call) in {("_publish", 17), ("_remove_others", 17)}:
        call = 16  # the last checkpoint of the run
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint_module, inner, stop)
        train_noisy(tmp_path)
    train_noisy(tmp_path)
    assert_same_outcome(tmp_path, reference)
