"""Makes rows of a manifest from corpora on disk: one parser per corpus, and the formats of other toolkits.

A new corpus is one file with ``parse(root) -> list[Utterance]`` and one line of `CORPORA`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gemoclap.corpora import (
    cremad,
    emodb,
    emovo,
    esd,
    iemocap,
    meld,
    msppodcast,
    nemo,
    ravdess,
    savee,
    synthetic,
    tess,
)
from gemoclap.corpora.audformat_io import read_audformat, write_audformat
from gemoclap.corpora.csv_io import read_csv_manifest, write_csv_manifest
from gemoclap.corpora.emobox import read_emobox, write_emobox
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.s3prl import read_s3prl
from gemoclap.corpora.values import known
from gemoclap.errors import GemoclapError, did_you_mean


@dataclass(frozen=True)
class KnownCorpus:
    """A corpus that `prepare` reads.

    Attributes
    ----------
    name, description, language, licence : texts to show. The language is a code of ISO 639-1, or empty if there are several.
    parse : root folder -> rows.
    vocabulary : default of `config.DataSettings.vocabulary`.
    folds : defaults of other fields of `config.DataSettings`, such as ``{"folds": "kfold", "n_folds": 5}``.
    """

    name: str
    parse: Callable[[str | os.PathLike], list[Utterance]]
    description: str
    language: str
    licence: str
    vocabulary: str
    folds: Mapping[str, Any] = field(default_factory=dict)


CORPORA: dict[str, KnownCorpus] = {
    corpus.name: corpus
    for corpus in (
        KnownCorpus("iemocap", iemocap.parse, "10 actors, 12 h", "en", "USC's, by form", "iemocap4", iemocap.FOLDS),
        KnownCorpus("ravdess", ravdess.parse, "24 actors, 1.5 h", "en", "CC BY-NC-SA 4.0", "ravdess8", ravdess.FOLDS),
        KnownCorpus("emodb", emodb.parse, "10 actors, 0.4 h", "de", "CC0 or CC BY 4.0", "emodb4", emodb.FOLDS),
        KnownCorpus("nemo", nemo.parse, "9 actors, 3.1 h", "pl", "CC BY-NC-SA 4.0", "nemo6", nemo.FOLDS),
        KnownCorpus("cremad", cremad.parse, "91 actors, 5.3 h", "en", "ODbL 1.0", "cremad6", cremad.FOLDS),
        KnownCorpus("msppodcast", msppodcast.parse, "podcasts", "en", "UT Dallas's, by form", "msppodcast8", msppodcast.FOLDS),
        KnownCorpus("meld", meld.parse, "television, 12 h", "en", "GPL-3.0 (labels alone)", "meld7", meld.FOLDS),
        KnownCorpus("tess", tess.parse, "2 actresses, 1.6 h", "en", "CC BY-NC-ND 4.0", "tess7", tess.FOLDS),
        KnownCorpus("savee", savee.parse, "4 men, 0.5 h", "en", "for research, by registration", "savee7", savee.FOLDS),
        KnownCorpus("esd", esd.parse, "20 speakers, 29 h", "", "for research, by form", "esd5", esd.FOLDS),
        KnownCorpus("emovo", emovo.parse, "6 actors, 0.5 h", "it", "see its publisher", "emovo7", emovo.FOLDS),
        KnownCorpus("synthetic", synthetic.parse, "12 made voices, 0.2 h", "", "MIT", "synthetic4", synthetic.FOLDS),
    )
}  # fmt: skip

IMPORTERS: dict[str, Callable[[str | os.PathLike, str | os.PathLike | None], list[Utterance]]] = {
    "emobox": read_emobox,
    "s3prl": read_s3prl,
    "audformat": read_audformat,
    "csv": read_csv_manifest,
}
"""Readers of the manifests of other toolkits: (file or folder, audio root or None) -> rows."""

EXPORTERS: dict[str, Callable[[Sequence[Utterance], str | os.PathLike], None]] = {
    "emobox": write_emobox,
    "audformat": write_audformat,
    "csv": write_csv_manifest,
}
"""Writers of the formats of other toolkits: (rows, folder, or file for csv) -> None. They replace no existing file."""


def prepare(
    name: str,
    root: str | os.PathLike,
    audio_root: str | os.PathLike | None = None,
    corpus: str | None = None,
    columns: Mapping[str, str] | None = None,
    votes: Mapping[str, str] | None = None,
) -> list[Utterance]:
    """Read a corpus, or the manifest of another toolkit, as rows of a manifest.

    Parameters
    ----------
    name : a key of `CORPORA` or `IMPORTERS`, in upper or lower case.
    root : the folder of the corpus, or the file or folder that the importer reads.
    audio_root : for importers, the folder that the audio paths are relative to.
    corpus : for importers, the corpus of rows that name none. Speaker 1 of one corpus is not speaker 1 of another.
    columns : for csv, field -> name of its column, for columns of other names than `csv_io.ALIASES`.
    votes : for csv, emotion -> name of the column with the number of its votes.

    Raises
    ------
    GemoclapError : the name is unknown; nothing of that corpus is at `root`; a row cannot be read; or `corpus`, `columns` or
        `votes` has no effect.
    """
    name = name.lower()
    if (columns or votes) and name != "csv":
        raise GemoclapError(f"{'--columns' if columns else '--votes'} is for csv; the names of {name} are fixed")
    if name in IMPORTERS:
        rows = (
            read_csv_manifest(root, audio_root, columns, votes) if name == "csv" else IMPORTERS[name](root, audio_root)
        )
        return rows if corpus is None else _with_corpus(rows, corpus)
    _require_known(name, [*CORPORA, *IMPORTERS], "corpus or importer")
    if audio_root is not None:
        raise GemoclapError(f"--audio_root is for {', '.join(IMPORTERS)}; {name} finds its audio under {root}")
    if corpus is not None:
        raise GemoclapError(f"--corpus is for {', '.join(IMPORTERS)}; the rows of {name} name it as their corpus")
    return CORPORA[name].parse(root)


def _with_corpus(rows: Sequence[Utterance], corpus: str) -> list[Utterance]:
    """Return rows with a name for their corpus where they have none."""
    if known(corpus) is None or "/" in corpus:
        raise GemoclapError(
            f"--corpus: {corpus!r} is no name; speakers are called CORPUS/SPEAKER, so give one without '/'"
        )
    if all(row.corpus for row in rows):
        raise GemoclapError(f"--corpus {corpus} has no effect, since every row names its corpus; leave it out")
    return [row if row.corpus else replace(row, corpus=corpus.strip()) for row in rows]


def export(
    name: str,
    utterances: Sequence[Utterance],
    target: str | os.PathLike,
    folds: Mapping[str, Sequence[Iterable[str]]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write rows in the format of another toolkit: a folder for emobox and audformat, a file for csv.

    Parameters
    ----------
    name : a key of `EXPORTERS`.
    folds : for emobox, name of a fold -> (training ids, test ids) or (training ids, test ids, development ids).
    overwrite : for csv, whether an existing file is replaced. Existing folders are never replaced.

    Raises
    ------
    GemoclapError : the name is unknown; the format has no folds, and `folds` are given; or files exist already.
    """
    _require_known(name, list(EXPORTERS), "exporter")
    if name == "csv" and folds is None:
        write_csv_manifest(utterances, target, overwrite)
    elif folds is None:
        EXPORTERS[name](utterances, target)
    elif name == "emobox":
        write_emobox(utterances, target, folds)
    else:
        raise GemoclapError(f"{name} has no place for folds; export them with emobox")


def _require_known(name: str, known: list[str], what: str) -> None:
    if name not in known:
        raise GemoclapError(f"no {what} is called {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
