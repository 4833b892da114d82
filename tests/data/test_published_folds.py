"""Folds of real corpora: published counts and fold files, where they are at hand."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from fold_corpora import assert_sound, speakers

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import make_folds
from gemoclap.labels import VOCABULARIES

SHARED = Path(__file__).parents[2].parent / "shared"
EMOBOX = SHARED / "interop" / "emobox"


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"real data is not at {path}")


def iemocap() -> list[Utterance]:
    words = {"ang": "angry", "hap": "happy", "exc": "excited", "neu": "neutral", "sad": "sad"}
    with (SHARED / "iemocap" / "utterances.tsv").open(encoding="utf-8") as file:
        rows = [(row["utterance_id"], words[row["emotion"]]) for row in csv.DictReader(file, delimiter="\t")]
    return [
        Utterance(
            name,
            f"{name}.wav",
            session=name[:5],
            speaker=name[:5] + name.rsplit("_", 1)[1][0],
            gender={"F": "female", "M": "male"}[name.rsplit("_", 1)[1][0]],
            emotion=emotion,
        )
        for name, emotion in rows
    ]


def ravdess() -> list[Utterance]:
    emotions = VOCABULARIES["ravdess8"].emotions
    stems = sorted(path.stem for path in (SHARED / "corpora" / "ravdess").glob("Actor_*/*.flac"))
    return [
        Utterance(
            stem,
            f"{stem}.flac",
            speaker=stem[-2:],
            gender="male" if int(stem[-2:]) % 2 else "female",
            emotion=emotions[int(stem.split("-")[2]) - 1],
        )
        for stem in stems
    ]


@needs(SHARED / "iemocap")
def test_iemocap_leave_one_session_out_has_the_published_counts() -> None:
    published = {  # session: all, angry, happy, sad, neutral, by a woman, by a man
        "Ses01": (1085, 229, 278, 194, 384, 528, 557),
        "Ses02": (1023, 137, 327, 197, 362, 481, 542),
        "Ses03": (1151, 240, 286, 305, 320, 522, 629),
        "Ses04": (1031, 327, 303, 143, 258, 528, 503),
        "Ses05": (1241, 170, 442, 245, 384, 590, 651),
    }
    vocabulary, rows = VOCABULARIES["iemocap4"], iemocap()
    folds = make_folds(rows, DataSettings(folds="session", dev_speakers=2), vocabulary)
    assert_sound(folds, rows, vocabulary)
    for fold, (session, counts) in zip(folds, published.items(), strict=True):
        emotions = Counter(vocabulary.resolve(row.emotion) for row in fold.test)
        genders = Counter(row.gender for row in fold.test)
        found = (len(fold.test), *(emotions[name] for name in ("angry", "happy", "sad", "neutral")))
        assert fold.name == f"session_{session}"
        assert (*found, genders["female"], genders["male"]) == counts
        assert len({row.session for row in fold.dev}) == 1  # both speakers of one dialogue: none is left in training
    assert len({frozenset(speakers(fold.dev)) for fold in folds}) == 5


@needs(EMOBOX / "iemocap")
@needs(SHARED / "iemocap")
def test_emobox_iemocap_fold_is_session_one() -> None:
    settings = DataSettings(folds="files", fold_files=str(EMOBOX / "iemocap"))
    (fold,) = make_folds(iemocap(), settings, VOCABULARIES["iemocap4"])
    by_session = make_folds(iemocap(), DataSettings(folds="session"), VOCABULARIES["iemocap4"])[0]
    assert fold.hash == by_session.hash


@needs(EMOBOX / "ravdess")
@needs(SHARED / "corpora" / "ravdess")
def test_emobox_ravdess_has_six_disjoint_folds_of_four_actors() -> None:
    vocabulary, rows = VOCABULARIES["ravdess8"], ravdess()
    assert len(rows) == 1440
    folds = make_folds(rows, DataSettings(folds="files", fold_files=str(EMOBOX / "ravdess")), vocabulary)
    assert_sound(folds, rows, vocabulary)
    assert [(len(fold.train), len(fold.test), len(speakers(fold.test))) for fold in folds] == [(1200, 240, 4)] * 6


@needs(SHARED / "corpora" / "ravdess")
def test_ravdess_k_folds_are_exactly_balanced() -> None:
    vocabulary, rows = VOCABULARIES["ravdess8"], ravdess()
    for fold in make_folds(rows, DataSettings(folds="kfold", n_folds=6), vocabulary):
        assert Counter(row.gender for row in fold.test) == {"female": 120, "male": 120}
        assert set(Counter(row.emotion for row in fold.test).values()) == {16, 32}


@needs(SHARED / "corpora" / "nemo")
def test_nemo_lists_of_unseen_speakers() -> None:
    with (SHARED / "corpora" / "nemo" / "data.tsv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    words = {"anger": "angry", "fear": "fearful", "happiness": "happy", "sadness": "sad"}
    rows = [
        Utterance(
            row["file_id"],
            row["file_id"],
            speaker=row["speaker_id"].strip(),
            emotion=words.get(row["emotion"], row["emotion"]),
        )
        for row in table
    ]
    lists = [group.split() for group in ("EB0 KS0 SM0", "IC0 MK0 TP0", "KD0 MP0 WR0")]
    folds = make_folds(rows, DataSettings(folds="lists", test_speakers=lists), VOCABULARIES["nemo6"])
    assert_sound(folds, rows, VOCABULARIES["nemo6"])
    for fold, group in zip(folds, lists, strict=True):
        # Every file's name starts with its speaker: a count that does not look at speaker_id.
        assert len(fold.test) == sum(row["file_id"][:3] in group for row in table)
