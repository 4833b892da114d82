"""A cross-validation that is killed, gone on with, added to; finished folds are never done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.numpy import load_file
from small import complaint, contents, crossval, log_of, run

from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.predictions import read_predictions
from gemoclap.recipes.crossval import plan_of
from gemoclap.recipes.run_folder import claim

OPTIONS = ("--train.epochs", "3", "--train.batch_size", "4", "--train.checkpoint_steps", "1")
TIMINGS = {"seconds", "utterances_per_second", "data_wait_seconds"}


def command(manifest: Path, output: Path, *options: str) -> list[str]:
    return crossval(manifest, "emo_clap", output, *OPTIONS, *options)


def steps_of(folder: Path) -> int:
    return max((int(path.name[5:]) for path in folder.glob("checkpoint/step-*")), default=0)


def kill_in_the_second_fold(arguments: list[str], output: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "gemoclap", *arguments], env=environment)
    patience = time.monotonic() + 120
    while steps_of(output / "emo_clap" / "fold_2") < 3:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < patience
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread, as the process that is killed does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(*command(small_manifest, output)) == 0
    return output


@pytest.mark.parametrize("is_moved", [False, True])
def test_killed_and_gone_on_with_it_ends_in_the_same_bits(
    whole: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_moved: bool
) -> None:
    output, manifest, options = tmp_path / "run", small_manifest, []
    kill_in_the_second_fold(command(manifest, output), output)
    if is_moved:  # the same manifest from another folder, the run under another name
        monkeypatch.chdir(manifest.parent)
        output, manifest = output.rename(tmp_path / "renamed"), Path(manifest.name)
        options = ["--train.checkpoint_steps", "2"]
    first, second = output / "emo_clap" / "fold_1", output / "emo_clap" / "fold_2"
    finished = contents(first)
    assert "predictions.csv" in finished and not (second / "predictions.csv").exists()
    assert run(*command(manifest, output, *options)) == 0
    assert contents(first) == finished
    for fold in ("fold_1", "fold_2"):
        ours, theirs = output / "emo_clap" / fold, whole / "emo_clap" / fold
        for name in ("predictions.csv", "embeddings.safetensors", "model/model.safetensors", "model/README.md"):
            found, expected_bytes = (  # predictions name the audio as it was found
                (x / name).read_bytes().replace(f"{small_manifest.parent}/".encode(), b"") for x in (ours, theirs)
            )
            assert found == expected_bytes, f"{fold}/{name}"
        rows, expected = (
            [{k: v for k, v in row.items() if k not in TIMINGS} for row in log_of(x)] for x in (ours, theirs)
        )
        assert rows == expected
        assert not (ours / "checkpoint").exists()
    # The duration has the epochs before the kill too.
    seconds = json.loads((second / "made.json").read_text())["seconds"]
    assert seconds >= sum(row["seconds"] for row in log_of(second)) - 0.1
    assert (
        json.loads((output / "results.json").read_text())["methods"]
        == json.loads((whole / "results.json").read_text())["methods"]
    )


def test_a_finished_run_trains_nothing_and_writes_the_report_again(whole: Path, small_manifest: Path) -> None:
    (whole / "report.md").unlink()
    before = contents(whole / "emo_clap")
    assert run(*command(small_manifest, whole)) == 0
    assert contents(whole / "emo_clap") == before and (whole / "report.md").is_file()


def test_a_method_is_added_later(whole: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(whole / "emo_clap")
    assert run(*command(small_manifest, whole, "--methods", "egemaps_svm")) == 0
    assert contents(whole / "emo_clap") == before
    assert yaml.safe_load((whole / "config.yaml").read_text())["methods"] == ["emo_clap", "egemaps_svm"]
    shown = capsys.readouterr().out
    assert "Emo-CLAP" in shown and "eGeMAPS + SVM" in shown
    tested = [
        one
        for fold in ("fold_1", "fold_2")
        for one in read_predictions(whole / "egemaps_svm" / fold / "predictions.csv").ids
    ]
    assert sorted(tested) == sorted(row.id for row in read_manifest(small_manifest))


def test_other_settings_are_refused(whole: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(whole)
    for option, value in (("--train.seed", "1"), ("--data.n_folds", "4"), ("--model.projection_dim", "8")):
        assert f"its {option[2:]} differs" in complaint(capsys, *command(small_manifest, whole, option, value))
    assert contents(whole) == before


def test_folds_are_written_down_as_they_were_used(whole: Path, small_manifest: Path) -> None:
    plan = json.loads((whole / "folds.json").read_text())
    speaker = {row.id: row.speaker for row in read_manifest(small_manifest)}
    assert plan["speaker_overlap"] is False and plan["vocabulary"]["emotions"] == ["angry", "happy", "neutral", "sad"]
    for fold in plan["folds"]:
        assert sorted(fold["train"] + fold["test"]) == sorted(speaker)
        assert not {speaker[one] for one in fold["train"]} & {speaker[one] for one in fold["test"]}
        table = read_predictions(whole / "emo_clap" / fold["name"] / "predictions.csv")
        assert list(table.ids) == fold["test"]
        assert f"hash `{fold['hash']}`" in (whole / "emo_clap" / fold["name"] / "model" / "README.md").read_text()


def test_folds_begin_from_the_same_weights_and_end_apart(whole: Path) -> None:
    """A fold does not go on from the fold before: every parameter that trained has moved elsewhere."""
    first, second = (
        load_file(whole / "emo_clap" / fold / "model" / "model.safetensors") for fold in ("fold_1", "fold_2")
    )
    weights = [name for name in first if name.endswith("weight") and first[name].ndim > 1]
    assert weights and not any((first[name] == second[name]).all() for name in weights)


def test_a_plan_of_many_folds_grows_with_the_speakers_alone(tmp_path: Path) -> None:
    """Each of S folds would list the other S - 1 speakers; a run of before, which did, can go on."""
    vocabulary = Vocabulary("two", ("angry", "happy"))

    def plan(speakers: int) -> dict:
        rows = [
            Utterance(f"{speaker:04d}{emotion}", "x.wav", corpus="c", speaker=f"{speaker:04d}", emotion=emotion)
            for speaker in range(speakers)
            for emotion in vocabulary.emotions
        ]
        return plan_of(make_folds(rows, DataSettings(folds="speaker"), vocabulary), vocabulary, "m.jsonl", {}, {})

    assert len(json.dumps(plan(120))) < 2.1 * len(json.dumps(plan(60)))
    few, many = plan(30), plan(31)
    assert all(len(fold["train"]) == 58 for fold in few["folds"]) and all("train" not in fold for fold in many["folds"])
    assert [len(fold["test"]) for fold in many["folds"]] == [2] * 31
    config = {"data": {"manifest": "m.jsonl"}}
    before = {**many, "folds": [{**fold, "train": ["as", "it", "was"]} for fold in many["folds"]]}
    claim(tmp_path / "run", config, ["emo_clap"], before)
    (tmp_path / "run" / "emo_clap").mkdir()
    claim(tmp_path / "run", config, ["emo_clap"], many)
    claim(tmp_path / "run", config, ["emo_clap"], {**many, "left_out": {"bored": 2}})  # a note, which earlier runs lack
    changed = {**many, "folds": [{**many["folds"][0], "hash": "0" * 12}, *many["folds"][1:]]}
    with pytest.raises(GemoclapError, match="the folds are no longer those"):
        claim(tmp_path / "run", config, ["emo_clap"], changed)


def test_two_corpora_with_the_same_numbers_are_scored_as_two_people(small_manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(small_manifest)
    half = {name for place, name in enumerate(sorted({str(row.speaker) for row in rows})) if place % 2}
    renamed = [
        replace(row, corpus="two" if row.speaker in half else "one", speaker=str(int(str(row.speaker)[-2:]) // 2))
        for row in rows
    ]
    write_manifest(renamed, tmp_path / "m.jsonl")
    assert run(*crossval(tmp_path / "m.jsonl", "egemaps_svm", tmp_path / "run")) == 0
    tables = [read_predictions(path) for path in (tmp_path / "run").glob("*/*/predictions.csv")]
    expected = {row.id: f"{row.corpus}/{row.speaker}" for row in renamed}
    assert {one: who for table in tables for one, who in zip(table.ids, table.speakers, strict=True)} == expected
    plan = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert plan["speaker_overlap"] is False


def test_how_many_trainings_there_are_and_how_long_they_take_is_said(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = crossval(small_manifest, "ce,am_softmax,egemaps_svm", tmp_path / "run")
    assert run(*command) == 0
    shown = capsys.readouterr().out
    assert "4 trainings: 2 methods, one for each fold" in shown
    assert shown.count("the other 2 trainings will take less than a minute") == 1
    assert run(*command) == 0
    assert "trainings:" not in capsys.readouterr().out


def test_utterances_of_no_class_and_merged_labels_are_in_plan_and_report(small_manifest: Path, tmp_path: Path) -> None:
    labels = [row.emotion for row in read_manifest(small_manifest)]
    merges = ("--data.merges", "{neutral: calm}", "--data.emotions", "angry,sad,calm")
    assert run(*crossval(small_manifest, "egemaps_svm", tmp_path / "run", *merges)) == 0
    counts = {"happy": labels.count("happy")}
    assert json.loads((tmp_path / "run" / "folds.json").read_text())["left_out"] == counts
    page = (tmp_path / "run" / "report.md").read_text()
    assert (
        f"because the label is not one of the classes: {counts['happy']} utterances (happy {counts['happy']})\n" in page
    )
    assert page.count("- Labels: neutral merged into calm\n") == 1
    assert json.loads((tmp_path / "run" / "results.json").read_text())["left_out"] == counts
