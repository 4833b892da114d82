"""The clock of durations: it stands still while the process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from gemoclap.running import LONGEST, running_seconds

STOPPED = 2 * LONGEST
WORKER = """
import sys, time
from gemoclap.running import running_seconds
begun, wall = running_seconds(), time.monotonic()
print("ready", flush=True)
sys.stdin.readline()
print(running_seconds() - begun, time.monotonic() - wall, flush=True)
"""


FORKED = """
import os, signal, time
from gemoclap import running
running.running_seconds()
with running._clock._lock:  # as while its thread looks at the clock
    child = os.fork()
    if not child:
        signal.alarm(20)
        begun = running.running_seconds()
        time.sleep(1.5 * running.LONGEST)
        print(running.running_seconds() - begun, flush=True)
        os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_process_counts_for_itself() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=30, check=True)
    assert float(done.stdout) == pytest.approx(1.5 * LONGEST, abs=0.5)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no processes")
def test_the_time_in_which_a_process_is_stopped_does_not_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(STOPPED)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate("\n")
    counted, wall = map(float, said.split())
    assert wall >= STOPPED and counted < wall - STOPPED / 2


def test_waiting_and_working_count() -> None:
    begun, wall = running_seconds(), time.perf_counter()
    time.sleep(0.3)
    while time.perf_counter() - wall < 0.6:
        pass
    passed = time.perf_counter() - wall
    assert running_seconds() - begun == pytest.approx(passed, abs=0.2)


def test_a_call_that_lets_no_other_thread_run_counts() -> None:
    begun, wall, worked = running_seconds(), time.perf_counter(), time.process_time()
    sum(range(150_000_000))  # one call into C, which keeps Python's lock
    passed, worked = time.perf_counter() - wall, time.process_time() - worked
    if passed <= LONGEST:
        pytest.skip("this machine is too fast for the call to take long")
    assert running_seconds() - begun >= 0.9 * min(passed, worked)
