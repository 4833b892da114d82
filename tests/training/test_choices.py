"""Evaluating among other classes than the model's: some of them, several joined, other words."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from small import SMALL, changed, complaint, run

from gemoclap.corpora.manifest import read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.inference.predictor import Predictor
from gemoclap.labels import Vocabulary
from gemoclap.metrics.calibration import confidence_of
from gemoclap.training.choices import as_spelt, check_merges, choice_of

OWN = Vocabulary("own", ("angry", "calm", "happy", "neutral", "sad"), {"excited": "happy"})


@pytest.fixture(scope="module")
def plain(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with a plain head and a temperature of 0.5."""
    folder = tmp_path_factory.mktemp("plain")
    assert run("train", small_manifest, *SMALL, "--method", "ce", "-o", folder / "run") == 0
    model = folder / "run" / "model"
    config = json.loads((model / "config.json").read_text())
    config["calibration"] = {"temperature": 0.5, "fitted_on": "a test"}
    (model / "config.json").write_text(json.dumps(config))
    return model


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_classes_are_joined_and_labels_renamed_by_the_same_rule() -> None:
    choice = choice_of(OWN, merges={"calm": "neutral", "content": "neutral"})
    assert choice.words == OWN.emotions
    assert choice.vocabulary.emotions == ("angry", "neutral", "happy", "sad")
    resolve = choice.vocabulary.resolve
    assert [resolve(one) for one in ("calm", "content", "neutral", "excited", "bored", None)] == [
        "neutral", "neutral", "neutral", "happy", None, None,
    ]  # fmt: skip
    scores = np.array([[0.1, 0.3, 0.2, 0.15, 0.25]])
    np.testing.assert_allclose(choice.join(scores), [[0.1, 0.45, 0.2, 0.25]])


def test_the_models_own_merges_come_before_those_that_are_asked_for() -> None:
    resolve = choice_of(OWN, merges={"happy": "positive", "calm": "positive"}).vocabulary.resolve
    assert (resolve("excited"), resolve("calm"), resolve("happy")) == ("positive",) * 3
    assert choice_of(OWN, labels=["excited", "happy"]).vocabulary.resolve("excited") == "excited"


@pytest.mark.parametrize(
    ("labels", "merges", "words"),
    [
        (["sad", "angry"], {}, ("sad", "angry")),
        (["neutral", "sad"], {"calm": "neutral"}, ("neutral", "calm", "sad")),
        (["quiet", "sad"], {"calm": "quiet", "neutral": "quiet"}, ("calm", "neutral", "sad")),
        (["bored", "banana"], {"tired": "bored"}, ("bored", "banana")),
        (["calm", "neutral", "sad"], {"calm": "neutral"}, ("calm", "neutral", "sad")),
    ],
)
def test_which_words_are_asked_for(labels: list[str], merges: dict[str, str], words: tuple[str, ...]) -> None:
    choice = choice_of(OWN, labels, merges)
    assert choice.words == words
    assert choice.vocabulary.emotions == tuple(dict.fromkeys(merges.get(one, one) for one in labels))


@pytest.mark.parametrize(
    ("labels", "merges", "says"),
    [
        (["sad"], {}, "only one class is left to choose among, sad"),
        (["calm", "neutral"], {"calm": "neutral"}, "only one class is left"),
        (["sad", "sad"], {}, "give each label once"),
        (None, {"calm": "neutral", "neutral": "sad"}, "calm becomes neutral, which becomes sad; write calm: sad"),
    ],
)
def test_choices_that_are_none(labels: list[str] | None, merges: dict[str, str], says: str) -> None:
    with pytest.raises(GemoclapError, match=says):
        choice_of(OWN, labels, merges)


def test_labels_and_merges_are_taken_in_any_case() -> None:
    found = ["angry", "excited", "wut", None]
    labels, merges = as_spelt(["Sad", "Angry", "joyful"], {"Wut": "ANGRY", "excitement": "Sad"}, OWN, found)
    assert (labels, merges) == (["sad", "angry", "joyful"], {"wut": "angry", "excited": "sad"})
    assert as_spelt(None, {"happy": "Positive"}, OWN, found) == (None, {"happy": "Positive"})


def test_two_words_for_one_label_are_not_merged_into_different_classes() -> None:
    with pytest.raises(GemoclapError, match="joy and happy are the same class, happy; give one of them"):
        as_spelt(None, {"joy": "calm", "happy": "neutral"}, OWN, ["happy"])


@pytest.mark.parametrize(
    ("labels", "merges", "found", "classes"),
    [
        (["anger", "sad"], {}, ("angry", "Sad", "happy"), ("anger", "sad", None)),
        (None, {}, ("ANGRY", "joy", "excited", "Excited", "wut"), ("angry", "happy", "happy", "happy", None)),
        (None, {}, ("joy", "happy"), (None, "happy")),
        (["joyful", "sad"], {"calm": "sad"}, ("happy", "excited", "Calm"), ("joyful", "joyful", "sad")),
    ],
)
def test_a_label_is_a_class_in_whatever_spelling_as_in_training(
    labels: list[str] | None, merges: dict[str, str], found: tuple[str, ...], classes: tuple[str | None, ...]
) -> None:
    resolve = choice_of(OWN, labels, merges, found).vocabulary.resolve
    assert tuple(map(resolve, found)) == classes


def test_a_plain_head_is_scored_under_other_names_of_its_classes(
    plain: Path, small_manifest: Path, tmp_path: Path
) -> None:
    own, other = ("sad", "angry"), ("sadness", "Anger")
    for labels in (own, other):
        output = tmp_path / labels[0]
        assert run("evaluate", small_manifest, "--model", plain, "--labels", ",".join(labels), "-o", output) == 0
    named = dict(zip(own, other, strict=True))
    for one, same in zip(predictions(tmp_path / own[0]), predictions(tmp_path / other[0]), strict=True):
        assert (named[one["truth"]], named[one["prediction"]]) == (same["truth"], same["prediction"])
        assert [one["id"], one["p_sad"], one["p_angry"]] == [same["id"], same["p_sadness"], same["p_Anger"]]


def test_evaluate_scores_the_same_however_its_labels_are_written(
    small_model: Path, small_manifest: Path, tmp_path: Path
) -> None:
    for name, labels, merges in (("as_is", "angry,sad", "{happy: angry}"), ("written", "Angry,SAD", "{Happy: Angry}")):
        command = ("evaluate", small_manifest, "--model", small_model, "--labels", labels, "--merges", merges)
        assert run(*command, "-o", tmp_path / name) == 0
    assert predictions(tmp_path / "as_is") == predictions(tmp_path / "written")


def test_evaluate_joins_classes_as_a_loop_over_the_predictor_does(
    plain: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    renamed = changed(
        small_manifest, tmp_path / "m.jsonl", emotion=lambda row: "calm" if row.emotion == "sad" else row.emotion
    )
    merges = "{sad: neutral, calm: neutral, angry: loud, happy: loud}"
    assert run("evaluate", renamed, "--model", plain, "--merges", merges, "-o", tmp_path / "out") == 0
    predictor = Predictor.from_pretrained(plain)
    into = {"angry": "loud", "happy": "loud", "neutral": "neutral", "sad": "neutral", "calm": "neutral"}
    truth, said, joined, before = [], [], [], []
    for row in read_manifest(renamed):
        by_class, without = {"loud": 0.0, "neutral": 0.0}, {"loud": 0.0, "neutral": 0.0}
        own = predictor(row).probabilities
        at_one = {label: one**0.5 / sum(other**0.5 for other in own.values()) for label, one in own.items()}
        for label in own:
            by_class[into[label]] += own[label]
            without[into[label]] += at_one[label]
        truth.append(into[str(row.emotion)])
        said.append(max(by_class, key=lambda label: by_class[label]))
        joined.append([*by_class.values()])
        before.append([*without.values()])
    rows = predictions(tmp_path / "out")
    assert [row["truth"] for row in rows] == truth and [row["prediction"] for row in rows] == said
    np.testing.assert_allclose([[float(row["p_loud"]), float(row["p_neutral"])] for row in rows], joined, atol=1e-5)
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert saved["uar"] == pytest.approx(recall_score(truth, said, average="macro"))
    numbers = np.array([["loud", "neutral"].index(one) for one in truth])
    assert saved["confidence"]["before"]["nll"] == pytest.approx(confidence_of(np.array(before), numbers).nll, rel=1e-4)
    assert saved["confidence"]["after"]["nll"] == pytest.approx(confidence_of(np.array(joined), numbers).nll, rel=1e-4)
    assert f"{len(truth)} utterances: WAR" in capsys.readouterr().out


def test_a_plain_head_chooses_among_some_of_its_classes(
    plain: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("evaluate", small_manifest, "--model", plain, "--labels", "sad,angry", "-o", tmp_path / "out") == 0
    assert "happy 8, neutral 8: these labels are not among the classes to choose from" in capsys.readouterr().out
    predictor = Predictor.from_pretrained(plain)
    by_id = {row.id: row for row in read_manifest(small_manifest)}
    rows = predictions(tmp_path / "out")
    assert {row["truth"] for row in rows} == {"sad", "angry"} and len(rows) == 16
    for row in rows:
        whole = predictor(by_id[row["id"]]).probabilities
        share = whole["sad"] / (whole["sad"] + whole["angry"])
        assert float(row["p_sad"]) == pytest.approx(share, abs=1e-5)
        some = predictor(by_id[row["id"]], labels=["sad", "angry"])
        assert [*some.probabilities] == ["sad", "angry"] and some.probabilities["sad"] == pytest.approx(share, abs=1e-6)
    assert run("evaluate", small_manifest, "--model", plain, "--labels", "SAD,Angry", "-o", tmp_path / "same") == 0
    assert predictions(tmp_path / "same") == rows
    assert "only has the classes" in complaint(
        capsys, "evaluate", small_manifest, "--model", plain, "--labels", "sad,bored"
    )


def test_a_contrastive_model_chooses_among_new_words_without_its_calibration(
    small_model: Path, small_manifest: Path, tmp_path: Path
) -> None:
    config = json.loads((small_model / "config.json").read_text())
    model = tmp_path / "model"
    model.mkdir()
    for file in small_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "config.json").write_text(
        json.dumps({**config, "calibration": {"temperature": 0.5, "fitted_on": "a test"}})
    )
    renamed = changed(
        small_manifest, tmp_path / "m.jsonl", emotion=lambda row: "livid" if row.emotion == "angry" else row.emotion
    )
    asked = ("evaluate", renamed, "--model", model)
    assert run(*asked, "--labels", "livid,sad", "-o", tmp_path / "words") == 0
    assert run(*asked, "--merges", "{livid: angry}", "-o", tmp_path / "own") == 0
    words, own = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("words", "own"))
    assert words["confidence"]["after"] is None and own["confidence"]["after"] is not None
    assert words["n"] == 16 and own["n"] == 32
    predictor = Predictor.from_pretrained(model)
    for row in predictions(tmp_path / "words"):
        with torch.inference_mode():
            alone = predictor(row["path"], labels=["livid", "sad"])
        assert row["prediction"] == alone.emotion
        assert float(row["p_livid"]) == pytest.approx(alone.probabilities["livid"], abs=1e-5)


def test_a_merge_of_what_is_nowhere_is_refused(
    small_model: Path, small_manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    said = complaint(capsys, "evaluate", small_manifest, "--model", small_model, "--merges", "{natural: sad}")
    assert "no class of the model and no utterance is called natural (did you mean 'neutral'?)" in said


@pytest.mark.parametrize(
    ("merges", "labels", "says"),
    [
        (
            {"serene": "neutrl"},
            None,
            r"serene becomes neutrl, which is no class \(did you mean 'neutral'\?\); name one of ",
        ),
        ({"serene": "quiet"}, None, "or rename classes of the model to quiet too"),
        ({"serene": "quiet"}, ["sad", "livid"], "serene becomes quiet, which is no class"),
        ({"serene": "quiet", "neutral": "quiet"}, None, None),
        ({"serene": "neutral"}, ["sad", "angry"], None),
        ({"serene": "relaxed"}, ["sad", "relaxed"], None),
    ],
)
def test_a_merge_into_what_is_no_class_is_refused(
    merges: dict[str, str], labels: list[str] | None, says: str | None
) -> None:
    """Such utterances would be left out, as if nobody had renamed them."""
    with pytest.raises(GemoclapError, match=says) if says else nullcontext():
        check_merges(merges, OWN, ["serene", "sad", None], labels)
