"""Work that several processes share through one folder: each takes what no other is at, by file locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.training.distributed import process_state

Result = TypeVar("Result")


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
    locks = folder / "locks"
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


def refuse_torchrun(what: str) -> None:
    """Raise a GemoclapError where `what`, such as ``"a comparison"``, was started as several processes that act as one."""
    if process_state().num_processes > 1:
        raise GemoclapError(
            f"{what} shares its work without torchrun or 'accelerate launch'; start the same command again in another "
            "terminal, on a machine with several GPUs with CUDA_VISIBLE_DEVICES set"
        )
