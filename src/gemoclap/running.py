"""Measures how long work takes, without the time in which the process was stopped.

A clock of the operating system goes on while a process is stopped (Ctrl-Z, a signal, a suspended container). So the time is
counted in short pieces by a thread, and a piece that is much too long counts with its processor time alone.
"""

from __future__ import annotations

import os
import threading
import time

TICK = 0.5
"""Seconds between two looks at the clock."""
LONGEST = 2.0
"""A longer time between two looks means that the process was stopped, or that one call kept all threads from running."""


class _Clock:
    """Counts the seconds in which this process runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = 0.0
        self._wall, self._processor = time.perf_counter(), time.process_time()
        threading.Thread(target=self._tick, name="gemoclap-clock", daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK)
            self.seconds()

    def seconds(self) -> float:
        """Return the seconds counted so far."""
        with self._lock:
            wall, processor = time.perf_counter(), time.process_time()
            passed, worked = wall - self._wall, processor - self._processor
            # A call that keeps all threads from running works itself; a stopped process does not.
            self._counted += passed if passed <= LONGEST else min(passed, max(worked, TICK))
            self._wall, self._processor = wall, processor
            return self._counted


_clock: _Clock | None = None


def running_seconds() -> float:
    """Return the seconds for which this process has run since the first call; only differences have a meaning.

    A process that was forked counts from its own first call.
    """
    global _clock
    if _clock is None:
        _clock = _Clock()
    return _clock.seconds()


def _forget() -> None:
    """Drop the clock of the parent: its thread is not in a forked process, and its lock may be held there for ever."""
    global _clock
    _clock = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
