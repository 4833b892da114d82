"""Several corpora in one experiment: their utterances and labels, what two of them share, and one manifest of some together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance, write_manifest
from gemoclap.corpora.speakers import common_speakers, normal_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.reading import labels_left_out, read_data
from gemoclap.encoders.provenance import named_speakers
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.recipes.run_folder import LONGEST_WHOLE_NAME, short_name

TOGETHER = "+"
"""Stands between the names of corpora that are trained on together."""


@dataclass(frozen=True)
class Corpus:
    """One of the corpora.

    Attributes
    ----------
    name : name of its manifest, without .jsonl.
    data : the settings that it was read with, with the corpus's defaults filled in.
    vocabulary : its classes.
    rows : utterances with a class; their label is replaced by the class.
    left_out : label -> number of utterances, for labels that are no class.
    """

    name: str
    data: DataSettings
    vocabulary: Vocabulary
    rows: tuple[Utterance, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that have utterances, in the order of the vocabulary."""
        present = {row.emotion for row in self.rows}
        return tuple(label for label in self.vocabulary.emotions if label in present)

    def of(self, labels: Sequence[str]) -> list[Utterance]:
        """Return the utterances of some classes."""
        return [row for row in self.rows if row.emotion in labels]

    def settings_for(self, labels: Sequence[str]) -> DataSettings:
        """Return the settings for reading this corpus with only some of its classes."""
        merges = {label: into for label, into in self.vocabulary.merges.items() if into in labels}
        return replace(self.data, vocabulary=None, emotions=list(labels), merges=merges)


@dataclass(frozen=True)
class Pair:
    """What is trained on and what is tested on, with the labels that are used.

    Attributes
    ----------
    trained : name of a corpus, or of several that are trained on together, ``"emodb+nemo"``.
    tested : name of a corpus.
    labels : those that both sides have.
    together : the names of the corpora that are trained on together, if there are several.
    """

    trained: str
    tested: str
    labels: tuple[str, ...]
    together: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder."""
        return short_name(f"{short_name(self.trained)}_to_{self.tested}", LONGEST_WHOLE_NAME)

    @property
    def is_empty(self) -> bool:
        """Whether there are fewer than two labels."""
        return len(self.labels) < 2


def read_corpora(data: DataSettings, manifests: Sequence[str], has_folds: bool = False) -> dict[str, Corpus]:
    """Return the corpora by name; `has_folds` as for `read_data`."""
    corpora: dict[str, Corpus] = {}
    for manifest in manifests:
        name = Path(manifest).stem
        if name in corpora:
            raise GemoclapError(
                f"{manifest}: another manifest is called {name} too, which is its name here; rename one"
            )
        utterances, vocabulary, read = read_data(replace(data, manifest=manifest), has_folds)
        classes = [(row, vocabulary.resolve(row.emotion)) for row in utterances]
        rows = tuple(replace(row, emotion=label) for row, label in classes if label is not None)
        corpora[name] = Corpus(name, read, vocabulary, rows, labels_left_out(utterances, vocabulary))
    if len(corpora) < 2:
        raise GemoclapError("one corpus alone has nothing to be tested on; name two or more manifests")
    return corpora


def pair_of(one: Corpus, other: Corpus) -> Pair:
    theirs = set(other.labels)
    return Pair(one.name, other.name, tuple(label for label in one.labels if label in theirs))


def shared_speakers(corpora: dict[str, Corpus], data: DataSettings) -> list[str]:
    """Return a warning for every two corpora that share speakers, or raise a GemoclapError if this is not allowed."""
    return [
        _overlap(
            f"{len(both)} speaker(s) of {one.name} are in {other.name} too ({min(both)})",
            "remove them from one manifest, or if they are other people give its rows another corpus (field 'corpus', or "
            "--corpus of 'gemoclap prepare')",
            data,
        )
        for one, other in combinations(corpora.values(), 2)
        if (both := common_speakers(named_speakers(one.rows), named_speakers(other.rows)))
    ]


def same_names(corpora: dict[str, Corpus]) -> list[str]:
    """Return a warning for every two corpora whose utterances name the same corpus, or none.

    If they are trained on together, they count as one: which classes an utterance is compared with, and how often a corpus is
    drawn with `train.balance_corpora`, depend on this name.
    """
    names = {name: {normal_name(row.corpus or "") for row in one.rows} for name, one in corpora.items()}
    return [
        f"in the manifests of {one} and {other}, utterances have the same corpus ({min(both) or 'none'}), so the two count as "
        "one corpus if they are trained on together"
        for one, other in combinations(corpora, 2)
        if (both := names[one] & names[other])
    ]


def same_sound(corpora: dict[str, Corpus], store: AudioStore, data: DataSettings) -> list[str]:
    """Return a warning for every two corpora that share audio under any file names, or raise an error as for speakers."""
    keys = {name: {store.content_key(row): row.id for row in one.rows} for name, one in corpora.items()}
    return [
        _overlap(
            f"{len(both)} clip(s) of {one.name} sound the same as clips of {other.name} "
            f"({keys[one.name][min(both)]} is {keys[other.name][min(both)]} there)",
            "remove them from one manifest",
            data,
        )
        for one, other in combinations(corpora.values(), 2)
        if (both := keys[one.name].keys() & keys[other.name].keys())
    ]


def _overlap(what: str, cure: str, data: DataSettings) -> str:
    if not data.allow_speaker_overlap:
        raise GemoclapError(
            f"{what}: they would be in training and in test; {cure}, or accept it with --data.allow_speaker_overlap true"
        )
    return f"{what}: the figures of these two are not speaker-independent"


def left_out_pair(corpora: dict[str, Corpus], tested: str) -> Pair:
    """Return the pair that is trained on all corpora but one and tested on that one.

    A label is used if the tested corpus and one of the others have it. A corpus that shares fewer than two labels with the
    tested one is left out, because there would be nothing to tell apart in it.
    """
    target = corpora[tested]
    others = sorted(name for name in corpora if name != tested and not pair_of(corpora[name], target).is_empty)
    found = {label for name in others for label in corpora[name].labels}
    if len(others) == 1:
        return pair_of(corpora[others[0]], target)  # the same training as that of the pair
    labels = tuple(label for label in target.labels if label in found)
    return Pair(TOGETHER.join(others), tested, labels, tuple(others))


def write_together(corpora: Sequence[Corpus], target: Path) -> Path:
    """Write one manifest of several corpora, in which each utterance has the class of its own corpus; return its path.

    Where two corpora use an id for different utterances, all ids get the name of their corpus in front.
    """
    rows = [(one, row) for one in corpora for row in one.rows]
    is_clear = len({row.id for _, row in rows}) == len(rows)
    write_manifest(
        [_alone(one, row if is_clear else replace(row, id=f"{one.name}/{row.id}")) for one, row in rows], target
    )
    return target


def _alone(corpus: Corpus, row: Utterance) -> Utterance:
    """Return an utterance whose votes are for classes of its corpus, because the merges of another do not count for it."""
    if not row.votes:
        return row
    counts = zip(corpus.vocabulary.emotions, corpus.vocabulary.counts(row.votes), strict=True)
    return replace(row, votes={label: count for label, count in counts if count} or None)
