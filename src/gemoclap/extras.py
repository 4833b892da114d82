"""Packages that only some commands need, so that an installation may lack them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gemoclap.errors import GemoclapError


def needed(module: str, what: str, package: str | None = None) -> Any:
    """Import a module of an optional package and return it.

    It is called where the module is used, so that every other command runs without the package.

    Parameters
    ----------
    module : such as ``"matplotlib.figure"``.
    what : what needs it, as the message begins: ``"a picture"``.
    package : what pip installs, where that is not the first word of `module`.

    Raises
    ------
    GemoclapError : the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        lacking = (error.name or root).partition(".")[0]
        # Where the package is there, one that it needs itself may be missing.
        package = package or root if lacking == root else lacking
        raise GemoclapError(f"{what} needs the package {package}: pip install {package}") from None


def lacking(error: ModuleNotFoundError) -> str:
    """Return what to say where a package is missing that is no extra, as in an installation for `OnnxPredictor` alone."""
    package = (error.name or "?").partition(".")[0]
    return f"the package {package} is missing, and commands need all that gemoclap depends on: pip install gemoclap"
