"""Lets a command answer sooner: Python's garbage collector is off during its many imports."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def many_imports() -> Iterator[None]:
    """Switch the garbage collector off while torch and transformers are imported and a model is loaded.

    The imports make hundreds of thousands of objects, which live as long as the process. The collector would go through them
    again and again as they become more, and once more when the process ends. That takes a quarter of the CPU time of a first
    answer (docs/performance.md). After the block it is on again, and skips all objects that exist by then.

    It is for commands, whose process is their own. Where torch is imported already, nothing changes.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # before it is on again, because it would begin with all that is new
        gc.enable()
