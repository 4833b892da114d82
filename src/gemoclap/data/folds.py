"""Who trains, who develops, who is tested: no speaker stands on two sides unless that is asked for by name.

Everything here is deterministic without a seed: the same manifest and settings give the same folds on every machine.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.fold_files import read_fold_files
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import Vocabulary

logger = logging.getLogger(__name__)

USUAL_FOLDS = 5
"""Number of groups of speakers where nobody says another."""


@dataclass(frozen=True)
class Fold:
    """One split of a corpus; `name` can serve as a folder's name."""

    name: str
    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]

    @property
    def hash(self) -> str:
        """Twelve hex digits that change when any part gains or loses an id; the order of rows does not matter."""
        parts = (("train", self.train), ("dev", self.dev), ("test", self.test))
        lines = [line for name, rows in parts for line in (name, *sorted(row.id for row in rows))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]

    @property
    def shared_speakers(self) -> tuple[str, ...]:
        """Speakers in more than one of train, dev and test, sorted."""
        sides = Counter(speaker for part in (self.train, self.dev, self.test) for speaker in _speakers(part))
        return tuple(sorted((speaker for speaker, count in sides.items() if count > 1), key=natural))


def make_folds(utterances: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary) -> list[Fold]:
    """Divide the utterances whose label is in `vocabulary` into folds, as ``settings.folds`` says.

    ``session`` and ``speaker`` leave one out; ``kfold`` puts whole speakers into `n_folds` groups (`balanced_groups`);
    ``lists`` and ``files`` take the test speakers, or the very ids, from the user. With `dev_speakers`, that many
    speakers leave each fold's training part for its development part (`_with_dev`).

    Raises
    ------
    GemoclapError : no label is in the vocabulary; a speaker or session that is needed is not known; a fold without a
        training or test part, or without a training utterance of some class; a speaker on two sides of a split, unless
        ``allow_speaker_overlap``; a setting that does not fit the corpus.
    """
    rows = _labelled(utterances, vocabulary)
    may_be_unnamed = settings.allow_speaker_overlap and settings.folds in ("session", "files")
    if settings.dev_speakers or not may_be_unnamed:
        _require(rows, "speaker")
    folds = _divide(rows, utterances, settings, vocabulary)
    if settings.dev_speakers:
        folds = [_with_dev(fold, settings.dev_speakers, turn, vocabulary) for turn, fold in enumerate(folds)]
    for fold in folds:
        _check(fold, settings, vocabulary)
    return folds


def undivided(utterances: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary) -> Fold:
    """Return one fold that tests nobody: every utterance whose label is in `vocabulary`, less `dev_speakers` speakers.

    Raises
    ------
    GemoclapError : no label is in the vocabulary, a class has no training utterance, or the development speakers cannot
        be spared.
    """
    fold = Fold("all", tuple(_labelled(utterances, vocabulary)), (), ())
    if settings.dev_speakers:
        _require(fold.train, "speaker")
        fold = _with_dev(fold, settings.dev_speakers, 0, vocabulary)
    _check_classes(fold, vocabulary)
    return fold


def _labelled(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> list[Utterance]:
    rows = [row for row in utterances if vocabulary.resolve(row.emotion) is not None]
    if not rows:
        seen = ", ".join(sorted({row.emotion for row in utterances if row.emotion})) or "none"
        raise GemoclapError(
            f"no utterance has a label of vocabulary {vocabulary.name!r} ({', '.join(vocabulary.emotions)}); "
            f"labels in the manifest: {seen}; choose another with --data.vocabulary or --data.emotions"
        )
    return rows


def _divide(
    rows: list[Utterance], utterances: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary
) -> list[Fold]:
    """Return folds without development parts (but those of `fold_files`) by the kind that is set."""
    if settings.folds == "files":
        return _folds_from_files(rows, utterances, settings.fold_files)
    if settings.folds == "session":
        _require(rows, "session")
        return _leave_one_out(rows, "session", lambda row: row.session)
    if settings.folds == "speaker":
        return _leave_one_out(rows, "speaker", lambda row: row.speaker)
    if settings.folds == "lists":
        groups = _checked_lists(rows, settings.test_speakers)
    else:
        number = USUAL_FOLDS if settings.n_folds is None else settings.n_folds
        groups = balanced_groups(rows, number, vocabulary)
    return [_test_on(f"fold_{number}", rows, set(group)) for number, group in enumerate(groups, 1)]


def _require(rows: Iterable[Utterance], field: str) -> None:
    """Raise unless every row has the `field` speaker or session."""
    missing = [row.id for row in rows if not getattr(row, field)]
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        other = " or choose --data.folds kfold" if field == "session" else ""
        raise GemoclapError(
            f"{len(missing)} row(s) of the manifest have no {field} ({named}); fill the field {field!r} in{other}"
        )


def _leave_one_out(rows: list[Utterance], kind: str, group_of: Callable[[Utterance], str | None]) -> list[Fold]:
    groups = sorted({str(group_of(row)) for row in rows}, key=natural)
    if len(groups) < 2:
        raise GemoclapError(
            f"the manifest has one {kind} only ({groups[0]!r}), so none can be left out; choose another --data.folds"
        )
    return [
        Fold(
            # Percent-encoded, so that two names never become one folder.
            name=f"{kind}_{quote(group, safe='')}",
            train=tuple(row for row in rows if group_of(row) != group),
            dev=(),
            test=tuple(row for row in rows if group_of(row) == group),
        )
        for group in groups
    ]


def _test_on(name: str, rows: list[Utterance], speakers: set[str]) -> Fold:
    train = tuple(row for row in rows if row.speaker not in speakers)
    return Fold(name, train, (), tuple(row for row in rows if row.speaker in speakers))


def _checked_lists(rows: list[Utterance], lists: list[list[str]] | None) -> list[list[str]]:
    """Return the lists of test speakers after a look at whether each speaker exists and is tested once."""
    if not lists or not all(lists):
        raise GemoclapError("--data.folds lists needs --data.test_speakers, one list of speakers a fold and none empty")
    known = _speakers(rows)
    for speaker, times in Counter(speaker for group in lists for speaker in group).items():
        if speaker not in known:
            raise GemoclapError(
                f"test speaker {speaker!r} has no utterance in the manifest{did_you_mean(speaker, known)}; speakers: "
                f"{', '.join(known)}; name others with --data.test_speakers, or give --data.folds kfold"
            )
        if times > 1:
            raise GemoclapError(f"test speaker {speaker!r} is listed {times} times in data.test_speakers; list it once")
    return lists


def balanced_groups(rows: Sequence[Utterance], number: int, vocabulary: Vocabulary) -> list[list[str]]:
    """Put whole speakers into `number` groups alike in emotions, genders and number of speakers.

    Ours rather than scikit-learn's StratifiedGroupKFold, which looks at the emotions alone: the largest speakers go
    first, each to the group where the sum of the squared group shares (of each class, of each gender's speakers, of the
    speakers) grows least; then any two speakers of different groups change places while that lowers the sum.

    Raises
    ------
    GemoclapError : fewer than two groups, or fewer speakers than groups.
    """
    speakers = _speakers(rows)
    if not 2 <= number <= len(speakers):
        raise GemoclapError(
            f"data.n_folds is {number}, but {len(speakers)} speaker(s) allow 2 to {len(speakers)} folds; "
            "set --data.n_folds"
        )
    shares = _speaker_shares(rows, speakers, vocabulary)
    sizes = Counter(row.speaker for row in rows)
    place_of = np.full(len(speakers), -1)
    totals = np.zeros((number, shares.shape[1]))
    for speaker in sorted(range(len(speakers)), key=lambda index: -sizes[speakers[index]]):
        # (a + s)^2 - a^2 = 2as + s^2, where only the first term differs between groups; it is 0 for an empty one alone,
        # so no group stays empty.
        place_of[speaker] = int(np.argmin(totals @ shares[speaker]))
        totals[place_of[speaker]] += shares[speaker]
    _exchange_places(place_of, totals, shares)
    return [[speakers[index] for index in np.flatnonzero(place_of == group)] for group in range(number)]


def _speaker_shares(rows: Sequence[Utterance], speakers: list[str], vocabulary: Vocabulary) -> np.ndarray:
    """Return (S, classes + genders + 1): the share of each class, each gender and all speakers that a speaker is."""
    place = {speaker: index for index, speaker in enumerate(speakers)}
    emotions = np.zeros((len(speakers), len(vocabulary.emotions)))
    genders = np.zeros((len(speakers), 2))
    for row in rows:
        emotions[place[str(row.speaker)], vocabulary.emotions.index(str(vocabulary.resolve(row.emotion)))] += 1
        if row.gender is not None:
            genders[place[str(row.speaker)], int(row.gender == "male")] = 1
    everything = np.concatenate([emotions, genders, np.ones((len(speakers), 1))], axis=1)
    return everything / np.maximum(everything.sum(axis=0), 1)


def _exchange_places(place_of: np.ndarray, totals: np.ndarray, shares: np.ndarray) -> None:
    """Let pairs of speakers change groups while the sum of squares falls by more than rounding."""
    better = True
    while better:
        better = False
        for one in range(len(shares)):
            for two in range(one + 1, len(shares)):
                here, there = place_of[one], place_of[two]
                move = shares[two] - shares[one]
                if here != there and 2 * move @ (totals[here] - totals[there] + move) < -1e-9:
                    totals[here] += move
                    totals[there] -= move
                    place_of[one], place_of[two] = there, here
                    better = True


def _folds_from_files(rows: list[Utterance], utterances: Sequence[Utterance], folder: str | None) -> list[Fold]:
    if folder is None:
        raise GemoclapError("--data.folds files needs --data.fold_files, the folder that holds fold_1, fold_2, ...")
    wanted = {row.id: row for row in rows}
    files = read_fold_files(Path(folder), known={row.id for row in utterances})
    used = {name for parts in files.values() for ids in parts.values() for name in ids}
    left = [row.id for row in rows if row.id not in used]
    if left:
        logger.warning("%s: %d row(s) of the manifest are in no fold: %s", folder, len(left), ", ".join(left[:5]))
    folds = []
    for name, parts in files.items():
        train, dev, test = (
            tuple(wanted[one] for one in parts.get(part, ()) if one in wanted) for part in ("train", "valid", "test")
        )
        folds.append(Fold(name, train, dev, test))
    return folds


def _with_dev(fold: Fold, count: int, turn: int, vocabulary: Vocabulary) -> Fold:
    """Move `count` training speakers to the development part.

    Genders alternate and, with the fold's number `turn`, other speakers come first. Of the choices in that order the
    first is taken that leaves every class in training and has every class, or else the most, in development.

    Raises
    ------
    GemoclapError : the fold brings its own development part, or no choice leaves every class in training.
    """
    if fold.dev:
        raise GemoclapError(f"{fold.name}: the fold files bring a development part; set --data.dev_speakers 0")
    tested = set(_speakers(fold.test))
    candidates = [row for row in fold.train if row.speaker not in tested]
    order = _alternating(candidates, turn)
    best, most = None, 0
    for shift in range(len(order)):
        chosen = {order[(shift + step) % len(order)] for step in range(count)}
        dev = tuple(row for row in fold.train if row.speaker in chosen)
        train = tuple(row for row in fold.train if row.speaker not in chosen)
        classes = len(_classes(dev, vocabulary))
        if classes > most and len(chosen) == count and _classes(train, vocabulary) == _classes(fold.train, vocabulary):
            best, most = replace(fold, train=train, dev=dev), classes
    if best is None:
        raise GemoclapError(
            f"{fold.name}: taking {count} development speaker(s) of its {len(order)} training speakers leaves "
            "some class without training utterances; lower --data.dev_speakers"
        )
    return best


def _alternating(rows: Sequence[Utterance], turn: int) -> list[str]:
    """Return the speakers, genders alternating; each gender's begin at a place that moves on with `turn`."""
    gender_of = {str(row.speaker): row.gender for row in rows}
    queues = []
    for gender in sorted(set(gender_of.values()), key=str):
        queue = [speaker for speaker in sorted(gender_of, key=natural) if gender_of[speaker] == gender]
        queues.append(queue[turn % len(queue) :] + queue[: turn % len(queue)])
    # An odd number of development speakers has one more of this gender in one fold, of the other in the next.
    queues = queues[turn % len(queues) :] + queues[: turn % len(queues)] if queues else []
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def _check(fold: Fold, settings: DataSettings, vocabulary: Vocabulary) -> None:
    for part, rows in (("training", fold.train), ("test", fold.test)):
        if not rows:
            raise GemoclapError(f"{fold.name}: the {part} part is empty; choose other folds (--data.folds)")
    _check_classes(fold, vocabulary)
    shared = fold.shared_speakers
    if shared and not settings.allow_speaker_overlap:
        named = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise GemoclapError(
            f"{fold.name}: {len(shared)} speaker(s) stand on both sides of the split ({named}); choose other folds, or "
            "accept it with --data.allow_speaker_overlap true"
        )


def _check_classes(fold: Fold, vocabulary: Vocabulary) -> None:
    missing = set(vocabulary.emotions) - _classes(fold.train, vocabulary)
    if missing:
        raise GemoclapError(
            f"{fold.name}: class {min(missing)!r} has no utterance in training; choose other folds (--data.folds, "
            "--data.n_folds) or classes without it (--data.emotions)"
        )


def _speakers(rows: Iterable[Utterance]) -> list[str]:
    return sorted({row.speaker for row in rows if row.speaker}, key=natural)


def _classes(rows: Iterable[Utterance], vocabulary: Vocabulary) -> set[str]:
    return {resolved for row in rows if (resolved := vocabulary.resolve(row.emotion)) is not None}


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 2 before 10: ``sorted(names, key=natural)``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def speaker_name(utterance: Utterance) -> str:
    """Return ``"corpus/speaker"``, by which a model remembers whom it was trained on."""
    return f"{utterance.corpus or 'unnamed'}/{utterance.speaker or 'unknown'}"
