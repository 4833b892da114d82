"""Lets a command answer sooner: its many imports are spared the search for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def many_imports() -> Iterator[None]:
    """Do not look for garbage while torch and transformers are imported and a model is loaded.

    The imports make hundreds of thousands of objects, which live as long as the process. Python would go through them again and
    again while there are more and more of them, and once more when the process ends. That takes a quarter of the CPU time of a
    first answer (docs/performance.md). After the block the search is on again, and leaves out all that exists by then.

    It is for commands, whose process is their own. Where torch is imported already, nothing changes.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # before the search is on again, which would begin with all that is new
        gc.enable()
