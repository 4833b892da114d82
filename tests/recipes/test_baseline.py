"""The eGeMAPS + SVM baseline on made-up voices, against openSMILE's and scikit-learn's own calls."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensmile
import pytest
import soundfile
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.recipes.baseline import EgemapsFeatures, class_scores, fit_svm, run_fold

VOCABULARY = Vocabulary("three", ("angry", "neutral", "sad"))


def buzz(pitch: float, loudness: float, seconds: float, seed: int) -> np.ndarray:
    """Return a pulse train through noise: a pitch and a loudness that openSMILE can measure."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    harmonics = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 12))
    return loudness * (harmonics / 3 + rng.normal(0, 0.02, len(time)))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("voices")
    voices = {"angry": (1.5, 0.8), "neutral": (1.0, 0.3), "sad": (0.8, 0.05)}
    made = []
    for speaker, base in (("anna", 210), ("berta", 190), ("carl", 110)):
        for emotion, (pitch, loudness) in voices.items():
            for take in range(3):
                path = folder / f"{speaker}_{emotion}_{take}.wav"
                soundfile.write(path, buzz(base * pitch * (1 + 0.02 * take), loudness, 0.4, take), 16000)
                made.append(Utterance(path.stem, str(path), speaker=speaker, emotion=emotion))
    return made


@pytest.fixture(scope="module")
def features(rows: list[Utterance]) -> EgemapsFeatures:
    made = EgemapsFeatures()
    made.preload(rows)
    return made


def test_features_are_opensmiles_own(rows: list[Utterance], features: EgemapsFeatures) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = smile.process_files([row.path for row in rows[:3]])
    found = features(rows[:3])
    assert found.shape == (3, 88) and found.dtype == np.float32
    assert features.names == list(expected.columns)
    np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-4, atol=1e-4)


def test_several_at_once_are_one_by_one(rows: list[Utterance], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers to the last bit, in the order asked for, and openSMILE's own of each signal."""
    many = EgemapsFeatures()
    seen: list[tuple[int, int]] = []
    many.preload(rows, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(rows)) for done in range(1, len(rows) + 1)]
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    naive = [smile(soundfile.read(row.path, dtype="float32")[0], 16000).reshape(-1).astype(np.float32) for row in rows]
    np.testing.assert_array_equal(many(rows[::-1]), np.stack(naive[::-1]))
    monkeypatch.setattr("gemoclap.recipes.baseline.WORKERS", 1)
    np.testing.assert_array_equal(EgemapsFeatures()(rows[:4]), np.stack(naive[:4]))


def test_a_clip_that_cannot_be_read_is_named(rows: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(GemoclapError, match="bad.wav"):
        EgemapsFeatures().preload([*rows[:2], Utterance("bad", str(tmp_path / "bad.wav")), *rows[2:4]])


def test_a_stretch_is_a_clip_of_its_own_and_a_short_one_is_filled_up(
    rows: list[Utterance], features: EgemapsFeatures, tmp_path: Path
) -> None:
    part = replace(rows[0], id="part", start=0.1, end=0.35)
    samples, _ = soundfile.read(rows[0].path, dtype="float32")
    soundfile.write(tmp_path / "part.wav", samples[1600:5600], 16000)
    np.testing.assert_array_equal(features([part]), features([Utterance("cut", str(tmp_path / "part.wav"))]))
    assert not np.array_equal(features([part]), features(rows[:1]))
    soundfile.write(tmp_path / "short.wav", samples[:300], 16000)
    assert np.isfinite(features([Utterance("short", str(tmp_path / "short.wav"))])).all()


@pytest.mark.parametrize("start", [None, 0.05])
def test_of_a_long_clip_the_first_seconds_are_used(
    rows: list[Utterance], features: EgemapsFeatures, start: float | None
) -> None:
    long = replace(rows[0], start=start)
    cut = replace(long, end=(start or 0) + 0.25)
    np.testing.assert_array_equal(EgemapsFeatures(max_seconds=0.25)([long]), features([cut]))
    assert not np.array_equal(features([long]), features([cut]))
    np.testing.assert_array_equal(EgemapsFeatures(max_seconds=14.0)(rows), features(rows))  # all are shorter


def test_what_lies_beyond_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "damaged_late.flac"
    soundfile.write(path, buzz(200, 0.5, 40.0, 0), 16000)
    data = bytearray(path.read_bytes())
    data[-len(data) // 8 : -len(data) // 16] = bytes(len(data) // 8 - len(data) // 16)
    path.write_bytes(data)
    assert np.isfinite(EgemapsFeatures(max_seconds=5.0)([Utterance("a", str(path))])).all()
    with pytest.raises(GemoclapError, match="damaged_late"):
        EgemapsFeatures()([Utterance("a", str(path))])


def test_features_of_another_length_are_not_taken_from_the_cache(rows: list[Utterance], tmp_path: Path) -> None:
    found = []
    for most in (0.25, None):
        made = EgemapsFeatures(tmp_path, most)
        made.preload(rows[:1])
        found.append(made(rows[:1]))
    assert not np.array_equal(*found)


def test_cache_spares_extraction_and_is_never_stale(
    rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, buzz(200, 0.5, 0.3, 0), 16000)
    some = [rows[0], Utterance("one", str(path))]
    calls: list[tuple[int, int]] = []
    first = EgemapsFeatures(tmp_path / "cache")
    first.preload(some, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    with monkeypatch.context() as patch:
        patch.setattr(EgemapsFeatures, "_extract", lambda self, row: pytest.fail("extracted again"))
        again = EgemapsFeatures(tmp_path / "cache")
        again.preload(some[::-1])
        np.testing.assert_array_equal(again(some), first(some))
    before = path.stat()
    soundfile.write(path, buzz(300, 0.5, 0.3, 0), 16000)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    changed = EgemapsFeatures(tmp_path / "cache")
    changed.preload(some)
    assert not np.array_equal(changed(some)[1], first(some)[1])
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_an_unseen_speaker_is_recognised(rows: list[Utterance], features: EgemapsFeatures) -> None:
    test = tuple(row for row in rows if row.speaker == "berta")
    fold = Fold("fold_1", tuple(row for row in rows if row.speaker != "berta"), (), test)
    scores = run_fold(fold, features, VOCABULARY)
    assert scores.shape == (9, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    said = [VOCABULARY.emotions[index] for index in scores.argmax(axis=1)]
    assert np.mean([one == row.emotion for one, row in zip(said, test, strict=True)]) > 0.8


def test_the_test_part_has_no_say(rows: list[Utterance], features: EgemapsFeatures) -> None:
    train, test = tuple(row for row in rows if row.speaker != "anna"), tuple(rows[:9])
    whole = run_fold(Fold("f", train, (), test), features, VOCABULARY)
    alone = run_fold(Fold("f", train, (), test[4:5]), features, VOCABULARY)
    np.testing.assert_allclose(whole[4:5], alone)


def synthetic(classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 120)
    return rng.normal(truth[:, None], 1.5, (120, 6)), truth


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_rank_as_scikit_learn_predicts(classes: int) -> None:
    points, truth = synthetic(classes, seed=0)
    svm = fit_svm(points, truth)
    scaler = StandardScaler().fit(points)
    expected = SVC(C=1.0, class_weight="balanced", break_ties=True).fit(scaler.transform(points), truth)
    new = np.random.default_rng(1).normal(1, 2, (50, 6))
    scores = class_scores(svm, new, classes + 1)
    assert scores.shape == (50, classes + 1)
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.predict(scaler.transform(new)))
    assert not scores[:, classes].any()
