"""Who is tested: properties of folds on made-up corpora."""

from __future__ import annotations

import logging
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
from fold_corpora import TWO, assert_sound, corpus, ids, speakers

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA
from gemoclap.corpora import emodb as emodb_parser
from gemoclap.corpora import ravdess as ravdess_parser
from gemoclap.corpora.manifest import Utterance
from gemoclap.data import balance
from gemoclap.data.balance import balanced_groups
from gemoclap.data.folds import Fold, make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import VOCABULARIES


@pytest.mark.parametrize("dev_speakers", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("settings", "number"),
    [
        (DataSettings(folds="session"), 4),
        (DataSettings(folds="speaker"), 8),
        (DataSettings(folds="kfold", n_folds=3), 3),
        (
            DataSettings(folds="lists", test_speakers=[["s1", "s2"], ["s3"], ["s4", "s5", "s6", "s7"], ["s8"]]),
            4,
        ),
    ],
)
def test_folds_are_disjoint_and_complete(settings: DataSettings, number: int, dev_speakers: int) -> None:
    rows = corpus()
    folds = make_folds(rows, replace(settings, dev_speakers=dev_speakers), TWO)
    assert len(folds) == number
    assert_sound(folds, rows, TWO)
    for fold in folds:
        assert len(speakers(fold.dev)) == dev_speakers
        genders = Counter({row.speaker: row.gender for row in fold.dev}.values())
        assert abs(genders["female"] - genders["male"]) <= 1
        if dev_speakers:
            assert {TWO.resolve(row.emotion) for row in fold.dev} == {"angry", "happy"}
    if dev_speakers:
        assert len({frozenset(speakers(fold.dev)) for fold in folds}) > 1


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    rows = corpus()
    settings = DataSettings(folds="kfold", n_folds=3, dev_speakers=2)
    one, two = (make_folds(order, settings, TWO) for order in (rows, rows[::-1]))
    assert [fold.hash for fold in one] == [fold.hash for fold in two]


def test_hash_changes_with_every_part() -> None:
    rows = corpus(2)
    fold = Fold("f", tuple(rows[:4]), tuple(rows[4:8]), tuple(rows[8:]))
    assert fold.hash == replace(fold, name="other", train=fold.train[::-1]).hash
    changed = [
        replace(fold, train=fold.train[1:]),
        replace(fold, dev=fold.dev[1:]),
        replace(fold, test=fold.test[1:]),
        replace(fold, train=fold.dev, dev=fold.train),
        replace(fold, train=fold.train + fold.dev[:1], dev=fold.dev[1:]),
    ]
    assert len({fold.hash, *(other.hash for other in changed)}) == 6
    assert len(fold.hash) == 12 and int(fold.hash, 16) >= 0


def test_dev_speakers_cover_every_class_where_they_can() -> None:
    """Only s5 and s6 are ever happy beside the test speakers, so one of them must be chosen and one must stay."""
    rows = [row for row in corpus() if row.emotion != "excited" or row.speaker in ("s1", "s5", "s6")]
    settings = DataSettings(folds="lists", test_speakers=[["s1"]], dev_speakers=1)
    (fold,) = make_folds(rows, settings, TWO)
    assert speakers(fold.dev) <= {"s5", "s6"}
    assert {TWO.resolve(row.emotion) for row in fold.train} == {"angry", "happy"}


def test_balanced_groups_balance_gender_and_emotion() -> None:
    """Sizes, classes and genders that a division by name or by order would get wrong, and an exact one exists."""
    plan = [("female", 9, 1), ("female", 9, 1), ("female", 1, 9), ("female", 1, 9)]
    plan += [("male", 1, 9), ("male", 1, 9), ("male", 9, 1), ("male", 9, 1)]
    rows = [
        Utterance(f"{speaker}{emotion}{take}", "x.wav", speaker=f"s{speaker}", gender=gender, emotion=emotion)
        for speaker, (gender, angry, happy) in enumerate(plan)
        for emotion, count in (("angry", angry), ("happy", happy))
        for take in range(count)
    ]
    groups = balanced_groups(rows, 4, TWO)
    for group in groups:
        inside = [row for row in rows if row.speaker in group]
        assert len(group) == 2
        assert Counter(row.emotion for row in inside) == {"angry": 10, "happy": 10}
        assert speakers([row for row in inside if row.gender == "female"]) != speakers(inside)


def imbalance(groups: list[list[str]], rows: Sequence[Utterance]) -> float:
    """Sum of squared group shares of each class, each gender's speakers, and the speakers, counted one by one."""
    total = 0.0
    for group in groups:
        inside = [row for row in rows if row.speaker in group]
        for emotion in {row.emotion for row in rows}:
            share = sum(row.emotion == emotion for row in inside) / sum(row.emotion == emotion for row in rows)
            total += share**2
        for gender in ("female", "male"):
            everyone = speakers([row for row in rows if row.gender == gender])
            total += (len(everyone & set(group)) / max(len(everyone), 1)) ** 2
        total += (len(group) / len(speakers(rows))) ** 2
    return total


@pytest.mark.parametrize("seed", range(8))
def test_no_exchange_of_two_speakers_balances_better(seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        Utterance(f"{speaker}{emotion}{take}", "x.wav", speaker=f"s{speaker}", gender=gender, emotion=emotion)
        for speaker, gender in enumerate(chance.choices(("female", "male", None), k=9))
        for emotion in ("angry", "happy")
        for take in range(chance.randint(1, 30))
    ]
    groups = balanced_groups(rows, 3, TWO)
    assert sorted(name for group in groups for name in group) == sorted(str(name) for name in speakers(rows))
    least = imbalance(groups, rows)
    for one, two in combinations(range(3), 2):
        for here, there in product(groups[one], groups[two]):
            exchanged = list(groups)
            exchanged[one] = [name for name in groups[one] if name != here] + [there]
            exchanged[two] = [name for name in groups[two] if name != there] + [here]
            assert imbalance(exchanged, rows) > least - 1e-6


def test_one_huge_speaker_leaves_no_group_empty() -> None:
    rows = corpus(4, each=1) + [replace(row, id=f"{row.id}+{n}") for n in range(90) for row in corpus(1, each=1)]
    groups = balanced_groups([row for row in rows if row.emotion != "bored"], 4, TWO)
    assert sorted(map(len, groups)) == [1, 1, 1, 1]


def test_shared_speakers_are_refused_unless_asked_for() -> None:
    rows = [replace(row, speaker="anna") if row.speaker in ("s1", "s3") else row for row in corpus(4)]
    with pytest.raises(GemoclapError, match=r"session_1: 1 speaker.*\(anna\).*--data.allow_speaker_overlap"):
        make_folds(rows, DataSettings(folds="session"), TWO)
    folds = make_folds(rows, DataSettings(folds="session", allow_speaker_overlap=True), TWO)
    assert [fold.shared_speakers for fold in folds] == [("anna",), ("anna",)]
    unknown = [replace(row, speaker=None) for row in rows]
    assert len(make_folds(unknown, DataSettings(folds="session", allow_speaker_overlap=True), TWO)) == 2


def bad_rows() -> list[Utterance]:
    return [replace(row, speaker=None, session=None) if row.id == "s2_angry1" else row for row in corpus()]


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        (bad_rows(), DataSettings(folds="kfold"), r"1 row\(s\).* no speaker \(s2_angry1\); fill the field"),
        (bad_rows(), DataSettings(folds="session", allow_speaker_overlap=True), r"no session \(s2_angry1\).*kfold"),
        (bad_rows(), DataSettings(folds="session", allow_speaker_overlap=True, dev_speakers=1), "no speaker"),
        (corpus(), DataSettings(folds="kfold", n_folds=9), "8 speaker.* --data.n_folds"),
        (corpus(), DataSettings(folds="kfold", n_folds=1), "--data.n_folds"),
        (corpus(1), DataSettings(folds="speaker"), "one speaker only"),
        (corpus(2), DataSettings(folds="session"), "one session only"),
        (corpus(), DataSettings(folds="lists"), "needs --data.test_speakers"),
        (corpus(), DataSettings(folds="lists", test_speakers=[["s1"], []]), "none empty"),
        (corpus(), DataSettings(folds="lists", test_speakers=[["s1"], ["s2x"]]), "did you mean 's2'"),
        (corpus(), DataSettings(folds="lists", test_speakers=[["s1"], ["s1"]]), "'s1' is listed 2 times"),
        (corpus(2), DataSettings(folds="lists", test_speakers=[["s1", "s2"]]), "fold_1: the training part is empty"),
        (corpus(), DataSettings(folds="files"), "needs --data.fold_files"),
        (corpus(), DataSettings(folds="kfold", dev_speakers=7), "lower --data.dev_speakers"),
        (
            [row for row in corpus() if row.emotion != "excited" or row.speaker == "s3"],
            DataSettings(folds="speaker"),
            "speaker_s3: class 'happy' has no utterance in training",
        ),
        (
            [row for row in corpus() if row.emotion != "excited"],
            DataSettings(folds="speaker"),
            "class 'happy' has no utterance; there are only angry; .* --data.emotions",
        ),
        (
            [row for row in corpus() if row.emotion == "bored"],
            DataSettings(folds="session"),
            "labels in the manifest: bored",
        ),
    ],
)
def test_bad_settings_and_rows_are_one_line(rows: list[Utterance], settings: DataSettings, says: str) -> None:
    with pytest.raises(GemoclapError, match=says) as caught:
        make_folds(rows, settings, TWO)
    assert "\n" not in str(caught.value)


def test_names_are_folders_and_in_natural_order() -> None:
    rows = [
        replace(row, session={"1": "10", "2": "9", "3": "../up", "4": "a/b"}[row.session or ""]) for row in corpus()
    ]
    names = [fold.name for fold in make_folds(rows, DataSettings(folds="session"), TWO)]
    assert names.index("session_9") < names.index("session_10")
    assert all(Path(name).name == name for name in names)


def two_corpora(each: int = 3) -> list[Utterance]:
    """Speakers 1 to 4 in one corpus, women, and other people of the same numbers in another, men."""
    return [
        Utterance(f"{corpus}-{n}{emotion}{take}", "x.wav", None, None, corpus, str(n), str(n), gender, emotion)
        for corpus, gender in (("one", "female"), ("two", "male"))
        for n in range(1, 5)
        for emotion in ("angry", "happy")
        for take in range(each)
    ]


def test_one_name_in_two_corpora_is_two_people() -> None:
    """Speaker 1 of one corpus may be tested while speaker 1 of the other is trained on; eight people, not four."""
    rows = two_corpora()
    folds = make_folds(rows, DataSettings(folds="speaker"), TWO)
    assert [fold.name for fold in folds] == [f"speaker_{c}%2F{n}" for c in ("one", "two") for n in range(1, 5)]
    for fold in folds:
        assert len({(row.corpus, row.speaker) for row in fold.test}) == 1 and len(fold.test) == 6
        assert fold.shared_speakers == ()
    groups = balanced_groups(rows, 4, TWO)
    assert sorted(name for group in groups for name in group) == [
        f"{c}/{n}" for c in ("one", "two") for n in range(1, 5)
    ]
    assert all(sorted(name.split("/")[0] for name in group) == ["one", "two"] for group in groups)  # a woman and a man
    (dev,) = make_folds(rows, DataSettings(folds="lists", test_speakers=[["one/1", "two/2"]], dev_speakers=2), TWO)
    assert {(row.corpus, row.speaker) for row in dev.test} == {("one", "1"), ("two", "2")}
    assert len({(row.corpus, row.speaker) for row in dev.dev}) == 2
    assert {row.gender for row in dev.dev} == {"female", "male"}
    mixed = Fold("f", tuple(rows[:6]), (), tuple(row for row in rows if row.corpus == "two"))
    assert mixed.shared_speakers == ()
    with pytest.raises(GemoclapError, match=r"test speaker '1' may be one/1 or two/1"):
        make_folds(rows, DataSettings(folds="lists", test_speakers=[["1"]]), TWO)


def test_case_and_blanks_do_not_make_two_people() -> None:
    spellings = {"s1": ("Ses05F", "ses05f ", " SES05F"), "s2": ("a  b", "A b", "a b ")}
    rows = [
        replace(row, speaker=spellings[row.speaker][place % 3]) if row.speaker in spellings else row
        for place, row in enumerate(corpus(4))
    ]
    folds = make_folds(rows, DataSettings(folds="speaker"), TWO)
    assert [len(fold.test) for fold in folds] == [8] * 4
    assert [fold.hash for fold in sorted(folds, key=lambda fold: min(ids(fold.test)))] == [
        fold.hash for fold in make_folds(corpus(4), DataSettings(folds="speaker"), TWO)
    ]
    by_hand = Fold("f", (rows[0],), (), (rows[1],))
    assert by_hand.shared_speakers == ("Ses05F",)


def test_test_speakers_are_found_in_any_spelling() -> None:
    names = {"s1": "Zoë", "s2": "Łukasz"}
    rows = [replace(row, speaker=names.get(row.speaker, row.speaker)) for row in corpus(4)]
    asked = [[unicodedata.normalize("NFD", "zoë ")], ["ŁUKASZ", "s3"]]
    folds = make_folds(rows, DataSettings(folds="lists", test_speakers=asked), TWO)
    assert [{row.speaker for row in fold.test} for fold in folds] == [{"Zoë"}, {"Łukasz", "s3"}]


def test_speakers_in_no_list_of_test_speakers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_folds(corpus(4), DataSettings(folds="lists", test_speakers=[["s1"]]), TWO)
        make_folds(corpus(4), DataSettings(folds="lists", test_speakers=[["s1", "s2"], ["s3", "s4"]]), TWO)
        assert not caplog.records
        make_folds(corpus(4), DataSettings(folds="lists", test_speakers=[["s1"], ["s3"]]), TWO)
    assert [one.getMessage() for one in caplog.records] == [
        "data.test_speakers: trained on in every fold, and never tested: s2, s4"
    ]


def test_one_speaker_cannot_be_divided_and_that_is_said() -> None:
    with pytest.raises(GemoclapError, match=r"one speaker only \(s1\)") as caught:
        make_folds(corpus(1), DataSettings(folds="kfold"), TWO)
    assert " to 1 " not in str(caught.value)


def test_usual_folds_are_those_of_every_version() -> None:
    """Hashes that version 0.1.0 wrote before speakers got the name of their corpus: a run of then can go on."""
    actors = [
        ravdess_parser.describe(f"03-01-{emotion:02d}-{level:02d}-{words:02d}-{take:02d}-{actor:02d}", "x.wav")
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for level in (1, 2)
        if (emotion, level) != (1, 2)
        for words, take in product((1, 2), (1, 2))
    ]
    german = [
        emodb_parser.describe(f"{speaker}{words}{emotion}{take}", "x.wav")
        for n, speaker in enumerate(emodb_parser.GENDERS)
        for m, words in enumerate(emodb_parser.SENTENCES)
        for k, emotion in enumerate("WLEAFTN")
        for take in "ab"
        if (n * 7 + m * 3 + k * 5 + ord(take)) % 4
    ]
    usual = {"ravdess": (actors, ravdess_parser.FOLDS), "emodb": (german, emodb_parser.FOLDS)}
    found = {}
    for name, (rows, folds) in usual.items():
        vocabulary = VOCABULARIES[CORPORA[name].vocabulary]
        for asked in (DataSettings(**folds), DataSettings(folds="kfold", n_folds=4, dev_speakers=2)):
            found[name, asked.folds, asked.n_folds] = [f.hash for f in make_folds(rows, asked, vocabulary)]
    assert found == {
        ("ravdess", "lists", None): [
            "f0a4765a4196", "892ee3728b87", "68008a7ba802", "a551ba7fed68", "63bd37f6f553", "afd693b6fdc7",
        ],
        ("ravdess", "kfold", 4): ["26691b9c4e14", "3feec9e37367", "fd6b81d48070", "ecec7cd1c551"],
        ("emodb", "kfold", 5): ["fa7a3d5c5166", "beb426f0cf11", "4d2fd954362b", "13c466ca978f", "936fff08d4b9"],
        ("emodb", "kfold", 4): ["cd516add844f", "ff667dde974b", "2b893386428b", "575f239c8978"],
    }  # fmt: skip


def test_many_speakers_are_balanced_without_a_look_at_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of speakers grow with the square of their number: only so many of them are looked at."""
    tried: list[int] = []
    exchange = balance._exchange_places
    monkeypatch.setattr(balance, "_exchange_places", lambda one, *rest: (tried.append(len(one)), exchange(one, *rest)))
    rows = [row for row in corpus(700, each=1) if row.emotion != "bored"]
    groups = balanced_groups(rows, 5, TWO)
    assert tried == [balance.EXCHANGED]
    assert [len(group) for group in groups] == [140] * 5
    assert all(sum(int(name[1:]) % 2 for name in group) == 70 for group in groups)


def test_names_that_are_not_utf8_have_a_hash() -> None:
    rows = [replace(row, id=f"{row.id}\udcc9") for row in corpus(2)]
    one, two = make_folds(rows, DataSettings(folds="speaker"), TWO)
    assert one.hash != two.hash and len(one.hash) == 12
