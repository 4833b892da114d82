"""The figures against scikit-learn, the bootstrap against a loop over utterances, its coverage by simulation."""

import doctest
import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

import gemoclap.metrics.comparisons
import gemoclap.metrics.scores
from gemoclap.errors import GemoclapError
from gemoclap.metrics import (
    bootstrap_interval,
    confusion_matrix,
    group_gap,
    macro_f1,
    paired_difference,
    recall_by_class,
    score,
    unweighted_average_recall,
    weighted_average_recall,
)

WORDS = np.array(["angry", "bored", "happy", "neutral", "sad"])


def random_labels(seed: int, n: int = 200, true_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return truth among the first classes and predictions, right about half of the time, among all."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, true_classes, n)
    return truth, np.where(rng.random(n) < 0.5, truth, rng.integers(0, 5, n))


def sklearn_uar(truth, prediction) -> float:
    return recall_score(truth, prediction, labels=np.unique(truth), average="macro")


def random_speakers(seed: int, n: int, n_speakers: int) -> list[str]:
    return [f"s{number}" for number in np.random.default_rng(seed).integers(0, n_speakers, n)]


def test_docstring_examples_run():
    for module, least in ((gemoclap.metrics.scores, 4), (gemoclap.metrics.comparisons, 1)):
        result = doctest.testmod(module)
        assert result.attempted >= least and result.failed == 0


@pytest.mark.parametrize("true_classes", [5, 3, 1])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_figures_equal_sklearn_also_with_classes_absent_from_truth(true_classes, words):
    truth, prediction = random_labels(true_classes, true_classes=true_classes)
    if words:
        truth, prediction = WORDS[truth].tolist(), WORDS[prediction].tolist()
    assert weighted_average_recall(truth, prediction) == pytest.approx(np.mean(np.array(truth) == np.array(prediction)))
    assert unweighted_average_recall(truth, prediction) == pytest.approx(sklearn_uar(truth, prediction))
    assert unweighted_average_recall(truth, prediction) == pytest.approx(balanced_accuracy_score(truth, prediction))
    assert macro_f1(truth, prediction) == pytest.approx(f1_score(truth, prediction, average="macro", zero_division=0))
    recalls = recall_by_class(truth, prediction)
    assert list(recalls) == sorted(set(truth))
    expected = recall_score(truth, prediction, labels=list(recalls), average=None)
    assert list(recalls.values()) == pytest.approx(expected.tolist())


def test_confusion_equals_sklearn_in_the_order_of_the_classes():
    truth, prediction = random_labels(1, true_classes=4)
    classes = ["sad", "angry", "neutral", "happy", "bored"]
    counts = confusion_matrix(WORDS[truth], WORDS[prediction], classes)
    np.testing.assert_array_equal(counts, sklearn_confusion(WORDS[truth], WORDS[prediction], labels=classes))
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([], [], "no utterance to score"),
        (["sad"], ["sad", "sad"], "1 labels but 2 predictions"),
        (["sad", None], ["sad", "sad"], "all words or all class indices"),
        (["sad", "sad"], [0, 0], "all words or all class indices"),
        ([0.5, 1.0], [0, 1], "all words or all class indices"),
        ([0, -1], [0, 0], "negative"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(truth, prediction, message):
    for figure in (weighted_average_recall, unweighted_average_recall, macro_f1, recall_by_class):
        with pytest.raises(GemoclapError, match=message):
            figure(truth, prediction)


def test_a_label_outside_the_classes_is_named():
    with pytest.raises(GemoclapError, match="'bored' is not one of the classes angry, sad"):
        confusion_matrix(["sad", "bored"], ["sad", "sad"], ["angry", "sad"])


def naive_bootstrap(truth, prediction, speakers, statistic, samples, seed):
    """Score every resample utterance by utterance.

    Draws are those of the code under test: multinomial, over speakers sorted by their confusion matrices.
    """
    members = {name: np.array([one == name for one in speakers]) for name in set(speakers)}
    matrices = {
        name: sklearn_confusion(truth[rows], prediction[rows], labels=range(5)).ravel().tolist()
        for name, rows in members.items()
    }
    order = sorted(matrices, key=lambda name: matrices[name])
    assert len({tuple(matrix) for matrix in matrices.values()}) == len(order), "the test needs distinct speakers"
    draws = np.random.default_rng(seed).multinomial(len(order), np.full(len(order), 1 / len(order)), size=samples)
    values = []
    for times in draws:
        rows = np.concatenate(
            [np.flatnonzero(members[name]) for name, k in zip(order, times, strict=True) for _ in range(k)]
        )
        values.append(statistic(truth[rows], prediction[rows]))
    return np.array(values)


def hesterberg(level, speakers):
    """Return where the expanded percentile interval cuts off, by scipy's distributions."""
    t = scipy.stats.t.ppf((1 + level) / 2, speakers - 1)
    tail = scipy.stats.norm.cdf(-t * math.sqrt(speakers / (speakers - 1)))
    return [tail, 1 - tail]


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("war", lambda truth, prediction: np.mean(truth == prediction)),
        ("uar", sklearn_uar),
        ("macro_f1", lambda truth, prediction: f1_score(truth, prediction, average="macro", zero_division=0)),
    ],
)
def test_bootstrap_equals_a_loop_over_utterances(name, statistic):
    truth, prediction = random_labels(2, n=90)
    speakers = random_speakers(3, 90, 6)
    values = naive_bootstrap(truth, prediction, speakers, statistic, samples=60, seed=11)
    interval = bootstrap_interval(truth, prediction, speakers, name, level=0.8, samples=60, seed=11)
    assert interval == pytest.approx(tuple(np.quantile(values, hesterberg(0.8, 6))))


def test_paired_difference_equals_a_loop_over_utterances():
    truth, a = random_labels(4, n=120)
    b = np.where(np.random.default_rng(5).random(120) < 0.4, truth, a)
    speakers = random_speakers(6, 120, 7)

    # One code a pair of predictions, so that the loop's speakers are drawn in the order of both matrices.
    members = {name: np.array([one == name for one in speakers]) for name in set(speakers)}
    order = sorted(
        members,
        key=lambda name: [
            count
            for one in (a, b)
            for count in sklearn_confusion(truth[members[name]], one[members[name]], labels=range(5)).ravel()
        ],
    )
    draws = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=80)
    values = []
    for times in draws:
        rows = np.concatenate(
            [np.flatnonzero(members[name]) for name, k in zip(order, times, strict=True) for _ in range(k)]
        )
        values.append(sklearn_uar(truth[rows], b[rows]) - sklearn_uar(truth[rows], a[rows]))

    difference = paired_difference(truth, a, b, speakers, samples=80)
    assert difference.value == pytest.approx(sklearn_uar(truth, b) - sklearn_uar(truth, a))
    assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(values, hesterberg(0.95, 7))))


def test_paired_difference_of_a_method_with_itself_is_zero():
    truth, a = random_labels(7)
    difference = paired_difference(truth, a, a, random_speakers(8, 200, 9))
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_pairing_narrows_the_interval_when_speakers_differ_in_difficulty():
    rng = np.random.default_rng(9)
    speakers = np.repeat(np.arange(20), 30)
    truth = rng.integers(0, 5, 600)
    right = rng.random(600) < np.repeat(rng.uniform(0.2, 0.9, 20), 30)
    a = np.where(right, truth, (truth + 1) % 5)
    b = np.where(right | (rng.random(600) < 0.1), truth, (truth + 1) % 5)
    names = [f"s{number}" for number in speakers]
    difference = paired_difference(truth, a, b, names)
    low, high = bootstrap_interval(truth, b, names)
    assert difference.low > 0
    assert difference.high - difference.low < 0.5 * (high - low)


def test_intervals_over_speakers_cover_the_true_figure_and_intervals_over_utterances_do_not():
    rng = np.random.default_rng(10)
    n_speakers, n_each, trials = 40, 25, 200
    speakers = [f"s{number}" for number in np.repeat(np.arange(n_speakers), n_each)]
    unknown = [None] * len(speakers)
    covered = {"speakers": 0, "utterances": 0}
    for _ in range(trials):
        # A speaker's accuracy varies a lot around 0.6, which is therefore the true WAR of the population.
        ease = np.repeat(rng.beta(3, 2, n_speakers), n_each)
        truth = rng.integers(0, 4, len(speakers))
        prediction = np.where(rng.random(len(speakers)) < ease, truth, (truth + 1) % 4)
        for name, clusters in (("speakers", speakers), ("utterances", unknown)):
            low, high = bootstrap_interval(truth, prediction, clusters, "war", samples=200)
            covered[name] += low <= 0.6 <= high
    assert 0.88 <= covered["speakers"] / trials <= 0.99
    assert covered["utterances"] / trials < 0.75


def test_unknown_speakers_are_clusters_of_their_own():
    truth, prediction = random_labels(12, n=60)
    own = [f"s{number}" for number in range(60)]
    unknown = bootstrap_interval(truth, prediction, [None] * 60)
    assert unknown == bootstrap_interval(truth, prediction, own)
    half = score(
        WORDS[truth].tolist(), WORDS[prediction].tolist(), WORDS.tolist(), ["s0"] * 30 + [None] * 30, [None] * 60
    )
    assert half.n_clusters == 31


def test_one_speaker_alone_gives_no_interval():
    truth, prediction = random_labels(13)
    assert all(math.isnan(bound) for bound in bootstrap_interval(truth, prediction, ["s"] * 200))
    assert math.isnan(paired_difference(truth, prediction, truth, ["s"] * 200).low)


def test_bootstrap_refuses_what_it_does_not_know():
    with pytest.raises(GemoclapError, match="no statistic is called 'f1'; known: war, uar, macro_f1"):
        bootstrap_interval([0, 1], [0, 1], ["a", "b"], "f1")
    with pytest.raises(GemoclapError, match="2 labels but 1 speakers"):
        bootstrap_interval([0, 1], [0, 1], ["a"])


def test_group_gap_is_female_less_male_and_leaves_unknown_genders_out():
    truth, prediction = random_labels(14, n=150)
    genders = ["female"] * 60 + ["male"] * 50 + [None] * 40
    by_gender, gap = group_gap(truth, prediction, genders)
    female = sklearn_uar(truth[:60], prediction[:60])
    male = sklearn_uar(truth[60:110], prediction[60:110])
    assert by_gender == pytest.approx({"female": female, "male": male})
    assert gap == pytest.approx(female - male)
    assert group_gap(truth, prediction, ["male"] * 150)[1] is None
    assert group_gap(truth, prediction, [None] * 150) == ({}, None)


def test_score_puts_the_figures_together():
    truth, prediction = random_labels(15, true_classes=4)
    words = WORDS[truth].tolist(), WORDS[prediction].tolist()
    speakers, genders = random_speakers(16, 200, 8), ["female"] * 200
    scores = score(*words, WORDS.tolist(), speakers, genders)
    assert scores.n == 200 and scores.n_clusters == len(set(speakers))
    assert scores.uar == pytest.approx(sklearn_uar(*words))
    assert scores.macro_f1 == pytest.approx(f1_score(*words, average="macro"))
    assert math.isnan(scores.recalls["sad"])
    assert scores.uar_interval == pytest.approx(bootstrap_interval(*words, speakers, "uar"))
    assert scores.war_interval == pytest.approx(bootstrap_interval(*words, speakers, "war"))
    plain = scores.to_dict()
    assert plain["recalls"]["sad"] is None and plain["gender_gap"] is None
    assert sum(map(sum, plain["confusion"])) == 200


@pytest.mark.parametrize(
    ("truth", "said", "only"),
    [
        ("aaaaabbbbb", "a" * 10, "a"), ("bbbcc", "a" * 5, "a"), ("aaaabbbbb", "aaaaaaaab", None),
        ("ab", "aa", None), ("aaaaabbbb", "a" * 9, None), ("aaaaa", "aaaaa", None), ("bbbbb", "aaaaa", None),
    ],
)  # fmt: skip
def test_a_single_answer_is_one_for_five_others_or_more(truth: str, said: str, only: str | None):
    """Two utterances of a speaker that got the same answer were a training that 'has not learned the classes'."""
    scores = score([*truth], [*said], ["a", "b", "c"], ["one", *["two"] * (len(truth) - 1)], [None] * len(truth))
    assert scores.only_answer == only
