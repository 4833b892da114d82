"""Strength rankers against other solvers, brute force and planted directions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kendalltau
from sklearn.svm import LinearSVC

from gemoclap.corpora.manifest import Utterance
from gemoclap.ems.ranking import StrengthRankers, center_speakers, draw_pairs, fit_direction, fit_rankers
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

THREE = Vocabulary("three", ("angry", "neutral", "sad"), {"calm": "neutral"})
PLENTY = 10**6


def corpus(speakers: int = 4, texts: int = 3, takes: int = 2) -> list[Utterance]:
    every = product(range(speakers), ("angry", "neutral", "sad"), range(texts), range(takes))
    return [
        Utterance(
            f"{speaker}-{emotion}-{text}-{take}", "x.wav", speaker=f"s{speaker}", emotion=emotion, text=f"t{text}"
        )
        for speaker, emotion, text, take in every
    ]


def planted(rows: Sequence[Utterance], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, 6) in which strength goes along one direction an emotion, and the strengths (N,).

    Speakers differ from one another by far more than emotions do.
    """
    rng = np.random.default_rng(seed)
    directions = {"angry": np.array([1.0, 1, 0, 0, 0, 0]), "sad": np.array([0, -1.0, 1, 0, 0, 0])}
    voices = {speaker: 5 * rng.standard_normal(6) for speaker in sorted({str(row.speaker) for row in rows})}
    strengths = np.array([0.0 if row.emotion == "neutral" else rng.uniform(1, 4) for row in rows])
    features = [
        voices[str(row.speaker)] + strength * directions.get(str(row.emotion), np.zeros(6)) + rng.normal(0, 0.1, 6)
        for row, strength in zip(rows, strengths, strict=True)
    ]
    return 100 * np.array(features) + 7, strengths


def pairs_of(rows: Sequence[Utterance], emotion: str = "angry", limit: int = PLENTY, seed: int = 0):
    emotions = np.array([THREE.resolve(row.emotion) for row in rows])
    return draw_pairs(rows, emotions == "neutral", emotions == emotion, limit, np.random.default_rng(seed))


def named(rows: Sequence[Utterance], pairs: np.ndarray) -> set[tuple[str, str]]:
    found = [(rows[one].id, rows[other].id) for one, other in pairs]
    assert len(set(found)) == len(found)
    return set(found)


def error_of(call, *arguments, **options) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
def test_the_direction_is_that_of_other_solvers(cost: float) -> None:
    rng = np.random.default_rng(0)
    ordered, similar = rng.standard_normal((60, 5)) + 0.4, rng.standard_normal((40, 5))

    def loss(weights: np.ndarray) -> float:
        hinge = sum(max(0.0, 1 - float(weights @ one)) ** 2 for one in ordered)
        return 0.5 * float(weights @ weights) + cost / 2 * (hinge + sum(float(weights @ one) ** 2 for one in similar))

    found = fit_direction(ordered, similar, cost)
    searched = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-7})
    assert loss(found) <= searched.fun + 1e-9
    np.testing.assert_allclose(found, searched.x, atol=1e-5)
    # Without similar pairs it is a linear SVM through the origin, on the differences and their opposites.
    signs = np.where(np.arange(60) % 2, 1, -1)
    svm = LinearSVC(C=cost / 2, fit_intercept=False, tol=1e-9, max_iter=10**6).fit(ordered * signs[:, None], signs)
    np.testing.assert_allclose(fit_direction(ordered, similar[:0], cost), svm.coef_[0], atol=1e-4)


def test_pairs_stay_within_speaker_and_text() -> None:
    rows = corpus()
    pairs = pairs_of(rows)
    assert not pairs.across_speakers
    together = [(a, b) for a, b in product(rows, rows) if (a.speaker, a.text) == (b.speaker, b.text)]
    assert named(rows, pairs.ordered) == {
        (a.id, b.id) for a, b in together if (a.emotion, b.emotion) == ("neutral", "angry")
    }
    alike = {(a.id, b.id) for a, b in together if a.emotion == b.emotion in ("neutral", "angry") and a.id < b.id}
    assert named(rows, pairs.similar) == alike


def test_where_the_text_has_no_partner_or_is_unknown_the_speaker_is_enough() -> None:
    rows = corpus(speakers=2, takes=1)
    rows = [row for row in rows if (row.emotion, row.text, row.speaker) != ("neutral", "t0", "s0")]
    rows = [replace(row, text=None) if row.id == "1-angry-2-0" else row for row in rows]
    found = named(rows, pairs_of(rows).ordered)
    of_speaker_0 = {("0-neutral-1-0", "0-angry-0-0"), ("0-neutral-2-0", "0-angry-0-0")}
    assert of_speaker_0 | {(f"1-neutral-{text}-0", "1-angry-2-0") for text in range(3)} <= found
    assert len(found) == 2 + 3 + 2 + 2  # those, and one each for the four others that have their text
    assert named(rows, pairs_of(rows).similar) >= {("0-angry-0-0", "0-angry-1-0")}  # a take to itself has no second


def test_speakers_are_compared_only_where_no_speaker_has_both(caplog: pytest.LogCaptureFixture) -> None:
    rows = corpus(speakers=3, texts=1, takes=1)
    apart = [row for row in rows if (row.emotion == "neutral") == (row.speaker == "s0")]
    pairs = pairs_of(apart)
    assert pairs.across_speakers
    assert named(apart, pairs.ordered) == {("0-neutral-0-0", "1-angry-0-0"), ("0-neutral-0-0", "2-angry-0-0")}
    nameless = [replace(row, speaker=None) for row in rows]
    assert pairs_of(nameless).across_speakers and len(pairs_of(nameless).ordered) == 3 * 3
    # One speaker with both is enough; who lacks neutral utterances then stays out.
    assert named(apart + [rows[0]], pairs_of(apart + [rows[0]]).ordered) == {("0-neutral-0-0", "0-angry-0-0")}
    with caplog.at_level(logging.WARNING):
        fit_rankers(planted(apart)[0], apart, THREE)
    assert "no speaker has both neutral and angry utterances" in caplog.text
    caplog.clear()
    fit_rankers(planted(rows)[0], rows, THREE)
    assert not caplog.text


def test_the_number_of_pairs_is_bounded_and_the_seed_draws_them() -> None:
    rows = [replace(row, text=None) for row in corpus(speakers=2, texts=10, takes=5)]
    everything = pairs_of(rows)
    assert len(everything.ordered) == 2 * 50 * 50
    for limit in (1000, 300):
        some = pairs_of(rows, limit=limit)
        assert 0.9 * limit <= len(some.ordered) <= limit and 0.5 * limit <= len(some.similar) <= limit
        assert named(rows, some.ordered) < named(rows, everything.ordered)
        assert {emotional for _, emotional in some.ordered.tolist()} == set(everything.ordered[:, 1].tolist())
    assert len(pairs_of(rows, limit=1).ordered) == 100  # one for each emotional utterance
    again, other = pairs_of(rows, limit=300), pairs_of(rows, limit=300, seed=1)
    assert np.array_equal(some.ordered, again.ordered) and np.array_equal(some.similar, again.similar)
    assert not np.array_equal(some.ordered, other.ordered)


@pytest.mark.parametrize("center", [True, False])
def test_a_planted_strength_is_recovered_for_unseen_speakers(center: bool) -> None:
    rows = corpus(speakers=8)
    features, strengths = planted(rows)
    train = [place for place, row in enumerate(rows) if str(row.speaker) < "s5"]
    test = [place for place in range(len(rows)) if place not in train]
    rankers = fit_rankers(features[train], [rows[place] for place in train], THREE, cost=0.1, center=center)
    found = rankers(features[test], [rows[place] for place in test])
    for speaker in ("s5", "s6", "s7"):
        for emotion in ("angry", "sad"):
            mine = [
                n for n, place in enumerate(test) if (rows[place].speaker, rows[place].emotion) == (speaker, emotion)
            ]
            assert kendalltau(found[mine], strengths[[test[n] for n in mine]]).statistic > 0.7
    together = [n for n, place in enumerate(test) if rows[place].emotion == "angry"]
    across = kendalltau(found[together], strengths[[test[n] for n in together]]).statistic
    # What speakers differ by is taken away, or it is what the strengths show.
    assert across > 0.8 if center else across < 0.8


def test_strengths_go_from_0_to_1_over_the_training_set_and_are_clipped_beyond() -> None:
    rows = corpus()
    features, _ = planted(rows)
    rankers = fit_rankers(features, rows, THREE, center=False)
    emotions = np.array([row.emotion for row in rows])
    strengths = rankers(features, rows)
    standardized = (features - features.mean(0)) / features.std(0)
    by_emotion = {}
    for emotion, ranker in rankers.rankers.items():
        values = standardized @ ranker.weights
        either = (emotions == emotion) | (emotions == "neutral")
        by_emotion[emotion] = (values - values[either].min()) / (values[either].max() - values[either].min())
        np.testing.assert_allclose(strengths[emotions == emotion], by_emotion[emotion][emotions == emotion])
    neutral = (by_emotion["angry"] + by_emotion["sad"]) / 2
    np.testing.assert_allclose(strengths[emotions == "neutral"], neutral[emotions == "neutral"])
    for factor, expected in ((1e3, 1.0), (-1e3, 0.0)):
        far = features.mean(0) + factor * rankers.rankers["angry"].weights * features.std(0)
        assert rankers(far[None], [rows[0]]).tolist() == [expected]


def test_neutral_utterances_have_the_low_end() -> None:
    rows = corpus()
    strengths = fit_rankers(planted(rows)[0], rows, THREE)(planted(rows)[0], rows)
    neutral = np.array([row.emotion == "neutral" for row in rows])
    assert strengths[neutral].max() < strengths[~neutral].min()


def test_merged_labels_count_as_their_class_and_constant_features_as_nothing() -> None:
    rows = corpus()
    features = np.column_stack([planted(rows)[0], np.full(len(rows), 3.0)])
    calm = [replace(row, emotion="calm") if row.emotion == "neutral" else row for row in rows]
    plain, merged = (fit_rankers(features, some, THREE)(features, some) for some in (rows, calm))
    np.testing.assert_array_equal(plain, merged)
    assert np.isfinite(plain).all()
    assert [ranker.weights[-1] for ranker in fit_rankers(features, rows, THREE).rankers.values()] == [0, 0]


def test_features_that_are_all_alike_give_no_strength() -> None:
    rows = corpus()
    rankers: StrengthRankers = fit_rankers(np.ones((len(rows), 3)), rows, THREE)
    assert not rankers(np.ones((len(rows), 3)), rows).any()


def test_speakers_are_centred_each_on_its_own_mean() -> None:
    rows = [*corpus(speakers=3, texts=1), Utterance("a", "a.wav"), Utterance("b", "b.wav")]
    features = np.random.default_rng(0).standard_normal((len(rows), 4))
    centred = center_speakers(features, rows)
    for place, row in enumerate(rows):
        same = [features[other] for other, one in enumerate(rows) if one.speaker == row.speaker]
        np.testing.assert_allclose(centred[place], features[place] - sum(same) / len(same), atol=1e-12)


def test_a_corpus_without_neutral_or_emotional_speech_is_refused() -> None:
    rows = [row for row in corpus() if row.emotion != "neutral"]
    said = error_of(fit_rankers, np.ones((len(rows), 2)), rows, THREE)
    assert "no training utterance is 'neutral' (labels: angry, sad)" in said and "--ranking.neutral" in said
    rows = [row for row in corpus() if row.emotion == "neutral"]
    assert "take a corpus with emotions" in error_of(fit_rankers, np.ones((len(rows), 2)), rows, THREE)


def test_speakers_of_the_same_name_in_two_corpora_are_centred_apart() -> None:
    rows = [
        Utterance(str(n), "x.wav", corpus=corpus, speaker=" A" if n % 2 else "a") for n, corpus in enumerate("xxyyy")
    ]
    features = np.arange(10.0).reshape(5, 2)
    expected = np.concatenate([features[:2] - features[:2].mean(axis=0), features[2:] - features[2:].mean(axis=0)])
    np.testing.assert_allclose(center_speakers(features, rows), expected)
