"""What is said of utterances that no class takes, and of corpora with one class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SMALL, run

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.data.folds import Fold
from gemoclap.data.reading import left_out, one_class_corpora, read_data, unused_merges
from gemoclap.data.targets import classes_by_corpus
from gemoclap.errors import GemoclapError
from gemoclap.heads.losses import am_softmax, cross_entropy
from gemoclap.labels import Vocabulary

TWO = Vocabulary("two", ("angry", "happy"), {"excited": "happy"})


def rows(*emotions: str | None) -> list[Utterance]:
    return [Utterance(str(number), "x.wav", emotion=emotion) for number, emotion in enumerate(emotions)]


def test_utterances_of_other_classes_are_counted_by_label() -> None:
    sentence = left_out(rows("angry", "bored", "excited", None, "bored"), TWO)
    assert sentence.startswith("3 of 5 utterances left out, because two has no such class: bored 2, no label 1 (")


def test_where_the_classes_were_listed_the_list_is_named(tmp_path: Path) -> None:
    manifest = tmp_path / "a.jsonl"
    write_manifest([replace(row, speaker=row.id) for row in rows("angry", "bored", "happy")], manifest)
    found, vocabulary, _ = read_data(DataSettings(str(manifest), emotions=["angry", "happy"]), has_folds=False)
    assert (
        left_out(found, vocabulary) == "1 of 3 utterances left out, because --data.emotions has no such class: bored 1"
    )


@pytest.mark.parametrize(
    ("emotions", "merges", "labels", "classes"),
    [
        # as `prepare csv` writes them: in lower case, and anger as angry
        (["Wut", "Trauer"], {"wütend": "Wut"}, ("wut", "wütend", "trauer"), ("Wut", "Wut", "Trauer")),
        (["Wut", "Trauer"], {"Wütend": "wut"}, ("wut", "wütend", "trauer"), ("Wut", "Wut", "Trauer")),
        (["anger", "Sadness"], {}, ("angry", "sad", "bored"), ("anger", "Sadness", None)),
        (["anger", "sadness"], {"Boredom": "Sad"}, ("angry", "sad", "bored"), ("anger", "sadness", "sadness")),
        # what says more is taken as it is
        (["joy", "angry"], {"happy": "joy"}, ("happy", "angry"), ("joy", "angry")),
        (["happy", "joy"], {}, ("happy", "joy"), ("happy", "joy")),
        (["happy", "Happy"], {"excited": "Happy"}, ("happy", "excited"), ("happy", "Happy")),
        # labels that a manifest keeps apart, though `prepare` has one word for them
        (["joy", "angry"], {}, ("happy", "joy", "angry"), (None, "joy", "angry")),
        (["calm", "happy"], {"joy": "calm"}, ("happy", "joy"), ("happy", "calm")),
        (None, {"joy": "calm"}, ("happy", "joy"), ("happy", "calm")),
        (["Joy", "angry"], {}, ("happy", "joy", "Angry"), (None, "Joy", "angry")),
        (None, {"Wütend": "Wut"}, ("wut", "wütend", "trauer"), ("wut", "wut", "trauer")),
        (None, {"excited": "joy"}, ("happy", "excited"), ("happy", "joy")),
    ],
)
def test_a_class_has_its_labels_in_whatever_case_or_word_it_is_listed(
    tmp_path: Path, emotions: list[str] | None, merges: dict[str, str], labels: tuple[str, ...], classes: tuple
) -> None:
    manifest = tmp_path / "a.jsonl"
    write_manifest([replace(row, speaker=row.id) for row in rows(*labels)], manifest)
    data = DataSettings(str(manifest), emotions=emotions, merges=merges)
    found, vocabulary, _ = read_data(data, has_folds=False)
    assert tuple(vocabulary.resolve(row.emotion) for row in found) == classes
    assert set(vocabulary.emotions) == set(classes) - {None}


def test_votes_are_counted_for_classes_in_another_case(tmp_path: Path) -> None:
    manifest = tmp_path / "a.jsonl"
    votes = {"wut": 2.0, "ärger": 1.0, "trauer": 3.0}
    write_manifest([replace(row, speaker="a", votes=votes) for row in rows("wut", "trauer")], manifest)
    data = DataSettings(str(manifest), emotions=["Wut", "Trauer"], merges={"Ärger": "Wut"})
    _, vocabulary, _ = read_data(data, has_folds=False)
    assert vocabulary.counts(votes) == [3.0, 3.0]


def test_nothing_is_said_where_all_are_taken() -> None:
    assert left_out(rows("angry", "excited", "happy"), TWO) == ""


def fold(name: str, *pairs: tuple[str | None, str]) -> Fold:
    """Return a fold that is trained on (corpus, emotion), and tested on the same."""
    made = tuple(Utterance(str(n), "x.wav", corpus=corpus, emotion=word) for n, (corpus, word) in enumerate(pairs))
    return Fold(name, made, (), made)


BOTH = (("a", "angry"), ("a", "happy"))


@pytest.mark.parametrize(
    ("folds", "begins"),
    [
        (
            [fold("all", *BOTH, ("b", "happy"), ("b", "excited"))],
            "corpus b has only 'happy' among the training utterances:",
        ),
        (
            [fold("all", *BOTH, ("b", "angry"), ("b", "bored"))],
            "corpus b has only 'angry' among the training utterances:",
        ),
        ([fold("all", *BOTH, (None, "angry"))], "the corpus without a name has only 'angry' among"),
        (
            [fold("fold_1", *BOTH, ("b", "angry"), ("b", "happy")), fold("fold_2", *BOTH, ("b", "angry"))],
            "corpus b has only 'angry' among the training utterances of fold_2:",
        ),
    ],
)
def test_a_corpus_of_one_class_is_named_with_its_class(folds: list[Fold], begins: str) -> None:
    (sentence,) = one_class_corpora(folds, TWO)
    assert sentence.startswith(begins)


@pytest.mark.parametrize("pairs", [BOTH, (*BOTH, ("b", "angry"), ("b", "excited")), (*BOTH, ("b", "bored"))])
def test_nothing_is_said_of_corpora_of_two_classes_or_none(pairs: tuple[tuple[str, str], ...]) -> None:
    assert one_class_corpora([fold("all", *pairs)], TWO) == []


def test_an_utterance_of_such_a_corpus_has_no_gradient() -> None:
    made = fold("all", *BOTH, ("b", "happy"))
    allowed = torch.from_numpy(classes_by_corpus(made.train, TWO))
    for loss in (
        lambda logits: cross_entropy(logits, torch.tensor([0, 1, 1]), -1, allowed),
        lambda logits: am_softmax(logits, torch.tensor([0, 1, 1]), 30.0, 0.2, allowed),
    ):
        logits = torch.tensor([[0.3, 0.1], [0.2, 0.5], [0.6, 0.4]], requires_grad=True)
        loss(logits).backward()
        assert logits.grad is not None
        assert (logits.grad[2] == 0).all() and (logits.grad[:2] != 0).all()


@pytest.mark.parametrize("command", ["train", "crossval"])
def test_it_is_said_before_anything_is_trained(
    command: str, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise GemoclapError("enough")

    monkeypatch.setattr(f"gemoclap.recipes.{command}.claim", stop)
    made = read_manifest(small_manifest)
    other = [replace(row, id=f"other-{row.id}", corpus="other") for row in made if row.emotion == "sad"]
    write_manifest([*made, *other], tmp_path / "joined.jsonl")
    methods = ["--methods", "ce"] if command == "crossval" else ["--method", "ce"]
    given = [command, tmp_path / "joined.jsonl", *SMALL, *methods, "--data.allow_speaker_overlap", "true"]
    given += ["--data.merges", "{shame: sad}"]
    assert run(*given, "-o", tmp_path / "run") == 2
    shown = capsys.readouterr()
    assert shown.out.count("beware: corpus other has only 'sad' among the training utterances: ") == 1
    assert shown.out.count("data.merges: no utterance has the label shame; labels of the manifest: angry, ") == 1
    assert shown.err == "gemoclap: enough\n"


@pytest.mark.parametrize(
    ("merges", "says"),
    [
        ({"wut": "angry", "Joy": "happy", "ANGER": "angry"}, ""),
        (
            {"wuut": "angry", "joy": "happy", "shame": "sad"},
            "data.merges: no utterance has the label wuut (did you mean 'wut'?), shame; labels of the manifest: angry, joy, "
            "wut",
        ),
    ],
)
def test_labels_to_rename_that_nothing_has_are_named(merges: dict[str, str], says: str) -> None:
    found = rows("wut", "joy", None, None)
    found[3] = replace(found[3], votes={"angry": 1.0})
    assert unused_merges(DataSettings(merges=merges), found) == says


def test_labels_that_are_renamed_to_no_class_are_named() -> None:
    found = rows("wut", "joy")
    listed = DataSettings(emotions=["angry", "happy"], merges={"wut": "angrry", "joy": "Happy"})
    assert unused_merges(listed, found) == "data.merges: wut becomes angrry (did you mean 'angry'?), which is no class"
    assert not unused_merges(DataSettings(merges={"wut": "angrry"}), found)  # a class of its own


def test_labels_of_a_manifest_are_not_listed_without_end() -> None:
    found = rows(*(f"label {number}" for number in range(10_000)))
    assert len(unused_merges(DataSettings(merges={"shame": "sad"}), found)) < 300
    assert unused_merges(DataSettings(merges={"shame": "sad"}), rows(None)).endswith("labels of the manifest: none")
