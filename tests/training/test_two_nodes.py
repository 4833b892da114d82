"""The Slurm script of docs/scaling.md, started as on two machines, against one process with twice the batch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pairs import free_port
from safetensors.torch import load_file
from small import SMALL, log_of, run

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
ALIKE = (
    *SMALL, "--method", "emo_clap", "--model.freeze", "all", "--train.epochs", "2", "--train.batching", "shuffled",
    "--train.warmup_epochs", "0", "--train.lr", "0.01",
)  # fmt: skip
"""A frozen encoder, because batch norm uses the statistics of each process; batches of which two make one of twice the size."""


def slurm_scripts() -> list[str]:
    """Return the scripts of the page: prediction on Ray, training."""
    return re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def as_on_two_machines(script: str, folder: Path, arguments: list[str]) -> str:
    """Return the script with other `arguments`, a free port, and stand-ins for what a Slurm cluster has."""
    command, torchrun = (
        "gemoclap train ravdess.jsonl --config ravdess --config whisper_finetuned -o runs/all",
        "srun torchrun",
    )
    parts = {
        command: f"gemoclap train {' '.join(arguments)}",
        torchrun: f"srun {sys.executable} -m torch.distributed.run",
        "source .venv/bin/activate": ":",
        "--nproc_per_node 4": "--nproc_per_node 1",
        ":29500": f":{free_port()}",
        "OMP_NUM_THREADS=8": "OMP_NUM_THREADS=1",
    }
    for old, new in parts.items():
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    (folder / "bin").mkdir()
    stand_ins = {
        "scontrol": 'test "$*" = "show hostnames two-machines"\necho 127.0.0.1\necho elsewhere',
        "srun": '"$@" & first=$!\n"$@" & second=$!\nwait $first\nwait $second',
    }
    for name, body in stand_ins.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\nset -e\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    return script


def test_the_slurm_script_trains_the_model_of_one_process_with_twice_the_batch(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    cache = ["--cache.folder", str(tmp_path / "cache")]
    # The shell would take the braces and quotes of an option apart, so all settings go through a file, as users' do.
    assert run("train", small_manifest, *ALIKE, *cache, "--train.batch_size", "8", "-o", one) == 0
    given = ["--config", str(one / "config.yaml"), "--train.batch_size", "4", "-o", str(two)]
    script = as_on_two_machines(slurm_scripts()[1], tmp_path, given)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "two-machines", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "7", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trained, expected = (load_file(folder / "model" / "model.safetensors") for folder in (two, one))
    assert trained.keys() == expected.keys()
    for name, weights in expected.items():
        assert trained[name].numpy() == pytest.approx(weights.numpy(), abs=1e-5), name
    logs = [log_of(next(folder.rglob("log.jsonl")).parent) for folder in (two, one)]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], abs=1e-5)
    assert logs[1][0]["loss"] - logs[1][1]["loss"] > 1e-3  # something was learned that could have differed
    # One process with half the batch would have taken twice the steps.
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]] == [4, 8]
