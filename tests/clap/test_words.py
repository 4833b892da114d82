"""Words for emotions and other words: what MiniLM tells apart, and who may ask for what."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small import complaint, run
from sound import noise, write

from gemoclap import Predictor
from gemoclap.clap.words import EMOTION_WORDS, FLOOR, spelling_hint, unlike_emotions
from gemoclap.encoders.text import MINILM, TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.labels import OTHER_WORDS, prompt_word, same_word, untrained_labels
from gemoclap.models import classifier_of

EMOTIONS = ("furious", "cheerful", "bored", "excited", "very tired", "in love", "ecstatic", "gloomy", "loud")
OTHERS = ("banana", "car", "Tuesday", "table", "London", "invoice")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained("default", device="cpu")


def test_words_for_emotions_are_told_from_others(predictor: Predictor) -> None:
    measured = [word for words in OTHER_WORDS.values() for word in words]
    assert unlike_emotions(predictor.model, (*EMOTIONS, *measured, *(f" {word.title()}" for word in measured))) == {}
    found = unlike_emotions(predictor.model, (*EMOTIONS, *OTHERS, "happy"))
    assert tuple(found) == OTHERS
    text = TextEncoder.from_pretrained(MINILM)
    with torch.no_grad():
        known, asked = (text(list(words)).double().numpy() for words in (EMOTION_WORDS, OTHERS))
    for place, word in enumerate(OTHERS):
        cosines = [asked[place] @ one / np.linalg.norm(asked[place]) / np.linalg.norm(one) for one in known]
        assert found[word] == pytest.approx(max(cosines), abs=1e-5) and found[word] < FLOOR


def test_a_word_for_no_emotion_is_refused_unless_asked_for(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clip = noise(0.5)
    with pytest.raises(GemoclapError, match=r"'banana' is like no English word for an emotion \(similarity 0\.\d\d"):
        predictor(clip, labels=["happy", "banana"])
    with pytest.raises(GemoclapError, match="banana"):
        next(predictor.predict_many([clip], labels=["happy", "banana"]))
    predictor.any_words = True
    assert predictor(clip, labels=["happy", "banana"]).probabilities.keys() == {"happy", "banana"}
    predictor.any_words = False
    with pytest.raises(GemoclapError):  # the classes are kept, the permission is not
        predictor(clip, labels=["happy", "banana"])
    path = write(tmp_path / "a.wav", clip)
    for command in ("predict", "timeline"):
        assert "add --any_words" in complaint(capsys, command, path, "--labels", "happy,banana", "--speech", "all")
        assert run(command, path, "--labels", "happy,banana", "--speech", "all", "--any_words") == 0


def test_labels_that_were_not_trained_are_told_from_other_words_for_those_that_were() -> None:
    trained = ("angry", "happy", "surprised")
    assert untrained_labels(("Anger", "happy", "JOY", "surprise"), trained) == []
    assert untrained_labels(("bored", "anger", "calm", "furious"), trained) == ["bored", "calm"]
    assert untrained_labels(("Furious", "terrified", "in tears"), trained) == ["terrified", "in tears"]
    assert untrained_labels(("enraged", "gloomy", "Overjoyed", "frightened"), trained) == ["gloomy", "frightened"]
    assert untrained_labels(("joy", "Joy of it"), ("Joy",)) == ["Joy of it"]  # a class of one's own corpus


def test_a_label_names_a_class_in_any_case_and_by_its_other_names() -> None:
    trained = ("angry", "happy", "Joy")
    for label, named in (("angry", "angry"), (" Anger", "angry"), ("ANG", "angry"), ("joy", "Joy"), ("Joy", "Joy")):
        assert same_word(label, trained) == named
    assert same_word("happiness", trained) == "happy" and same_word("happiness", ("joy", "sad")) == "joy"
    assert same_word("furious", trained) is None and same_word("sad", trained) is None


def test_a_prompt_has_the_class_in_its_own_case_and_no_short_forms(predictor: Predictor) -> None:
    """A text encoder that tells cases apart would see another word; none has learnt what 'neu' is."""
    words = ("happy", "sad", "neutral")
    for labels in (("HAPPY", " Sad", "Neutral"), ("hap", "sad", "neu")):
        found = classifier_of(predictor.model, labels)
        assert found.labels == labels and torch.equal(found.weight, classifier_of(predictor.model, words).weight)
        assert unlike_emotions(predictor.model, labels) == {}
    answer = predictor(noise(0.5), labels=["neu", "hap", "sad"])
    same = predictor(noise(0.5), labels=["neutral", "happy", "sad"])
    assert [*answer.probabilities.values()] == [*same.probabilities.values()]
    assert "trained" not in (answer.remark or "")  # it is the class of training indeed
    assert np.array_equal(predictor.embed_words("ang"), predictor.embed_words("angry"))
    assert prompt_word("ang", ("Anger", "Joy")) == "Anger" and prompt_word("anger", ("angry", "sad")) == "anger"
    assert classifier_of(predictor.model, ("exc", "sad")).prompts[0].endswith("excited")  # also where it is no class
    for labels in (["neu", "neutral"], ["neu", "Neutral", "sad"]):
        with pytest.raises(GemoclapError, match="are the same class, neutral; give one of them"):
            predictor(noise(0.5), labels=labels)
    words = ("joy", "happiness")  # words of their own, with prompts of their own
    assert classifier_of(predictor.model, words).prompts == ("The emotion is joy", "The emotion is happiness")


def test_other_words_that_were_not_measured_lie_nearest_to_their_emotion() -> None:
    """In the space in which clips and prompts are compared, of the model of the package that has all eight emotions."""
    model = Predictor.from_pretrained("research", device="cpu").model
    emotions = tuple(OTHER_WORDS)
    assert set(emotions) == set(model.config.emotions.emotions)
    own = classifier_of(model, emotions).weight
    for emotion, words in OTHER_WORDS.items():
        further = words[2:]
        nearest = (classifier_of(model, (*further, emotion)).weight[:-1] @ own.T).argmax(1)
        assert [emotions[place] for place in nearest] == [emotion] * len(further)
    everything = [word for words in OTHER_WORDS.values() for word in words]
    assert len(set(everything)) == len(everything) and len(everything) >= 2 * 8 + 12


@pytest.mark.parametrize("command", ["predict", "timeline"])
def test_a_user_hears_which_labels_were_not_trained(
    command: str, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [command, write(tmp_path / "a.wav", noise(0.5)), "--model", small_model, "--speech", "all"]
    assert run(*given, "--labels", "joy,bored,sad,calm") == 0
    shown = capsys.readouterr()
    assert "not trained on bored, calm; other words for its own emotions (angry, happy, neutral, sad)" in shown.err
    assert (shown.err + shown.out).count("not trained") == 1
    assert run(*given, "--labels", "joy,furious,sad") == 0 and run(*given) == 0
    shown = capsys.readouterr()
    assert "not trained" not in shown.err + shown.out


def test_files_and_answers_say_which_labels_were_not_trained(small_model: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    clip = noise(0.5)
    path = write(tmp_path / "a.wav", clip)
    assert (predictor(clip, ["happy", "bored"]).remark or "").startswith("the model was not trained on bored")
    assert "not trained" not in (predictor(clip, ["happy", "furious"]).remark or predictor(clip).remark or "")
    assert "not trained on bored; " in predictor.stream(labels=["happy", "bored"]).remarks[0]
    assert predictor.stream(labels=["happy", "furious"]).remarks == predictor.stream().remarks == []
    given = [path, "--model", small_model, "--speech", "all", "--labels", "happy,bored"]
    outputs = [tmp_path / f"out.{form}" for form in ("json", "vtt", "png")]
    assert run("timeline", *given, *(f"--output={one}" for one in outputs)) == 0
    assert [one.partition(";")[0] for one in json.loads(outputs[0].read_text())["remarks"]] == [
        "the model was not trained on bored"
    ]
    assert "NOTE the model was not trained on bored; " in outputs[1].read_text()


def test_the_rows_of_a_table_do_not_repeat_which_labels_were_not_trained(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros(16000))
    given = ["predict", write(tmp_path / "a.wav", noise(0.5)), silent, "--model", small_model, "--speech", "all"]
    assert run(*given, "--labels", "happy,bored", "-o", tmp_path / "out.csv") == 0
    assert capsys.readouterr().err.count("not trained on bored") == 1
    with (tmp_path / "out.csv").open() as file:
        heard, quiet = (row["remark"] for row in csv.DictReader(file))
    assert "trained" not in heard + quiet and quiet.startswith("silent")
    assert run(*given, "--labels", "happy,bored", "--json") == 0
    assert "trained" not in capsys.readouterr().out


def test_other_text_encoders_are_not_asked(small_model: Path) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    is_minilm = predictor.model.config.text_weights == MINILM
    predictor.model.config.text_weights = "saved"
    assert unlike_emotions(predictor.model, OTHERS) == {}
    predictor.model.config.text_weights = MINILM
    assert bool(unlike_emotions(predictor.model, OTHERS)) or not is_minilm


def test_a_misspelt_word_gets_a_hint_and_a_known_one_does_not() -> None:
    assert spelling_hint("Hapy", ("angry",)) == " (did you mean 'happy'?)"
    assert spelling_hint("grumpyy", ("grumpy",)) == " (did you mean 'grumpy'?)"
    assert (
        spelling_hint("Furious", ("angry",)) == spelling_hint("grumpy", ("grumpy",)) == spelling_hint("xyz", ()) == ""
    )
