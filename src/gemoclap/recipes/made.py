"""Records how a result was made: versions, code, kind of machine, date and duration. The record has no effect on any result."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gemoclap
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash, json_or_empty, write_json
from gemoclap.recipes.run_files import read_log
from gemoclap.recipes.run_folder import on_main_process
from gemoclap.running import running_seconds
from gemoclap.training.checkpoint import CHECKPOINT
from gemoclap.training.distributed import process_state

MADE = "made.json"
"""Name of the file in a fold's folder with this record."""
LISTED = ("gemoclap", "results", "code", "torch", "transformers", "python", "host", "device", "processes", "threads")
RESULTS = 1
"""Raise it with a change after which a training gives other figures, and describe the change in docs/records/changes.json.

It was not raised when the second and third perturbed copy became of another kind: no recorded run has copies.
"""
WITHOUT_EFFECT = ("cli", "inference", "reports", "serving")
"""Packages that no training uses."""


def made_with() -> dict[str, Any]:
    """Return the versions, the kind of machine and the date.

    The kind of machine is its system and its processor. The name of the machine is private, so it is not recorded.
    """
    state = process_state()
    device = torch.cuda.get_device_name(state.device) if state.device.type == "cuda" else state.device.type
    return {
        "gemoclap": gemoclap.__version__,
        "results": RESULTS,
        "code": code_hash(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "host": f"{platform.system()} {platform.machine()}",
        "device": device,
        "processes": state.num_processes,
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


@cache
def code_hash() -> str:
    """Return a hash of the source files that a training can use, 12 hex digits: the same hash means the same code."""
    root = Path(gemoclap.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root)
        if name.parts[0] not in WITHOUT_EFFECT:
            digest.update(f"{name.as_posix()} {file_hash(path)}\n".encode())
    return digest.hexdigest()[:12]


def begun_at(folder: Path, finished: Iterable[Path] = ()) -> float:
    """Return the value of `running_seconds` at which the work on a fold began.

    If an interrupted training is resumed now, it began earlier, by the seconds of the epochs in its log.

    Parameters
    ----------
    folder : of the fold. Trainings in it that have a checkpoint are resumed. Others begin again.
    finished : folders of trainings that an earlier process has finished, such as the first stages of GMP-TL.
    """
    earlier = {path.parent for path in folder.rglob(CHECKPOINT)} | {*finished}
    return running_seconds() - sum(map(_seconds_of_log, sorted(earlier)))


def _seconds_of_log(folder: Path) -> float:
    try:
        return sum(row.get("seconds") or 0.0 for row in read_log(folder / "log.jsonl"))
    except GemoclapError:
        return 0.0  # there is none yet, or it is damaged; the training writes it anew


def write_made(folder: Path, begun: float) -> None:
    """Write the record of a fold. `begun` is what `begun_at` gave when it started.

    Time in which the process was stopped does not count, nor what an interrupted process did after its last checkpoint.
    """
    made = {**made_with(), "seconds": round(running_seconds() - begun, 1)}
    on_main_process(lambda: write_json(folder / MADE, made))


def read_made(folders: Iterable[Path]) -> dict[str, Any]:
    """Return one record for several folds: all different values of each entry, and the sum of the seconds.

    Folds of earlier versions have no record, and a damaged file is ignored.
    """
    found = [made for folder in folders if (made := json_or_empty(folder / MADE))]
    if not found:
        return {}
    together: dict[str, Any] = {name: _values(found, name) for name in LISTED}
    dates = _values(found, "date")
    seconds = [made["seconds"] for made in found if isinstance(made.get("seconds"), int | float)]
    return {**together, "date": dates[:1] + dates[-1:] if len(dates) > 1 else dates, "seconds": round(sum(seconds), 1)}


def _values(found: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return sorted({str(made[name]) for made in found if name in made})
