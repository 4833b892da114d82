"""The files of settings that travel with the package, found by name: ``--config whisper``."""

from __future__ import annotations

from pathlib import Path

from gemoclap.errors import GemoclapError, did_you_mean

FOLDER = Path(__file__).parents[1] / "configs"


def names() -> list[str]:
    """Return the names of the files that travel with the package, such as ``whisper`` and ``gmp_tl/no_gender``."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("").as_posix()) for path in FOLDER.rglob("*.yaml"))


def find(name: str) -> Path:
    """Return the file that `name` means: a path, or else the name of a file that travels with the package.

    Raises
    ------
    GemoclapError : there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    known = names()
    if name in known:
        return FOLDER / f"{name}.yaml"
    near = did_you_mean(Path(name).name.removesuffix(".yaml"), known)
    raise GemoclapError(
        f"--config {name}: no such file, and no settings of that name come with gemoclap{near}; known: {', '.join(known)}"
    )
