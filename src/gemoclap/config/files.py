"""Settings files that are installed with the package; ``--config whisper`` finds one by its name."""

from __future__ import annotations

from pathlib import Path

from gemoclap.errors import GemoclapError, did_you_mean

FOLDER = Path(__file__).parents[1] / "configs"


def names() -> list[str]:
    """Return the names of the settings files in the package, such as ``whisper`` and ``gmp_tl/no_gender``."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("").as_posix()) for path in FOLDER.rglob("*.yaml"))


def find(name: str) -> Path:
    """Return the settings file called `name`: a path, or the name of a file in the package.

    Raises
    ------
    GemoclapError : no such file exists in either place.
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
