"""Finds the audio files in a folder, and reads the labels that are in their names."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gemoclap.corpora.manifest import AUDIO_SUFFIXES, Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import as_on_disk
from gemoclap.wording import counted

logger = logging.getLogger(__name__)

Describe = Callable[[str, str], Utterance | None]
"""File name without suffix, and path -> labels. None if the name does not belong to the corpus."""

_BROWSER_COPY = re.compile(r".+ ?\(\d+\)")
"""Pattern of the name, without suffix, of a file that a browser has downloaded a second time: ``name (1)``."""


def require_folder(root: str | os.PathLike) -> Path:
    """Return `root` as a path, or raise a GemoclapError if it is not a folder."""
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise GemoclapError(f"{root}: {what}; give the folder that the corpus was unpacked into")
    return root


@dataclass
class Listing:
    """The audio files in a folder, and what was skipped.

    Attributes
    ----------
    files : sorted by path.
    passed_over : reason -> names of what was skipped.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, why: str, name: str) -> None:
        """Record that something is skipped."""
        self.passed_over.setdefault(why, []).append(name)

    @property
    def browser_copies(self) -> list[Path]:
        """Files with the name of a second download by a browser."""
        return [path for path in self.files if _BROWSER_COPY.fullmatch(path.stem)]

    def summary(self) -> str:
        """Return a sentence on what was skipped and why; empty if nothing was."""
        return ", ".join(f"{len(names)} {why} ({_few(names)})" for why, names in sorted(self.passed_over.items()))


def audio_below(folder: Path) -> Listing:
    """List the audio files in a folder and its sub-folders. All commands use this rule.

    Audio files have one of `AUDIO_SUFFIXES`. Links are followed. Each folder is entered only once, so loops of links end. Three
    kinds are skipped: hidden files, whose names begin with a dot, such as the ``._x.wav`` of macOS; what is not a file (pipes,
    devices, sockets, broken links); and files with other suffixes.
    """
    found = Listing()
    for current, folders, names in _walk(folder, found):
        for name in folders:
            if name.startswith("."):
                found.pass_over("hidden", name)
        for name in names:
            path = Path(current, name)
            if why := _why_not(path):
                found.pass_over(why, name)
            else:
                found.files.append(path)
    found.files.sort(key=str)
    return found


def files_named(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder with names such as ``*.txt``, sorted by path.

    Folders are entered as in `audio_below`, so linked ones too. Hidden files, pipes and devices are left out.
    """
    found = [
        Path(current, name)
        for current, _, names in _walk(folder, Listing())
        for name in fnmatch.filter(names, pattern)
        if not name.startswith(".")
    ]
    return sorted(path for path in found if path.is_file())


def _walk(folder: Path, found: Listing) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder once, with the sorted names of the folders and of everything else in it.

    Linked folders come last, so that the files of a folder with two paths get the real path.
    """
    entered: set[tuple[int, int]] = set()
    later: list[str] = [str(folder)]
    while later:
        pending, later = later, []
        while pending:
            current = pending.pop()
            try:
                about = os.stat(current)
                entries = sorted(os.scandir(current), key=lambda entry: entry.name)
            except OSError as error:
                found.pass_over(f"folder that cannot be opened: {error.strerror}", current)
                continue
            if (about.st_dev, about.st_ino) in entered:
                found.pass_over("folder that is linked twice", current)
                continue
            entered.add((about.st_dev, about.st_ino))
            folders: list[os.DirEntry[str]] = []
            others: list[os.DirEntry[str]] = []
            for entry in entries:
                (folders if _is_folder(entry) else others).append(entry)
            yield current, [entry.name for entry in folders], [entry.name for entry in others]
            open_ones = [entry for entry in folders if not entry.name.startswith(".")]
            pending += [entry.path for entry in reversed(open_ones) if not entry.is_symlink()]
            later += [entry.path for entry in reversed(open_ones) if entry.is_symlink()]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # this folder was entered before: it is a link in a loop
        return False


def _why_not(path: Path) -> str | None:
    """Return why something that is not a folder is skipped, or None if it is audio."""
    if path.name.startswith("."):
        return "hidden"
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        return "not audio by its suffix"
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "no file but a pipe, device or socket"
    except OSError:
        return "link to nothing" if path.is_symlink() else "that cannot be looked at"


def list_audio(folder: Path) -> list[Path]:
    """Return `audio_below` a folder, and print on standard error what was skipped.

    Raises
    ------
    GemoclapError : there is no audio below it.
    """
    found = audio_below(folder)
    passed = found.summary()
    if not found.files:
        rest = f"; passed over: {passed}" if passed else ""
        raise GemoclapError(f"{folder}: no audio files below it ({', '.join(AUDIO_SUFFIXES)}){rest}")
    if passed:
        logger.warning("%s: %s; passed over: %s", folder, counted(len(found.files), "audio file"), passed)
    if copies := found.browser_copies:
        logger.warning(
            "%s: %d of the files are called like second downloads (%s); check that they are not there twice",
            folder,
            len(copies),
            _few([path.name for path in copies]),
        )
    return found.files


def rows_of_folder(folder: Path) -> list[Utterance]:
    """Return a row without labels for each file of `list_audio`. Its id is the path. Raises the errors of `list_audio`."""
    return [Utterance(file, file) for file in map(str, list_audio(folder))]


def audio_by_stem(folder: Path) -> dict[str, Path]:
    """Return name without suffix -> file, for all files that `audio_below` finds in a folder.

    Some copies of a corpus have it twice. If several files have the same name, the one with the best format is used, and of
    these the one nearest to `folder`. Names are in composed characters (NFC), as in the corpora.
    """
    return _by_name(audio_below(folder).files, _stem)


def _by_name(files: list[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (_rank(path), len(path.parts), path)):
        found.setdefault(name_of(path), path)
    return found


def _stem(path: Path) -> str:
    return composed(path.stem)


def composed(name: str) -> str:
    """Return a name in composed characters: each letter with its accents is one character (NFC)."""
    return unicodedata.normalize("NFC", name)


def without_suffix(name: str) -> str:
    """Return a name without the suffix of an audio file, if it has one: ``"a.wav"`` -> ``"a"``, ``"s1.02"`` -> ``"s1.02"``."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in AUDIO_SUFFIXES else name


def _rank(path: Path) -> int:
    return AUDIO_SUFFIXES.index(path.suffix.lower())


def describe_by_name(
    pattern: re.Pattern[str], labels: Callable[[re.Match[str]], Mapping[str, Any]], **same: Any
) -> Describe:
    """Return a function that reads the labels of a clip from the name of its file.

    Parameters
    ----------
    pattern : regular expression for the whole name without its suffix. Other names do not belong to the corpus.
    labels : match -> fields of `Utterance`.
    same : fields that are the same for all clips, such as the corpus.
    """

    def describe(stem: str, path: str) -> Utterance | None:
        match = pattern.fullmatch(stem)
        return None if match is None else Utterance(id=stem, path=path, **same, **labels(match))

    return describe


def parse_by_name(
    root: str | os.PathLike, describe: Describe, expected: str, name_of: Callable[[Path], str] | None = None
) -> list[Utterance]:
    """Return a row for every audio file under `root` whose name `describe` recognises, sorted by name.

    What is skipped is printed on standard error: files that are not audio, and audio files with other names.

    Parameters
    ----------
    describe : gets the name and the path of a file.
    expected : the layout of the corpus, for the error message.
    name_of : name of a file that no other file of the corpus has; by default its name without suffix.

    Raises
    ------
    GemoclapError : there is no such folder, or no file in it has a name as in `expected`.
    """
    name_of = name_of or _stem
    listing = audio_below(require_folder(root))
    found = _by_name(listing.files, name_of)
    utterances = []
    for stem, path in sorted(found.items()):
        row = describe(stem, str(path))
        if row is not None:
            utterances.append(row)
        elif _BROWSER_COPY.fullmatch(stem):
            listing.pass_over("called like a second download", path.name)
        else:
            listing.pass_over("audio of another name", path.name)
    if not utterances:
        passed = listing.summary()
        raise GemoclapError(
            f"{root}: no {expected} here (audio files of other names: {len(found)})"
            + (f"; passed over: {passed}" if passed else "")
        )
    for path in listing.files:
        if found[name_of(path)] != path:
            listing.pass_over("second under the same name", path.name)
    if passed := listing.summary():
        logger.warning("%s: %s; passed over: %s", root, counted(len(utterances), "clip"), passed)
    return utterances


def _few(names: list[str]) -> str:
    """Return up to three names; or, for many files that are not audio, the number of files with each of three suffixes."""
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in names)
    shown, rest = names[:3], len(names) - 3
    if len(names) > 3 and not any(suffix in AUDIO_SUFFIXES for suffix in suffixes):
        frequent = suffixes.most_common(3)
        shown = [f"{suffix or 'without suffix'} {count}" for suffix, count in frequent]
        rest = len(names) - sum(count for _, count in frequent)
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


class AudioFinder:
    """Finds, under `root`, the audio files that the manifest of another toolkit names.

    The file at ``root/name`` is used if it exists. Otherwise a file beside it is used that differs in its suffix only, because
    tables name files without one, or corpora are converted. With `by_stem`, any file under `root` with the same name and any
    suffix is used. This is for corpora with unique file names. If there is none, the path is the one where the file should be,
    so that ``gemoclap inspect`` reports it.
    """

    def __init__(self, root: Path):
        self.root = root
        self._beside: dict[Path, dict[str, Path]] = {}

    def __call__(self, name: str, by_stem: bool = False) -> str:
        path = as_on_disk(self.root / name)
        if path.is_file():
            return str(path)
        if by_stem:
            return str(self._by_stem.get(composed(path.stem), path))
        plain = self.root / name.replace("\\", "/")
        return str(self._in_folder(as_on_disk(plain.parent)).get(composed(without_suffix(plain.name)), path))

    def _in_folder(self, folder: Path) -> dict[str, Path]:
        """Return name without suffix -> audio file, for the files in a folder. Each folder is looked at once."""
        if folder not in self._beside:
            there = folder.iterdir() if folder.is_dir() else ()
            audio = [path for path in there if _why_not(path) is None]
            self._beside[folder] = _by_name(audio, lambda path: composed(without_suffix(path.name)))
        return self._beside[folder]

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return audio_by_stem(self.root)
