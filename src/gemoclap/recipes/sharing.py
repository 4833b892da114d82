"""Work that several processes share through one folder: each takes what no other is at, by file locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.recipes.holding import holding
from gemoclap.recipes.run_folder import claim
from gemoclap.training.distributed import process_state

Result = TypeVar("Result")
LOCKS = "locks"
"""Folder of one lock a job."""


def share(jobs: Mapping[str, Callable[[], Result]], folder: Path, say: Callable[[str], None]) -> list[Result]:
    """Do all jobs: first those that no other process is at, then, when it is done with them, a look at the others'.

    So a job is called in every process, in those that come later when it is finished: it must find its own result and return
    that. A process that is killed lets go of its lock, and the job is taken over by one that waits for it.

    Parameters
    ----------
    jobs : by names that are the same in all processes and may stand in a file's name, but for spaces.
    folder : of all processes, on one machine or shared by several; gets ``locks/``.
    say : is told of each job as it begins.

    Returns
    -------
    What the jobs return, in their order.
    """
    locks = folder / LOCKS
    locks.mkdir(exist_ok=True)
    results: dict[str, Result] = {}
    for waits in (False, True):
        for number, (name, job) in enumerate(jobs.items(), 1):
            if name in results:
                continue
            lock = FileLock(locks / f"{name.replace(' ', '_')}.lock")
            if waits:
                say(f"waiting for another process: {name}")
            try:
                lock.acquire(blocking=waits)
            except Timeout:
                continue
            try:
                say(f"{number} of {len(jobs)}: {name}")
                results[name] = job()
            finally:
                lock.release()
    return [results[name] for name in jobs]


def claim_together(folder: Path, config: Mapping[str, Any], methods: Sequence[str]) -> None:
    """Claim a folder that several processes share; they do it by turns.

    Raises
    ------
    GemoclapError : as `run_folder.claim`, or another command holds the folder alone.
    """
    with holding(folder, brief=True):
        claim(folder, config, methods)
        # From now on it is the folder of a run that has begun, so that none with other settings takes it.
        (folder / LOCKS).mkdir(exist_ok=True)


def refuse_torchrun(what: str) -> None:
    """Raise a GemoclapError where `what`, such as ``"a comparison"``, was started as several processes that act as one."""
    if process_state().num_processes > 1:
        raise GemoclapError(
            f"{what} shares its work without torchrun or 'accelerate launch'; start the same command again in another "
            "terminal, on a machine with several GPUs with CUDA_VISIBLE_DEVICES set"
        )
