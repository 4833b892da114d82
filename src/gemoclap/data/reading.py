"""Reads the data that the settings describe, and fills in the default classes and folds of the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.folds import Fold
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import LISTED, SHOWN, Vocabulary, completed_merges, get_vocabulary, same_word, vocabulary_of
from gemoclap.wording import counted, shortened


def read_data(data: DataSettings, has_folds: bool = True) -> tuple[list[Utterance], Vocabulary, DataSettings]:
    """Return the utterances of the manifest, the classes, and the settings with the defaults of the corpus filled in.

    Parameters
    ----------
    has_folds : whether folds are made of them. Otherwise the settings of folds are not checked, since none has an effect.

    Raises
    ------
    GemoclapError : no manifest is named; it is faulty; or the settings of the classes or of the folds are wrong.
    """
    if data.manifest is None:
        raise GemoclapError(
            "no manifest; make one with 'gemoclap prepare CORPUS ROOT -o m.jsonl' and name it: gemoclap COMMAND m.jsonl"
        )
    for name, folds in (("test_speakers", "lists"), ("fold_files", "files"), ("test_partitions", "partitions")):
        if has_folds and getattr(data, name) is not None and data.folds != folds:
            raise GemoclapError(f"--data.{name} would have no effect; give --data.folds {folds} with it")
    utterances = read_manifest(data.manifest)
    names = {row.corpus for row in utterances}
    corpus = CORPORA.get(str(names.pop())) if len(names) == 1 else None
    if data.folds == "auto" and data.n_folds is not None:
        data = replace(data, folds="kfold")
    if data.folds == "auto":
        data = replace(data, **(corpus.folds if corpus else {"folds": "kfold"}))
    if data.vocabulary is None and data.emotions is None and corpus is not None:
        data = replace(data, vocabulary=corpus.vocabulary)
    return utterances, _vocabulary(data, utterances), data


def labels_left_out(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> dict[str, int]:
    """Return label -> number of its utterances, for labels that are not a class."""
    labels = Counter(row.emotion or "no label" for row in utterances if vocabulary.resolve(row.emotion) is None)
    return dict(sorted(labels.items()))


def left_out(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> str:
    """Return a sentence with the number of utterances whose label is not a class, by label; empty if there are none."""
    labels = labels_left_out(utterances, vocabulary)
    if not labels:
        return ""
    found = ", ".join(f"{label} {count:,}" for label, count in labels.items())
    left = f"{sum(labels.values()):,} of {counted(len(utterances), 'utterance')} left out, because"
    if vocabulary.name == LISTED:
        return f"{left} --data.emotions has no such class: {found}"
    return f"{left} {vocabulary.name} has no such class: {found} (--data.emotions takes other classes)"


def unused_merges(data: DataSettings, utterances: Sequence[Utterance]) -> str:
    """Return a sentence with the labels to rename that no utterance has, and those renamed to no class; empty if all are."""
    labels = sorted({label for row in utterances for label in (row.emotion, *(row.votes or ())) if label})
    found = []
    if unused := [label for label in data.merges if same_word(label, labels) is None]:
        named = ", ".join(f"{label}{did_you_mean(label, labels)}" for label in unused)
        known = shortened(", ".join(labels), SHOWN)
        found.append(f"no utterance has the label {named}; labels of the manifest: {known or 'none'}")
    classes = data.emotions
    if classes is not None:
        lost = [(label, into) for label, into in data.merges.items() if same_word(into, classes) is None]
        found += [f"{label} becomes {into}{did_you_mean(into, classes)}, which is no class" for label, into in lost]
    return f"data.merges: {'; '.join(found)}" if found else ""


def one_class_corpora(folds: Sequence[Fold], vocabulary: Vocabulary) -> list[str]:
    """With several corpora, return a warning for each of which only one class is trained on.

    An utterance is not compared with classes that its corpus does not have (`targets.classes_by_corpus`). With one class left
    there is nothing to compare it with, so the encoder gets no gradient for emotion. This is no error: heads for gender, the
    frames of GMP-TL and the prompts of contrastive methods can still use the utterances.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for fold in folds:
        classes: dict[str, set[str]] = {}
        for row in fold.train:
            if (index := vocabulary.index(row.emotion)) is not None:
                classes.setdefault(row.corpus or "", set()).add(vocabulary.emotions[index])
        if len(classes) > 1:
            for corpus, (label, *others) in classes.items():
                if not others:
                    found.setdefault((corpus, label), []).append(fold.name)
    return [
        f"{f'corpus {corpus}' if corpus else 'the corpus without a name'} has only {label!r} among the training utterances"
        f"{'' if len(names) == len(folds) else ' of ' + ', '.join(names)}: with nothing to compare them with, training learns "
        "little or nothing about emotion from them; leave the corpus out, or choose classes that it has two of "
        "(--data.emotions)"
        for (corpus, label), names in found.items()
    ]


def _vocabulary(data: DataSettings, utterances: Sequence[Utterance]) -> Vocabulary:
    if data.vocabulary is not None and data.emotions is not None:
        raise GemoclapError("--data.vocabulary and --data.emotions both name the classes; give one of them")
    if data.vocabulary is not None:
        if data.merges:
            raise GemoclapError(
                f"data.merges would change the vocabulary {data.vocabulary}; list your own classes with --data.emotions"
            )
        return get_vocabulary(data.vocabulary)
    labels = {label for row in utterances for label in (row.emotion, *(row.votes or ())) if label}
    merges = completed_merges(data.merges, data.emotions, labels)
    if data.emotions is not None:
        if len(set(data.emotions)) < len(data.emotions):
            raise GemoclapError(f"data.emotions lists a class twice ({', '.join(data.emotions)}); list each once")
        return Vocabulary(LISTED, tuple(data.emotions), merges)
    merged = (merges.get(row.emotion, row.emotion) if row.emotion else None for row in utterances)
    return replace(vocabulary_of(merged), merges=merges)
