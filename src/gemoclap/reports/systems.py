"""Reads the systems that `gemoclap compare` compares: methods of runs, and predictions of other toolkits, clip by clip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path, PurePosixPath

from gemoclap.corpora.manifest import AUDIO_SUFFIXES, Utterance
from gemoclap.corpora.speakers import normal_name, speaker_name
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import read_json
from gemoclap.predictions import PREDICTIONS
from gemoclap.recipes.other_folders import CROSSVAL, other_folder
from gemoclap.recipes.run_folder import CONFIG, seed_folders, tested_seeds
from gemoclap.reports.dimensions import is_dimension_run
from gemoclap.reports.joined import joined
from gemoclap.reports.others import read_answers, s3prl_files
from gemoclap.reports.records import Results, Row
from gemoclap.reports.results import collect
from gemoclap.reports.rows import tables_of

FEW = 3
"""Number of clips that a message names."""


@dataclass(frozen=True)
class System:
    """What one system answered for each clip, and what its files say about the clips.

    Attributes
    ----------
    name : name in the tables.
    source : file or folder, as the user named it.
    answers : clip -> answer, one mapping for each seed.
    seeds : the seeds, if there are several; otherwise empty.
    truth, speakers, genders : clip -> value, for the clips where the files say it.
    classes : the system's classes in order; empty if the files do not list them.
    is_adapted : whether it was adapted to speakers or recordings, so that an answer depends on other clips too.
    """

    name: str
    source: str
    answers: tuple[Mapping[str, str], ...]
    seeds: tuple[int, ...] = ()
    truth: Mapping[str, str] = field(default_factory=dict)
    speakers: Mapping[str, str] = field(default_factory=dict)
    genders: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    is_adapted: bool = False

    @property
    def clips(self) -> set[str]:
        """The clips that the system has answered, with every seed."""
        return set.intersection(*(set(one) for one in self.answers))


def read_systems(
    arguments: Sequence[str], utterances: Sequence[Utterance] = (), labels: Sequence[str] = ()
) -> list[System]:
    """Return the systems that the arguments of `gemoclap compare` name, in their order.

    Parameters
    ----------
    arguments : each is ``SOURCE``, ``SOURCE:METHOD`` or ``NAME=SOURCE``. A source is the folder of a cross-validation (every
        method is a system), of several seeds (a system is the mean over them), of an evaluation, or predictions of another
        toolkit (`others.read_answers`).
    utterances : rows of a manifest; clips of other toolkits are matched with its ids and files.
    labels : names of the classes of files that have numbers.

    Raises
    ------
    GemoclapError : a source does not exist, is none of these, has no such method, or is named twice.
    """
    parts = [_parts(argument) for argument in arguments]
    of_runs = {one: _run_systems(*one) for one in parts if is_run(Path(one[1]))}
    _refuse_twice(parts)
    names = ClipNames(utterances, [system for systems in of_runs.values() for system in systems])
    found: list[System] = []
    for one in parts:
        found += of_runs[one] if one in of_runs else [_file_system(*one, names, labels)]
        names.learn(found[-1].clips)
    return _named_apart(found)


def _parts(argument: str) -> tuple[str, str, str]:
    """Return name, source and method of an argument; name and method are empty if not given."""
    name, equals, rest = argument.partition("=")
    if not equals or "/" in name or Path(argument).exists():  # a folder may be called runs/lr=0.1
        name, rest = "", argument
    source, colon, method = rest.rpartition(":")
    if not colon or Path(rest).exists():
        source, method = rest, ""
    if not Path(source).exists():
        raise GemoclapError(
            f"{source}: no such file or folder; name a run's folder, RUN:METHOD, or a file of predictions"
        )
    return name, source, method


def _refuse_twice(parts: Sequence[tuple[str, str, str]]) -> None:
    """Refuse a system that is named twice: it would be compared with itself, and p be corrected for too many pairs."""
    for (_, source, method), (_, other, its_method) in combinations(parts, 2):
        if Path(source).resolve() == Path(other).resolve() and (method == its_method or not (method and its_method)):
            raise GemoclapError(f"{other}: is named twice; name each system once")


# Runs.


def is_run(source: Path) -> bool:
    """Whether a folder is that of a run, or of several seeds of a run."""
    return (source / CONFIG).is_file() or bool(seed_folders(source))


def read_run(folder: Path) -> Results:
    """Return the results of a run, or those of several seeds together.

    Raises
    ------
    GemoclapError : the folder is not that of a run of emotions, or as `collect` and `joined`.
    """
    if not is_run(folder):
        what = other_folder(folder) or f"is not the folder of a cross-validation; {CROSSVAL}"
        raise GemoclapError(f"{folder}: {what}")
    if is_dimension_run(folder):
        raise GemoclapError(f"{folder}: is a run of dimensions, which has no classes to compare; name runs of emotions")
    return collect(folder) if (folder / CONFIG).is_file() else joined(tested_seeds(folder), folder)


def _run_systems(name: str, source: str, method: str) -> list[System]:
    results = read_run(Path(source))
    rows = [row for row in results.rows if not method or method in _called(row)]
    if not rows:
        known = [row.first.folder.name for row in results.rows]
        raise GemoclapError(
            f"{source}: has no method {method!r}{did_you_mean(method, known)}; it has {', '.join(known)}"
        )
    finished = [row for row in rows if row.scores is not None]
    if not finished:
        raise GemoclapError(f"{source}: no fold of {method} is finished yet; run its command again")
    titles = [name if len(finished) == 1 else f"{name}: {row.title}" for row in finished]
    return [
        replace(_row_system(row, title if name else row.title, source, results.classes), is_adapted=results.is_adapted)
        for row, title in zip(finished, titles, strict=True)
    ]


def _called(row: Row) -> set[str]:
    return {row.name, row.title, row.first.folder.name}


def _row_system(row: Row, name: str, source: str, classes: tuple[str, ...]) -> System:
    tables = tables_of(list(row.members.values()))
    for table in tables:
        if len(set(table.ids)) < len(table):
            twice = next(one for one in table.ids if table.ids.count(one) > 1)
            raise GemoclapError(
                f"{source}: clip {twice!r} is tested in several folds; compare runs that test each once"
            )
    first = tables[0]
    return System(
        name,
        source,
        answers=tuple(dict(zip(table.ids, table.prediction, strict=True)) for table in tables),
        seeds=row.seeds,
        truth=dict(zip(first.ids, first.truth, strict=True)),
        speakers=_known(first.ids, first.speakers),
        genders=_known(first.ids, first.genders),
        classes=classes,
    )


def _known(clips: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    return {clip: value for clip, value in zip(clips, values, strict=True) if value is not None}


# Predictions of other toolkits.


class ClipNames:
    """Finds the clip that another toolkit means: it may name the file, with its folder, or put the corpus in front."""

    def __init__(self, utterances: Sequence[Utterance], systems: Sequence[System]) -> None:
        self.names: dict[str, str] = {}
        self.plain: dict[str, str | None] = {}
        self.learn(clip for system in systems for clip in system.clips)
        self.learn(row.id for row in utterances)
        for row in utterances:
            # A manifest may have several parts of one file.
            plain = _plain(str(row.path))
            self.plain[plain] = row.id if self.plain.get(plain, row.id) == row.id else None

    def learn(self, clips: Iterable[str]) -> None:
        """Add clips by their own names."""
        for clip in clips:
            if clip not in self.names:
                self.names[clip] = clip
                plain = _plain(clip)
                self.plain[plain] = None if plain in self.plain else clip

    def find(self, name: str) -> str:
        """Return the known clip of that name, or else the name itself."""
        plain = _plain(name)
        spellings = (
            self.names.get(name),
            self.names.get(_without_suffix(name).as_posix()),
            self.plain.get(plain),
            self.plain.get(plain.partition("_")[2]),
        )
        return next((one for one in spellings if one), name)


def _without_suffix(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path


def _plain(name: str) -> str:
    """Return the name of a file without folder and suffix; EmoBox has hyphens where CREMA-D has underscores."""
    return re.sub(r"[-_]+", "_", _without_suffix(name).name)


def _file_system(name: str, source: str, method: str, names: ClipNames, labels: Sequence[str]) -> System:
    path = Path(source)
    if method:
        raise GemoclapError(
            f"{source}: is not the folder of a run, so it has no method {method!r}; leave out ':{method}'"
        )
    if path.is_dir() and (path / PREDICTIONS).is_file():
        path = path / PREDICTIONS
    elif path.is_dir() and not s3prl_files(path):
        no_run = f"has no {CONFIG} of a run, no {PREDICTIONS} and no *_predict.txt of S3PRL; name another folder"
        raise GemoclapError(f"{source}: {other_folder(path) or no_run}")
    rows = read_answers(path, labels)
    rows = [replace(row, clip=names.find(row.clip)) for row in rows]
    answers = {row.clip: row.answer for row in rows}
    if len(answers) < len(rows):
        twice = next(row for row in rows if sum(other.clip == row.clip for other in rows) > 1)
        raise GemoclapError(f"{twice.where}: several rows are about clip {twice.clip!r}; keep one of them")
    return System(
        name or (Path(source).name if path.is_dir() or path.name == PREDICTIONS else path.stem),
        source,
        answers=(answers,),
        truth={row.clip: row.truth for row in rows if row.truth is not None},
        speakers=_one_spelling({row.clip: row.speaker for row in rows if row.speaker is not None}),
        genders={row.clip: row.gender for row in rows if row.gender is not None},
        is_adapted=_is_adapted_evaluation(path.parent / "scores.json"),
    )


def _is_adapted_evaluation(scores: Path) -> bool:
    """Whether the predictions beside a scores.json are of `gemoclap evaluate --adapt`."""
    return scores.is_file() and read_json(scores, "evaluate again").get("adapt", "none") != "none"


def _one_spelling(speakers: Mapping[str, str]) -> dict[str, str]:
    """Return clip -> speaker, with every name spelt as where it occurs first; upper and lower case are the same name."""
    first: dict[str, str] = {}
    return {clip: first.setdefault(normal_name(speaker), speaker) for clip, speaker in speakers.items()}


def manifest_facts(utterances: Sequence[Utterance]) -> System:
    """Return what a manifest says about its clips, in the form of a system that has answered nothing."""
    return System(
        "manifest",
        "manifest",
        answers=({},),
        truth={row.id: row.emotion for row in utterances if row.emotion is not None},
        speakers={row.id: speaker_name(row) for row in utterances if row.speaker},
        genders={row.id: row.gender for row in utterances if row.gender},
    )


def _named_apart(systems: Sequence[System]) -> list[System]:
    """Return the systems with names that differ: where two are alike, the source is added, and then a number."""
    plain = Counter(system.name for system in systems)
    names: list[str] = []
    for system in systems:
        name = f"{system.name} ({system.source})" if plain[system.name] > 1 else system.name
        spellings = (name, *(f"{name} {number}" for number in range(2, len(systems) + 1)))
        names.append(next(one for one in spellings if one not in names))
    return [replace(system, name=name) for system, name in zip(systems, names, strict=True)]


def clips_by_name(names: Iterable[str]) -> Iterator[str]:
    """Yield a few names of clips in order, for messages."""
    listed = sorted(names)
    yield from listed[:FEW]
    if len(listed) > FEW:
        yield "..."
