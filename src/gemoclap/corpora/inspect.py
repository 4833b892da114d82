"""Counts the contents of a manifest, and finds every fault in it."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gemoclap.audio import SAMPLE_RATE, SLACK_SECONDS, probe_audio, stream_audio
from gemoclap.cores import usable_cores
from gemoclap.corpora.manifest import DIMENSIONS, Utterance
from gemoclap.corpora.speakers import (
    label_spellings,
    natural,
    normal_name,
    one_spelling,
    row_speakers,
    shown_speakers,
    speaker_key,
)
from gemoclap.errors import VERY_SIMILAR, GemoclapError, did_you_mean
from gemoclap.labels import EMOTIONS, GENDERS, Vocabulary, folded

KINDS = {
    "missing": "audio file missing",
    "audio": "audio unusable",
    "span": "start and end wrong",
    "silent": "all samples zero",
    "channels": "channels cancel each other",
    "duplicate": "same audio twice",
    "label": "label outside the set",
    "speaker": "speaker missing",
    "spelling": "speaker or label spelt in two ways",
    "gender": "gender wrong",
}
"""Kind of fault -> its heading."""
UNKNOWN = "(none)"
"""Rows without a label, speaker, gender or session are counted under this name."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fault:
    """One fault of one row. `row` counts from 1. `kind` is a key of `KINDS`. `message` says what is wrong and what to do."""

    row: int
    id: str
    kind: str
    message: str


@dataclass(frozen=True)
class Inspection:
    """Result of `inspect`.

    Attributes
    ----------
    rows : number of utterances.
    emotions, speakers, genders, sessions, partitions : value -> number of rows. Unknown values are called ``(none)``. Speakers
        of several corpora are called ``corpus/speaker``.
    dimensions : valence, arousal and dominance, if a row has them -> number of rows, min, mean and max.
    votes : number of rows with votes of raters.
    emotion_gender : emotion -> gender -> number of rows.
    hours, duration : length of the audio that could be read, in total; and its min, mean, median and max in seconds. `duration`
        is empty if nothing could be read.
    sample_rates, channels : value -> number of rows whose audio could be read.
    faults : all faults, sorted by row.
    """

    rows: int
    emotions: dict[str, int]
    speakers: dict[str, int]
    genders: dict[str, int]
    sessions: dict[str, int]
    partitions: dict[str, int]
    dimensions: dict[str, dict[str, float]]
    votes: int
    emotion_gender: dict[str, dict[str, int]]
    hours: float
    duration: dict[str, float]
    sample_rates: dict[int, int]
    channels: dict[int, int]
    faults: list[Fault] = field(default_factory=list)

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Decoded:
    """Result of decoding the audio of a row: its faults as (kind, message), and the other fields if it could be read."""

    faults: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    digest: bytes = b""


def inspect(
    utterances: Sequence[Utterance],
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
    *,
    speakers: bool = True,
) -> Inspection:
    """Count the rows of a manifest and find every fault in them. All audio is decoded as in training.

    Parameters
    ----------
    vocabulary : labels must be in it after its merges. The default is `labels.EMOTIONS`.
    progress : called with (finished rows, all rows) after each row.
    speakers : whether rows must have speakers. Files that were found in a folder have none.

    Rows without a label or a gender are counted, but this is no fault. Two rows have the same audio if their files have the
    same bytes, or if only their samples are equal.
    """
    decoded = _decode_all(utterances, progress)
    readable = [one for one in decoded if one.sample_rate]
    seconds = [one.seconds for one in readable]
    faults = [
        *_audio_faults(utterances, decoded),
        *_duplicates(utterances, decoded),
        *_label_faults(utterances, vocabulary),
        *(_speaker_faults(utterances) if speakers else ()),
        *_spelling_faults(utterances),
        *_label_spelling_faults(utterances),
    ]
    names = row_speakers(utterances, shown_speakers(utterances))
    joined = one_spelling(utterances)
    return Inspection(
        rows=len(utterances),
        emotions=_counts(utterance.emotion for utterance in joined),
        speakers=_counts(names),
        genders=_counts(utterance.gender for utterance in utterances),
        sessions=_counts(utterance.session for utterance in utterances),
        partitions=_counts(utterance.partition for utterance in utterances),
        dimensions=_dimensions(utterances),
        votes=sum(utterance.votes is not None for utterance in utterances),
        emotion_gender=_emotion_gender(joined),
        hours=sum(seconds) / 3600,
        duration=_duration(seconds),
        sample_rates=dict(sorted(Counter(one.sample_rate for one in readable).items())),
        channels=dict(sorted(Counter(one.channels for one in readable).items())),
        faults=sorted(faults, key=lambda fault: (fault.row, list(KINDS).index(fault.kind))),
    )


def _decode_all(utterances: Sequence[Utterance], progress: Progress | None) -> list[_Decoded]:
    decoded = []
    # Threads are enough, because decoding, resampling and hashing release the lock of the interpreter.
    pool = ThreadPoolExecutor(usable_cores())
    try:
        for one in pool.map(_decode, utterances):
            decoded.append(one)
            if progress is not None:
                progress(len(decoded), len(utterances))
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the whole corpus
    return decoded


def _decode(utterance: Utterance) -> _Decoded:
    if not Path(utterance.path).exists():
        return _Decoded((("missing", f"{utterance.path}: no such audio file; correct the path or remove the row"),))
    try:
        info = probe_audio(utterance.path)
        problem = _span_problem(utterance, info.duration)
        if problem:
            return _Decoded((("span", f"{utterance.path}: {problem}; correct the row"),))
        samples, silent, cancel, digest = _summary(utterance)
    except GemoclapError as error:
        return _Decoded((("audio", str(error)),))
    fault = _sound_fault(utterance, silent, cancel)
    return _Decoded(
        faults=(fault,) if fault else (),
        seconds=samples / SAMPLE_RATE,
        sample_rate=info.sample_rate,
        channels=info.channels,
        digest=b"" if silent else digest,
    )


def _sound_fault(utterance: Utterance, silent: bool, channels_cancel: bool) -> tuple[str, str] | None:
    if channels_cancel:
        cure = "keep one of them: ffmpeg -i IN -af 'pan=mono|c0=c0' OUT.wav"
        return "channels", f"{utterance.path}: its channels cancel each other when they are mixed; {cure}"
    if silent:
        return "silent", f"{utterance.path}: every sample is zero; record or copy it again, or drop the row"
    return None


def _summary(utterance: Utterance) -> tuple[int, bool, bool, bytes]:
    """Return the number of samples at 16 kHz, whether all are zero, whether channels cancel, and a hash of the samples."""
    samples, silent, digest = 0, True, hashlib.blake2b()
    with stream_audio(utterance.path, utterance.start, utterance.end) as stream:
        for block in stream:
            samples += len(block)
            silent = silent and not block.any()
            digest.update(block.data)
        return samples, silent, stream.channels_cancel, digest.digest()


def _span_problem(utterance: Utterance, duration: float) -> str | None:
    start, end = utterance.start or 0.0, duration if utterance.end is None else utterance.end
    if start < 0:
        return f"start {start:.10g} s is negative"
    if start >= end:
        return f"start {start:.10g} s is not before end {end:.10g} s"
    if end > duration + SLACK_SECONDS:
        return f"end {end:.10g} s is beyond the end of the file, which has {duration:.3f} s"
    return None


def _audio_faults(utterances: Sequence[Utterance], decoded: Sequence[_Decoded]) -> Iterator[Fault]:
    for row, (utterance, one) in enumerate(zip(utterances, decoded, strict=True), 1):
        yield from (Fault(row, utterance.id, kind, message) for kind, message in one.faults)


def _duplicates(utterances: Sequence[Utterance], decoded: Sequence[_Decoded]) -> Iterator[Fault]:
    first: dict[bytes, int] = {}
    for row, (utterance, one) in enumerate(zip(utterances, decoded, strict=True), 1):
        if not one.digest:
            continue
        other = first.setdefault(one.digest, row)
        if other != row:
            twin = utterances[other - 1]
            how = _likeness(utterance, twin)
            yield Fault(
                row, utterance.id, "duplicate", f"{utterance.path}: {how} row {other} ({twin.id}); drop one of them"
            )


def _likeness(utterance: Utterance, twin: Utterance) -> str:
    if os.path.realpath(utterance.path) == os.path.realpath(twin.path):
        return "the same stretch of the same file as"
    return "byte-identical to" if filecmp.cmp(utterance.path, twin.path, shallow=False) else "the same audio as"


def _label_faults(utterances: Sequence[Utterance], vocabulary: Vocabulary | None) -> Iterator[Fault]:
    for row, utterance in enumerate(utterances, 1):
        for word in utterance.votes or ():
            if word not in EMOTIONS and (vocabulary is None or vocabulary.resolve(word) is None):
                yield Fault(
                    row,
                    utterance.id,
                    "label",
                    f"votes: {word!r} {_unknown_word(word)}",
                )
        label = utterance.emotion
        if label is None:
            continue
        if label not in EMOTIONS and (vocabulary is None or vocabulary.resolve(label) is None):
            yield Fault(row, utterance.id, "label", f"label {label!r} {_unknown_word(label)}")
        elif vocabulary is not None and vocabulary.resolve(label) is None:
            known = ", ".join(vocabulary.emotions)
            message = f"label {label!r} is outside {vocabulary.name} ({known}); training leaves it out"
            yield Fault(row, utterance.id, "label", message)


def _unknown_word(word: str) -> str:
    """Return what is to be said of a word that is not in `EMOTIONS`. Corpora in other languages have such words too."""
    return f"is not a word for an emotion that gemoclap knows{did_you_mean(word, list(EMOTIONS), VERY_SIMILAR)}"


def _speaker_faults(utterances: Sequence[Utterance]) -> Iterator[Fault]:
    first: dict[str, tuple[int, str]] = {}
    for row, utterance in enumerate(utterances, 1):
        speaker, gender = utterance.speaker, utterance.gender
        if speaker is None:
            yield Fault(row, utterance.id, "speaker", "no speaker is named; folds cannot keep the row on one side")
        if gender is None:
            continue
        if gender not in GENDERS:
            yield Fault(
                row, utterance.id, "gender", f"gender {gender!r} is not female or male; use these words or null"
            )
        elif speaker is not None:
            other, known = first.setdefault(speaker_key(utterance), (row, gender))
            if known != gender:
                message = f"speaker {speaker!r} is {gender} here and {known} in row {other}; correct one of them"
                yield Fault(row, utterance.id, "gender", message)


def _spelling_faults(utterances: Sequence[Utterance]) -> Iterator[Fault]:
    """Report speakers whose names are similar, at the first row of each. They may be the same person."""
    first: dict[tuple[str, str], dict[str, int]] = {}
    for row, utterance in enumerate(utterances, 1):
        if utterance.speaker:
            corpus, _, speaker = speaker_key(utterance).partition("/")
            first.setdefault((corpus, _without_marks(speaker)), {}).setdefault(utterance.speaker, row)
    for spellings in first.values():
        (known, earlier), *others = spellings.items()
        for speaker, row in others:
            one = normal_name(speaker) == normal_name(known)
            what = "is taken for" if one else "is another person than"
            cure = f"spell them alike{_in_accents(speaker, known)}" if one else "if they are one, spell them alike"
            message = f"speaker {speaker!r} {what} {known!r} of row {earlier}; {cure}"
            yield Fault(row, utterances[row - 1].id, "spelling", message)


def _label_spelling_faults(utterances: Sequence[Utterance]) -> Iterator[Fault]:
    """Report labels that differ in case, blanks or the form of accents only, at the first row of each spelling."""
    spellings = label_spellings(utterances)
    seen: set[str] = set()
    for row, utterance in enumerate(utterances, 1):
        for word in (utterance.emotion, *(utterance.votes or ())):
            if word is None or word in seen:
                continue
            seen.add(word)
            if (known := spellings[folded(word)]) != word:
                message = f"label {word!r} is taken for {known!r}; spell them alike{_in_accents(word, known)}"
                yield Fault(row, utterance.id, "spelling", message)


def _in_accents(word: str, known: str) -> str:
    """Return a remark if two names look the same."""
    same = unicodedata.normalize("NFC", word) == unicodedata.normalize("NFC", known)
    return " (they look the same: accents are stored in two ways, NFC and NFD)" if same else ""


def _without_marks(name: str) -> str:
    """Return a key that is equal for similar names: the letters without accents, and the numbers without leading zeros."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if letter.isalnum())
    return re.sub(r"0+(?=\d)", "", re.sub(r"(?<=\d)(?=\D)|(?<=\D)(?=\d)", " ", letters))


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    counts = Counter(UNKNOWN if value is None else value for value in values)
    return {value: counts[value] for value in sorted(counts, key=natural)}


def _emotion_gender(utterances: Sequence[Utterance]) -> dict[str, dict[str, int]]:
    emotions = sorted({utterance.emotion or UNKNOWN for utterance in utterances})
    return {emotion: _counts(u.gender for u in utterances if (u.emotion or UNKNOWN) == emotion) for emotion in emotions}


def _dimensions(utterances: Sequence[Utterance]) -> dict[str, dict[str, float]]:
    found = {}
    for dimension in DIMENSIONS:
        if values := [value for row in utterances if (value := getattr(row, dimension)) is not None]:
            mean = statistics.fmean(values)
            found[dimension] = {"rows": len(values), "min": min(values), "mean": mean, "max": max(values)}
    return found


def _duration(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {
        "min": min(seconds),
        "mean": statistics.fmean(seconds),
        "median": statistics.median(seconds),
        "max": max(seconds),
    }
