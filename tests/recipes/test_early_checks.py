"""What a single method lacks is found before anything is trained, whichever method or corpus comes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small import SMALL, changed, complaint, crossval, run

from gemoclap.config import Settings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.data.folds import Fold
from gemoclap.errors import GemoclapError
from gemoclap.recipes.early_checks import check_genders, one_gender

NO_GENDER = "needs gender labels, and no training utterance of"
MISSING = "gemoclap: text encoder /nowhere/at_all: "


@pytest.fixture
def nameless(small_manifest: Path, tmp_path: Path) -> Path:
    return changed(small_manifest, tmp_path / "nameless.jsonl", gender=None)


def logs(folder: Path) -> list[Path]:
    return [*folder.rglob("log.jsonl")]


@pytest.mark.parametrize("method", ["sl_gemo_clap", "ml_gemo_clap", "multi_task", "gmp_tl"])
def test_no_method_is_trained_before_one_that_lacks_genders(
    nameless: Path, method: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_folder = tmp_path / "run"
    assert f"{method} {NO_GENDER} fold_1 has one" in complaint(capsys, *crossval(nameless, f"ce,{method}", run_folder))
    assert not run_folder.exists()


def test_no_method_is_trained_before_a_text_encoder_that_is_nowhere(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--model.text_encoder", "/nowhere/at_all"]
    run_folder = tmp_path / "run"
    assert MISSING in complaint(capsys, *crossval(small_manifest, "ce,emo_clap", run_folder, *options))
    assert not run_folder.exists()
    assert run(*crossval(small_manifest, "ce", run_folder, *options)) == 0  # it needs none


def test_no_method_is_trained_before_a_prompt_that_is_too_long(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--model.gender_prompt", "very " * 600 + "{}"]
    line = complaint(capsys, *crossval(small_manifest, "emo_clap,ml_gemo_clap", tmp_path / "run", *options))
    assert "more than the 512 the text encoder reads" in line
    assert not logs(tmp_path)


@pytest.mark.parametrize("command", ["table1", "sweep"])
def test_no_cell_is_trained_before_one_that_lacks_genders(
    nameless: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = {
        "table1": ["--encoders", "one=compact", "--methods", "ce,sl_gemo_clap", "--model.text_encoder", "minilm"],
        "sweep": ["--over", "train.epochs=1,2", "--methods", "ce,sl_gemo_clap", "--data.dev_speakers", "1"],
    }[command]
    line = complaint(capsys, command, nameless, *SMALL, *options, "-o", tmp_path / "run")
    assert f"sl_gemo_clap {NO_GENDER} fold_1 has one" in line
    assert not logs(tmp_path)


def test_no_value_is_trained_before_a_text_encoder_that_is_nowhere(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = [
        "--over",
        "model.text_encoder=minilm,/nowhere/at_all",
        "--methods",
        "ce,emo_clap",
        "--data.dev_speakers",
        "1",
    ]
    assert MISSING in complaint(capsys, "sweep", small_manifest, *SMALL, *options, "-o", tmp_path / "run")
    assert not logs(tmp_path)


def test_no_corpus_is_trained_on_before_one_that_lacks_genders(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = read_manifest(small_manifest)
    for name, part, gender in (("a", rows[::2], "female"), ("b", rows[1::2], None)):
        named = [replace(row, corpus=name, gender=gender, speaker=f"{name}{row.speaker}") for row in part]
        write_manifest(named, tmp_path / f"{name}.jsonl")
    given = ["crosscorpus", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--method", "sl_gemo_clap", *SMALL[:-4]]
    assert f"sl_gemo_clap {NO_GENDER} b has one" in complaint(capsys, *given, "-o", tmp_path / "run")
    assert not logs(tmp_path)


def test_a_training_with_one_gender_is_pointed_out(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    women = changed(small_manifest, tmp_path / "women.jsonl", gender="female")
    assert run(*crossval(women, "emo_clap,sl_gemo_clap", tmp_path / "run")) == 0
    shown = capsys.readouterr().out
    assert "beware: sl_gemo_clap: all training utterances with a gender are female in fold_1, fold_2" in shown
    assert "emo_clap: all" not in shown.replace("sl_gemo_clap", "")
    assert run("train", women, *SMALL, "--method", "multi_task", "-o", tmp_path / "one") == 0
    assert "beware: multi_task: all training utterances with a gender are female" in capsys.readouterr().out


def test_folds_with_both_genders_or_a_method_without_gender_give_no_warning() -> None:
    def fold(name: str, *genders: str | None) -> Fold:
        return Fold(name, tuple(Utterance(f"{i}", "x.wav", gender=one) for i, one in enumerate(genders)), (), ())

    folds = [fold("a", "male", "female"), fold("b", "male", None), fold("c", "female"), fold("d", "male")]
    found = one_gender(Settings(), "gmp_tl", folds)
    assert [("male in b, d," in one, "female in c," in one) for one in found] == [(True, False), (False, True)]
    settings = Settings()
    settings.gmp.gender = False
    assert one_gender(settings, "gmp_tl", folds) == one_gender(settings, "ce", folds) == []


@pytest.mark.parametrize(
    ("start", "frame_epochs", "learns"), [("pretrained", 0, False), ("features", 0, True), ("pretrained", 1, True)]
)
def test_gmp_tl_needs_genders_only_if_it_learns_features(start: str, frame_epochs: int, learns: bool) -> None:
    gmp = replace(Settings().gmp, start=start, frame_epochs=frame_epochs)
    fold = Fold("fold_1", (Utterance("a", "a.wav", emotion="sad"),), (), ())
    if learns:
        with pytest.raises(GemoclapError, match=NO_GENDER):
            check_genders(Settings(gmp=gmp), "gmp_tl", [fold])
    else:
        check_genders(Settings(gmp=gmp), "gmp_tl", [fold])
    women = replace(fold, train=(replace(fold.train[0], gender="female"),))
    assert bool(one_gender(Settings(gmp=gmp), "gmp_tl", [women])) == learns
