"""Shares work between several processes through one folder, with file locks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.recipes.holding import holding
from gemoclap.recipes.run_folder import LONGEST_WHOLE_NAME, claim, short_name
from gemoclap.training.distributed import process_state

Result = TypeVar("Result")
LOCKS, CELLS = "locks", "cells"
"""Folders of a table: one lock per job, and the runs of its cells."""


def share(
    jobs: Mapping[str, Callable[[], Result]], folder: str | os.PathLike, say: Callable[[str], None]
) -> list[Result]:
    """Do all jobs: first those that no other process is working on; then, when these are finished, those of the others.

    So every process calls every job, sometimes after another process has finished it. The job must then find its result and
    return it. If a process is killed, its lock is released, and a process that waits for it does the job.

    Parameters
    ----------
    jobs : name -> job. Names are the same in all processes, and valid in file names apart from spaces.
    folder : a folder that all processes share, on one machine or several. Locks are in its sub-folder ``locks/``.
    say : called with a line at the start of each job.

    Returns
    -------
    The results of the jobs, in the order of `jobs`.
    """
    folder = Path(folder)
    locks = folder / LOCKS
    locks.mkdir(exist_ok=True)
    results: dict[str, Result] = {}
    for waits in (False, True):
        for number, (name, job) in enumerate(jobs.items(), 1):
            if name in results:
                continue
            lock = FileLock(locks / f"{short_name(name.replace(' ', '_'), LONGEST_WHOLE_NAME)}.lock")
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
    """Claim a folder that several processes share. They do so one after the other.

    Raises
    ------
    GemoclapError : as `run_folder.claim`, or another command has locked the folder.
    """
    with holding(folder, brief=True):
        claim(folder, config, methods)
        # From now on the folder belongs to this run, and a run with other settings is refused.
        (folder / LOCKS).mkdir(exist_ok=True)


def refuse_torchrun(what: str) -> None:
    """Raise a GemoclapError if `what`, such as ``"a comparison"``, was started as one distributed run (torchrun)."""
    if process_state().num_processes > 1:
        raise GemoclapError(
            f"{what} shares its work without torchrun or 'accelerate launch'; start the same command again in another "
            "terminal, on a machine with several GPUs with CUDA_VISIBLE_DEVICES set"
        )
