"""One command at a time in a run's folder: who has it is said, who was killed has it no longer, and nothing stays behind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from pairs import be_one_of_two, started_pair
from small import SMALL, complaint, contents, crossval, run

from gemoclap.errors import GemoclapError
from gemoclap.files import write_json
from gemoclap.recipes import holding as holding_module
from gemoclap.recipes.holding import holding, holds_output
from gemoclap.recipes.run_folder import claim, refuse_other_run
from gemoclap.recipes.sharing import claim_together

CONFIG = {"data": {"manifest": "m.jsonl"}, "train": {"lr": 0.001}}


HOLD = """
import json, os, sys
from filelock import FileLock
folder, holder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
lock = FileLock(folder + "/.lock")
lock.acquire()
with open(folder + "/.holder.json", "w") as file:
    json.dump(json.loads(holder) | {"process": os.getpid()}, file)
print("held", flush=True)
sys.stdin.read()
os.remove(folder + "/.holder.json")
os.remove(folder + "/.lock")
"""
"""What another process does that holds a folder, without the seconds of importing torch."""


class OtherProcess:
    """Another process that holds a folder until it is told or killed."""

    def __init__(self, folder: Path, brief: bool = False) -> None:
        command = f"gemoclap train -o {folder}"
        holder = {"host": platform.node(), "command": command, "since": "2026-01-02 03:04:05", "brief": brief}
        arguments = [sys.executable, "-c", HOLD, str(folder), json.dumps(holder)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None and self.process.stdout.readline() == b"held\n"

    def end(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_holder_says_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/gemoclap", "train", "-o", "a run", *["--long"] * 99])
    with holding(tmp_path):
        holder = json.loads((tmp_path / ".holder.json").read_text())
    assert holder["command"].startswith("gemoclap train -o 'a run' --long") and holder["command"].endswith("...")
    assert (holder["host"], holder["process"], holder["brief"]) == (platform.node(), os.getpid(), False)
    assert abs(datetime.fromisoformat(holder["since"]) - datetime.now()) < timedelta(minutes=1)


def test_a_second_command_that_must_not_wait_is_told_who_is_at_work_and_changes_nothing(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "run"
    other = OtherProcess(output)
    before = contents(output)
    commands = [
        ["train", "--data.manifest", small_manifest, *SMALL],
        ["crossval", "--data.manifest", small_manifest, *SMALL],
        ["crossval", "--data.manifest", small_manifest, *SMALL, "--seeds", "0,1"],
        ["gmp", "features", "--data.manifest", small_manifest, *SMALL],
        ["pretrain", "intensity", "--data.manifest", small_manifest],
        ["pretrain", "ems", "--speech", small_manifest, "--model.masking", "random"],
        ["probe", "--data.manifest", small_manifest],
        ["report", tmp_path, tmp_path],
    ]
    for command in commands:
        line = complaint(capsys, *command, "-o", output, "--no_wait")
        assert line.startswith(
            f"gemoclap: {output}: is in use by 'gemoclap train -o {output}' (process {other.process.pid}"
        )
        assert f"on {platform.node()}, since 2026-01-02 03:04:05)" in line and "wait until it is done" in line
    assert contents(output) == before
    other.end()


def test_a_second_command_says_who_it_waits_for_and_then_finds_the_run_of_the_first(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    other = OtherProcess(output)

    def instead_of_sleeping(seconds: float) -> None:
        claim(output, CONFIG, ["emo_clap"])
        (output / "log.jsonl").write_text("{}\n")
        other.end()

    monkeypatch.setattr(holding_module.time, "sleep", instead_of_sleeping)
    assert run("train", "--data.manifest", small_manifest, *SMALL, "-o", output) == 2
    waiting, refused = capsys.readouterr().err.splitlines()
    assert waiting.startswith(f"{output}: is in use by 'gemoclap train -o {output}' (process {other.process.pid} on ")
    assert waiting.endswith("; waiting until it is done (Ctrl-C stops waiting)")
    assert refused.startswith(f"gemoclap: {output}: holds another run")
    assert sorted(os.listdir(output)) == ["config.yaml", "log.jsonl"]


def test_commands_that_share_a_folder_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = OtherProcess(tmp_path / "table", brief=True)
    polls = []

    def instead_of_sleeping(seconds: float) -> None:
        polls.append(seconds)
        other.end()

    monkeypatch.setattr(holding_module.time, "sleep", instead_of_sleeping)
    claim_together(tmp_path / "table", CONFIG, ["emo_clap"])
    assert len(polls) >= 1
    claim_together(tmp_path / "table", CONFIG, ["emo_clap"])  # the same command shares
    with pytest.raises(
        GemoclapError, match=r"its train\.lr differs"
    ):  # another does not, though nothing is trained yet
        claim_together(tmp_path / "table", {**CONFIG, "train": {"lr": 0.1}}, ["emo_clap"])
    assert sorted(os.listdir(tmp_path / "table")) == ["config.yaml", "locks"]


def test_a_killed_process_holds_nothing_and_what_it_left_is_removed(tmp_path: Path) -> None:
    other = OtherProcess(tmp_path / "run")
    (tmp_path / "run" / "fold_1" / f".model.{other.process.pid}.partial").mkdir(parents=True)
    (tmp_path / "run" / f".folds.json.{other.process.pid}.partial").write_text("[")
    (tmp_path / "run" / "fold_1" / "log.jsonl").write_text("{}\n")
    other.kill()
    assert (tmp_path / "run" / ".holder.json").exists()
    with holding(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / ".holder.json").read_text())["process"] == os.getpid()
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        assert names == {"run", "run/.lock", "run/.holder.json", "run/fold_1", "run/fold_1/log.jsonl"}
    assert sorted(os.listdir(tmp_path / "run")) == ["fold_1"]


def test_a_folder_below_that_another_command_holds_is_not_swept(tmp_path: Path) -> None:
    other = OtherProcess(tmp_path / "run" / "seed_0")
    theirs = tmp_path / "run" / "seed_0" / "checkpoint" / ".step-00000001.partial"
    theirs.mkdir(parents=True)
    ours = tmp_path / "run" / "checkpoint" / ".step-00000001.partial"
    ours.mkdir(parents=True)
    with holding(tmp_path / "run"):
        assert theirs.exists() and not ours.exists()
    other.end()


def test_a_recipe_within_a_command_uses_its_hold(tmp_path: Path) -> None:
    @holds_output
    def recipe(settings: str, output: Path) -> str:
        return f"{settings} {sorted(os.listdir(output))}"

    with holding(tmp_path / "run"):
        assert recipe("a", tmp_path / "run") == "a ['.holder.json', '.lock']"
        assert (tmp_path / "run" / ".lock").exists()
    assert recipe("b", output=tmp_path / "deep" / "run") == "b ['.holder.json', '.lock']"
    assert list(tmp_path.iterdir()) == []


def test_who_waits_does_not_get_the_lock_of_a_file_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waits on the lock of B's, B removes it; C would make a new one and hold it beside A."""
    folder = tmp_path / "run"
    folder.mkdir()
    first = FileLock(folder / ".lock")
    first.acquire()
    write_json(folder / ".holder.json", {"host": "h", "process": 1, "command": "c", "since": "s", "brief": True})

    def let_go(seconds: float) -> None:
        (folder / ".lock").unlink()
        first.release()
        (folder / ".holder.json").unlink()
        folder.rmdir()

    monkeypatch.setattr(holding_module.time, "sleep", let_go)
    with holding(folder):
        assert json.loads((folder / ".holder.json").read_text())["process"] == os.getpid()
        inside = FileLock(folder / ".lock")
        with pytest.raises(TimeoutError):
            inside.acquire(timeout=0)


@pytest.mark.parametrize("existed", [True, False])
def test_what_never_began_leaves_the_folder_as_it_was(existed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    if existed:
        claim(folder, CONFIG, ["emo_clap"])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="wrong"), holding(folder):
        claim(folder, CONFIG, ["emo_clap"])
        raise ValueError("wrong settings")
    assert sorted(tmp_path.rglob("*")) == before and folder.exists() == existed
    with pytest.raises(ValueError, match="later"), holding(folder):
        claim(folder, CONFIG, ["emo_clap"])
        (folder / "log.jsonl").write_text("{}\n")
        raise ValueError("later")
    refuse_other_run(folder, CONFIG)
    assert sorted(os.listdir(folder)) == ["config.yaml", "log.jsonl"]


@pytest.mark.parametrize(
    "wrong", [["--model.freeze", "99"], ["--model.layers", "77"], ["--model.audio_options", "{hidden_size: 0}"]]
)
@pytest.mark.parametrize("command", ["train", "crossval"])
def test_wrong_settings_leave_no_folder(
    command: str, wrong: list[str], small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    complaint(capsys, command, "--data.manifest", small_manifest, *SMALL, *wrong, "-o", tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()


def hold_in_turn(rank: int, port: int, folder: Path) -> None:
    """One of two processes of a distributed run: holds the folder with the other, and says what it sees."""
    be_one_of_two(rank, port)
    try:
        with holding(folder / "run"):
            claim(folder / "run", CONFIG, ["emo_clap"])
            (folder / f"held-{rank}").touch()
        with holding(folder / "taken", wait=False):
            pass
    except GemoclapError as error:
        (folder / f"refused-{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


def test_the_processes_of_one_distributed_run_are_one_holder(tmp_path: Path) -> None:
    other = OtherProcess(tmp_path / "taken")
    processes = started_pair(hold_in_turn, tmp_path)
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    other.end()
    refusals = [(tmp_path / f"refused-{rank}").read_text() for rank in range(2)]
    assert refusals[0] == refusals[1] and f"taken: is in use by 'gemoclap train -o {tmp_path / 'taken'}'" in refusals[0]
    assert (tmp_path / "held-0").exists() and (tmp_path / "held-1").exists()
    assert os.listdir(tmp_path / "run") == ["config.yaml"]


def test_the_training_state_of_a_finished_fold_goes(small_manifest: Path, tmp_path: Path) -> None:
    command = crossval(small_manifest, "emo_clap", tmp_path / "run", "--data.n_folds", "2")
    assert run(*command) == 0
    before = contents(tmp_path / "run" / "emo_clap")
    for fold in ("fold_1", "fold_2"):
        (tmp_path / "run" / "emo_clap" / fold / "checkpoint" / "step-00000001").mkdir(parents=True)
    assert run(*command) == 0
    assert contents(tmp_path / "run" / "emo_clap") == before
    assert not list((tmp_path / "run").rglob("checkpoint"))
