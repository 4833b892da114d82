"""What corpora on disk have in common: audio found by its stem, and rows that a file's name alone describes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError

AUDIO_SUFFIXES = (".wav", ".flac", ".aiff", ".aif", ".ogg", ".opus", ".mp3", ".m4a", ".mp4")
"""What counts as audio, the best first: CREMA-D ships each clip as wav and as mp3, and the wav is the one to take."""

Describe = Callable[[str, str], Utterance | None]
"""Stem and path -> what the name of a corpus's file says, or None when the name is not of that corpus."""


def require_folder(root: str | os.PathLike) -> Path:
    """Return `root` as a path, or raise a GemoclapError when it is no folder."""
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise GemoclapError(f"{root}: {what}; give the folder that the corpus was unpacked into")
    return root


def audio_by_stem(folder: Path) -> dict[str, Path]:
    """Return stem -> file for all audio under `folder`, hidden files left out, links followed.

    Of several files with one stem it keeps the one of the best format, then the nearest to `folder`; some
    redistributions hold a corpus twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(_audio_under(folder), key=lambda path: (_rank(path), len(path.parts), path)):
        found.setdefault(path.stem, path)
    return found


def _audio_under(folder: Path) -> list[Path]:
    files: list[Path] = []
    seen: set[str] = set()
    for current, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            files += [Path(current, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]


def _rank(path: Path) -> int:
    return AUDIO_SUFFIXES.index(path.suffix.lower())


def parse_by_name(root: str | os.PathLike, describe: Describe, expected: str) -> list[Utterance]:
    """Return a row for every audio file under `root` that `describe` knows by its stem, sorted by stem.

    Raises
    ------
    GemoclapError : no such folder, or nothing in it is named as `expected`.
    """
    found = audio_by_stem(require_folder(root))
    rows = [describe(stem, str(path)) for stem, path in sorted(found.items())]
    utterances = [row for row in rows if row is not None]
    if not utterances:
        raise GemoclapError(f"{root}: no {expected} here (audio files of other names: {len(found)})")
    return utterances


class AudioFinder:
    """Finds under `root` the audio that another toolkit's manifest names.

    A file at ``root/name`` is taken as it is. With `by_stem`, for corpora whose stems are unique, a file of that stem
    anywhere under `root` serves as well, whatever its suffix. What is found nowhere keeps the path where it should be,
    so that ``gemoclap inspect`` can name it.
    """

    def __init__(self, root: Path):
        self.root = root

    def __call__(self, name: str, by_stem: bool = False) -> str:
        path = self.root / name
        if path.is_file() or not by_stem:
            return str(path)
        return str(self._by_stem.get(path.stem, path))

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return audio_by_stem(self.root)
