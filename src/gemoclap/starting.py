"""Lets a command answer sooner: imports that wait until they are needed, and no garbage collector during the others."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def imported_later(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, which imports a name only when it is asked for.

    Parameters
    ----------
    homes : name -> the module that it is imported from.
    """

    def named(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return named


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
