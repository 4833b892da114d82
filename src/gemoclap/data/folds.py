"""Folds: decides which speakers are for training, development or test. No speaker is in two parts unless asked for.

Speakers belong to their corpus: speaker 10 of EmoDB and speaker 10 of RAVDESS are two people. If all rows are from one corpus,
a speaker is called by the name alone, otherwise ``"corpus/speaker"`` (`corpora.speakers.shown_speakers`).

Nothing here is random, so there is no seed. The same manifest and settings give the same folds on every machine.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import natural, normal_name, row_speakers, shown_speakers, speaker_key
from gemoclap.data.balance import balanced_groups
from gemoclap.data.fold_files import read_fold_files
from gemoclap.data.partitions import KEEP, divide_by_partition
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import as_bytes
from gemoclap.labels import Vocabulary
from gemoclap.wording import counted
from gemoclap.writing import NOT_UTF8

logger = logging.getLogger(__name__)

USUAL_FOLDS = 5
"""Default number of groups of speakers."""


@dataclass(frozen=True)
class Fold:
    """One split of a corpus. `name` is valid as the name of a folder."""

    name: str
    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]

    @property
    def rows(self) -> tuple[Utterance, ...]:
        """The utterances of all parts."""
        return (*self.train, *self.dev, *self.test)

    @property
    def hash(self) -> str:
        """Twelve hex digits. They change if any part gains or loses an id. The order of rows does not matter."""
        parts = (("train", self.train), ("dev", self.dev), ("test", self.test))
        lines = [line for name, rows in parts for line in (name, *sorted(row.id for row in rows))]
        return hashlib.sha256(as_bytes("\n".join(lines))).hexdigest()[:12]

    @property
    def shared_speakers(self) -> tuple[str, ...]:
        """The speakers that are in more than one of train, dev and test, sorted."""
        parts = (self.train, self.dev, self.test)
        sides = Counter(key for part in parts for key in _keys(part))
        shared = {key for key, count in sides.items() if count > 1}
        if not shared:
            return ()
        shown = shown_speakers(row for part in parts for row in part)
        return tuple(name for key, name in shown.items() if key in shared)


def rows_of(folds: Iterable[Fold]) -> list[Utterance]:
    """Return the utterances of folds, each once, in the order in which they come first."""
    return list({row.id: row for fold in folds for row in fold.rows}.values())


def make_folds(utterances: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary) -> list[Fold]:
    """Divide the utterances whose label is in `vocabulary` into folds, as ``settings.folds`` says.

    ``session`` and ``speaker`` test on one session or speaker in each fold. ``kfold`` puts whole speakers into `n_folds` groups
    (`balanced_groups`). ``lists`` takes the test speakers from the user, and ``files`` the ids. ``partitions`` takes the
    division that comes with the corpus (`divide_by_partition`). With `dev_speakers`, so many speakers are moved from the
    training part of each fold to its development part (`_with_dev`).

    Raises
    ------
    GemoclapError : no label is in the vocabulary; a row lacks the speaker or session that is needed; a fold has no training or
        test part, or no training utterance of some class; a speaker is on two sides of a split, and
        ``allow_speaker_overlap`` is false; or a setting does not fit the corpus.
    """
    rows = _labelled(utterances, vocabulary)
    may_be_unnamed = settings.allow_speaker_overlap and settings.folds in ("session", "files")
    if settings.dev_speakers or not (may_be_unnamed or settings.folds == "partitions"):
        _require(rows, "speaker")
    folds = _divide(rows, utterances, settings, vocabulary)
    if settings.dev_speakers:
        folds = [_with_dev(fold, settings.dev_speakers, turn, vocabulary) for turn, fold in enumerate(folds)]
    for fold in folds:
        _check(fold, rows, settings, vocabulary)
    return folds


def undivided(utterances: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary) -> Fold:
    """Return one fold without a test part. All utterances with a label in `vocabulary` are for training or development.

    Raises
    ------
    GemoclapError : no label is in the vocabulary; a class has no training utterance; or there are too few speakers for
        `dev_speakers`.
    """
    fold = Fold("all", tuple(_labelled(utterances, vocabulary)), (), ())
    if settings.dev_speakers:
        _require(fold.train, "speaker")
        fold = _with_dev(fold, settings.dev_speakers, 0, vocabulary)
    _check_classes(fold, fold.train, vocabulary)
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
    """Return folds of the kind that the settings name. A development part is there if files or the corpus have one."""
    if settings.folds == "files":
        return _folds_from_files(rows, utterances, settings.fold_files)
    if settings.folds == "partitions":
        train, dev, test = divide_by_partition(rows, settings.test_partitions, settings.allow_speaker_overlap)
        return [Fold("fold_1", train, dev, test)]
    if settings.folds == "session":
        _require(rows, "session")
        return _leave_one_out(rows, "session", [str(row.session) for row in rows])
    shown = shown_speakers(rows)
    if settings.folds == "speaker":
        return _leave_one_out(rows, "speaker", [str(name) for name in row_speakers(rows, shown)])
    if settings.folds == "lists":
        groups = _checked_lists(list(shown.values()), settings.test_speakers)
        _say_untested(list(shown.values()), groups)
    else:
        number = USUAL_FOLDS if settings.n_folds is None else settings.n_folds
        groups = balanced_groups(rows, number, vocabulary)
    speakers = row_speakers(rows, shown)
    return [_test_on(f"fold_{number}", rows, speakers, set(group)) for number, group in enumerate(groups, 1)]


def _require(rows: Iterable[Utterance], field: str) -> None:
    """Raise a GemoclapError unless every row has the `field`, which is speaker or session."""
    missing = [row.id for row in rows if not getattr(row, field)]
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        other = (
            " or choose --data.folds kfold"
            if field == "session"
            else "; if nobody knows who speaks, the name of the recording keeps its clips on one side"
        )
        raise GemoclapError(
            f"{len(missing)} row(s) of the manifest have no {field} ({named}); fill the field {field!r} in{other}"
        )


def _leave_one_out(rows: list[Utterance], kind: str, groups_of_rows: list[str]) -> list[Fold]:
    groups = sorted(set(groups_of_rows), key=natural)
    if len(groups) < 2:
        raise GemoclapError(
            f"the manifest has one {kind} only ({groups[0]!r}), so none can be left out; choose another --data.folds"
        )
    # Percent-encoded, so that two names never become one folder.
    return [
        _test_on(f"{kind}_{quote(group, safe='', errors=NOT_UTF8)}", rows, groups_of_rows, {group}) for group in groups
    ]


def _test_on(name: str, rows: list[Utterance], groups: Sequence[str | None], tested: set[str]) -> Fold:
    """Return the fold whose test part is the rows with an entry of `groups` that is in `tested`."""
    train = tuple(row for row, group in zip(rows, groups, strict=True) if group not in tested)
    return Fold(name, train, (), tuple(row for row, group in zip(rows, groups, strict=True) if group in tested))


def _checked_lists(known: list[str], lists: list[list[str]] | None) -> list[list[str]]:
    """Return the lists of test speakers with the names in `known`. Check that each speaker exists and is listed once."""
    if not lists or not all(lists):
        raise GemoclapError("--data.folds lists needs --data.test_speakers, one list of speakers a fold and none empty")
    found = [[_named(speaker, known) for speaker in group] for group in lists]
    for speaker, times in Counter(speaker for group in found for speaker in group).items():
        if times > 1:
            raise GemoclapError(f"test speaker {speaker!r} is listed {times} times in data.test_speakers; list it once")
    return found


def _say_untested(known: list[str], groups: list[list[str]]) -> None:
    """Warn of speakers who are in no test part. With one list, this is what it is for."""
    untested = [name for name in known if not any(name in group for group in groups)]
    if untested and len(groups) > 1:
        named = ", ".join(untested[:5]) + (", ..." if len(untested) > 5 else "")
        logger.warning("data.test_speakers: trained on in every fold, and never tested: %s", named)


def _named(speaker: str, known: list[str]) -> str:
    """Return the names in `known` that a given name can mean. With several corpora, CORPUS/ can be left out."""
    key = normal_name(speaker)
    same = [name for name in known if normal_name(name) == key]
    fitting = same or [name for name in known if normal_name(name).endswith(f"/{key}")]
    if len(fitting) > 1:
        raise GemoclapError(f"test speaker {speaker!r} may be {' or '.join(fitting)}; write CORPUS/SPEAKER")
    if not fitting:
        raise GemoclapError(
            f"test speaker {speaker!r} has no utterance in the manifest{did_you_mean(speaker, known)}; speakers: "
            f"{', '.join(known)}; name others with --data.test_speakers, or give --data.folds kfold"
        )
    return fitting[0]


def _folds_from_files(rows: list[Utterance], utterances: Sequence[Utterance], folder: str | None) -> list[Fold]:
    if folder is None:
        raise GemoclapError("--data.folds files needs --data.fold_files, the folder with fold_1, fold_2, ...")
    wanted = {row.id: row for row in rows}
    files = read_fold_files(Path(folder), known={row.id for row in utterances})
    used = {name for parts in files.values() for ids in parts.values() for name in ids}
    left = [row.id for row in rows if row.id not in used]
    if left:
        logger.warning(
            "%s: in no fold: %s of the manifest (%s)", folder, counted(len(left), "row"), ", ".join(left[:5])
        )
    folds = []
    for name, parts in files.items():
        train, dev, test = (
            tuple(wanted[one] for one in parts.get(part, ()) if one in wanted) for part in ("train", "valid", "test")
        )
        folds.append(Fold(name, train, dev, test))
    return folds


def _with_dev(fold: Fold, count: int, turn: int, vocabulary: Vocabulary) -> Fold:
    """Move `count` training speakers to the development part.

    Genders alternate. Which speaker comes first depends on the number of the fold, `turn`. Several choices are tried in this
    order. One is possible if every class is left in training. The first of these is taken that has all classes in development,
    or else the first with the most classes.

    Raises
    ------
    GemoclapError : the fold has a development part already, or no choice leaves every class in training.
    """
    if fold.dev:
        raise GemoclapError(f"{fold.name}: the folds bring a development part of their own; set --data.dev_speakers 0")
    tested = _keys(fold.test)
    shown = shown_speakers([*fold.train, *fold.test])
    speakers = row_speakers(fold.train, shown)
    candidates = [row for row in fold.train if speaker_key(row) not in tested]
    order = _alternating(candidates, shown, turn)
    classes_of: dict[str | None, Counter[str]] = {}
    for row, speaker in zip(fold.train, speakers, strict=True):
        if (resolved := vocabulary.resolve(row.emotion)) is not None:
            classes_of.setdefault(speaker, Counter())[resolved] += 1
    everywhere = sum(classes_of.values(), Counter[str]())
    best, most = None, 0
    for shift in range(len(order)):
        chosen = {order[(shift + step) % len(order)] for step in range(count)}
        taken = sum((classes_of.get(speaker, Counter()) for speaker in chosen), Counter[str]())
        if len(taken) > most and len(chosen) == count and all(taken[one] < everywhere[one] for one in everywhere):
            best, most = chosen, len(taken)
        if most == len(everywhere):
            break
    if best is None:
        raise GemoclapError(
            f"{fold.name}: taking {count} development speaker(s) of its {len(order)} training speakers leaves "
            "some class without training utterances; lower --data.dev_speakers"
        )
    dev = tuple(row for row, speaker in zip(fold.train, speakers, strict=True) if speaker in best)
    return replace(
        fold, train=tuple(row for row, who in zip(fold.train, speakers, strict=True) if who not in best), dev=dev
    )


def _alternating(rows: Sequence[Utterance], shown: dict[str, str], turn: int) -> list[str]:
    """Return the speakers with alternating genders. The first speaker of each gender depends on `turn`."""
    gender_of = {str(name): row.gender for name, row in zip(row_speakers(rows, shown), rows, strict=True)}
    queues = []
    for gender in sorted(set(gender_of.values()), key=str):
        queue = [speaker for speaker in sorted(gender_of, key=natural) if gender_of[speaker] == gender]
        queues.append(queue[turn % len(queue) :] + queue[: turn % len(queue)])
    # If the number is odd, one gender has one speaker more. It alternates from fold to fold.
    queues = queues[turn % len(queues) :] + queues[: turn % len(queues)] if queues else []
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def _check(fold: Fold, rows: Sequence[Utterance], settings: DataSettings, vocabulary: Vocabulary) -> None:
    for part, inside in (("training", fold.train), ("test", fold.test)):
        if not inside:
            raise GemoclapError(f"{fold.name}: the {part} part is empty; choose other folds (--data.folds)")
    _check_classes(fold, rows, vocabulary)
    shared = fold.shared_speakers
    if shared and not settings.allow_speaker_overlap:
        named = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise GemoclapError(
            f"{fold.name}: {len(shared)} speaker(s) are on both sides of the split ({named}); choose other folds, or "
            "accept it with --data.allow_speaker_overlap true"
        )


def _check_classes(fold: Fold, rows: Sequence[Utterance], vocabulary: Vocabulary) -> None:
    """Raise a GemoclapError unless every class is trained on; `rows` = all that could be in the fold."""
    missing = set(vocabulary.emotions) - _classes(fold.train, vocabulary)
    found = _classes(rows, vocabulary)
    if missing - found:  # other folds would not help
        raise GemoclapError(
            f"class {min(missing - found)!r} has no utterance; there are only {', '.join(sorted(found))}; choose classes that "
            "the manifest has with --data.emotions"
        )
    if outside := missing - _classes(fold.rows, vocabulary):
        left = [row for row in rows if vocabulary.resolve(row.emotion) == min(outside)]
        nameless = sum(not row.speaker for row in left)
        why = f", {nameless} of them without a speaker (kept {KEEP})" if nameless else ""
        raise GemoclapError(
            f"{fold.name}: class {min(outside)!r} is in no part of the fold; left out: {counted(len(left), 'utterance')} of "
            f"it{why}; choose classes without it (--data.emotions), or other folds (--data.folds)"
        )
    if missing:
        raise GemoclapError(
            f"{fold.name}: class {min(missing)!r} has no utterance in training; choose other folds (--data.folds, "
            "--data.n_folds) or classes without it (--data.emotions)"
        )


def _keys(rows: Iterable[Utterance]) -> set[str]:
    """Return the `speaker_key` of each speaker of `rows` that has a name."""
    return {speaker_key(row) for row in rows if row.speaker}


def _classes(rows: Iterable[Utterance], vocabulary: Vocabulary) -> set[str]:
    return {resolved for row in rows if (resolved := vocabulary.resolve(row.emotion)) is not None}
