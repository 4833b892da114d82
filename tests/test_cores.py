"""The number of cores is that of the process, not of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gemoclap.cores import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can bind a process to a core")
def test_a_process_on_one_core_counts_one() -> None:
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); from gemoclap.cores import usable_cores; print(usable_cores())"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "1\n"
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
