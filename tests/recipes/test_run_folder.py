"""Whose a run's folder is: claimed once, gone on with, refused to others; written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from pairs import be_one_of_two, started_pair
from small import contents

from gemoclap.config import ModelSettings, Settings
from gemoclap.errors import GemoclapError
from gemoclap.recipes.run_folder import (
    claim,
    file_hash,
    first_difference,
    refuse_other_run,
    run_key,
    save_folder,
    training_key,
)
from gemoclap.writing import refuse_used_folder

CONFIG = {"data": {"manifest": "m.jsonl", "folds": "kfold"}, "train": {"lr": 0.001}, "manifest_sha256": "abc"}
FOLDS = {"folds": [{"name": "fold_1", "hash": "0123456789ab"}]}


def begin(folder: Path) -> None:
    (folder / "emo_clap").mkdir()
    (folder / "emo_clap" / "log.jsonl").write_text("{}\n")


def test_a_run_goes_on_in_its_folder_and_may_gain_methods(tmp_path: Path) -> None:
    claim(tmp_path / "run", CONFIG, ["emo_clap"], FOLDS)
    begin(tmp_path / "run")
    claim(tmp_path / "run", CONFIG, ["egemaps_svm", "emo_clap"], FOLDS)
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written == {**CONFIG, "methods": ["emo_clap", "egemaps_svm"]}
    assert json.loads((tmp_path / "run" / "folds.json").read_text()) == FOLDS


@pytest.mark.parametrize(
    ("config", "folds", "says"),
    [
        ({**CONFIG, "train": {"lr": 0.1}}, FOLDS, "its train.lr differs"),
        ({**CONFIG, "model": {}}, FOLDS, "its model differs"),
        ({**CONFIG, "manifest_sha256": "abd"}, FOLDS, "m.jsonl: has changed since the run in"),
        (CONFIG, {"folds": []}, "folds.json: the folds are no longer those"),
    ],
)
def test_another_run_is_refused_and_nothing_is_touched(config: dict, folds: dict, says: str, tmp_path: Path) -> None:
    claim(tmp_path / "run", CONFIG, ["emo_clap"], FOLDS)
    begin(tmp_path / "run")
    before = contents(tmp_path)
    for attempt in (
        lambda: refuse_other_run(tmp_path / "run", config, folds),
        lambda: claim(tmp_path / "run", config, (), folds),
    ):
        with pytest.raises(GemoclapError, match=says):
            attempt()
    assert contents(tmp_path) == before


NAMED = {
    "data": {"manifest": "m.jsonl"},
    "model": {"audio_encoder": "encoder", "text_encoder": "text"},
    "train": {"lr": 0.001, "trackers": [], "checkpoint_steps": None},
}


@pytest.fixture
def spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The configuration `NAMED` in the working folder, with full paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text("")
    for name in ("encoder", "text"):
        (tmp_path / name).mkdir()
    paths = {"audio_encoder": str(tmp_path / "encoder"), "text_encoder": str(tmp_path / "x" / ".." / "text")}
    (tmp_path / "x").mkdir()
    return {**NAMED, "data": {"manifest": str(tmp_path / "m.jsonl")}, "model": paths}


def test_a_file_may_be_named_in_another_way_and_what_decides_nothing_may_change(tmp_path: Path, spelt: dict) -> None:
    claim(tmp_path / "run", NAMED, ["emo_clap"], {**FOLDS, "manifest": "m.jsonl"})
    begin(tmp_path / "run")
    spelt = {**spelt, "train": {"lr": 0.001, "trackers": ["tensorboard"], "checkpoint_steps": 7}}
    claim(tmp_path / "run", spelt, ["emo_clap"], {**FOLDS, "manifest": spelt["data"]["manifest"]})
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {**spelt, "methods": ["emo_clap"]}
    assert training_key(NAMED, "fold") == training_key(spelt, "fold")


@pytest.mark.parametrize("setting", ["data.manifest", "model.audio_encoder", "model.text_encoder"])
def test_a_copy_is_another_file_whatever_its_hash(tmp_path: Path, spelt: dict, setting: str) -> None:
    """Beside a copy of a manifest can be other audio, and beside the same weights another config.json."""
    hashes = {"manifest_sha256": "a", "encoder_weights": "b", "text_encoder_weights": "c"}
    claim(tmp_path / "run", {**NAMED, **hashes})
    begin(tmp_path / "run")
    (tmp_path / "copy").mkdir()
    section, name = setting.split(".")
    other = {**spelt, section: {**spelt[section], name: str(tmp_path / "copy")}}
    with pytest.raises(GemoclapError, match=f"its {setting} differs"):
        refuse_other_run(tmp_path / "run", {**other, **hashes})
    assert training_key(NAMED, "fold") != training_key(other, "fold")


@pytest.mark.parametrize(("hashes", "is_same"), [({"a": "1"}, True), ({"a": "2"}, False)])
def test_encoders_of_a_probe_are_known_by_their_hashes(tmp_path: Path, hashes: dict, is_same: bool) -> None:
    claim(tmp_path, {"encoders": ["a=run/model"], "encoder_weights": {"a": "1"}})
    begin(tmp_path)
    renamed = {"encoders": ["a=renamed/model"], "encoder_weights": hashes}
    if is_same:
        refuse_other_run(tmp_path, renamed)
    else:
        with pytest.raises(GemoclapError, match="its encoders differs"):
            refuse_other_run(tmp_path, renamed)


def test_a_folder_where_nothing_was_trained_is_free(tmp_path: Path) -> None:
    claim(tmp_path / "run", CONFIG, ["emo_clap"], FOLDS)
    mended = {**CONFIG, "train": {"lr": 0.1}}
    claim(tmp_path / "run", mended, ["sl_gemo_clap"], FOLDS)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {**mended, "methods": ["sl_gemo_clap"]}


def test_what_an_earlier_version_did_not_tell_is_what_it_did(tmp_path: Path) -> None:
    claim(tmp_path / "run", CONFIG, ["emo_clap"], FOLDS)
    begin(tmp_path / "run")
    claim(tmp_path / "run", {**CONFIG, "train": {"lr": 0.001, "batching": "dealt"}}, ["emo_clap"], FOLDS)
    with pytest.raises(GemoclapError, match="its train.batching differs"):
        claim(tmp_path / "run", {**CONFIG, "train": {"lr": 0.001, "batching": "shuffled"}}, ["emo_clap"], FOLDS)


@pytest.mark.parametrize(("freeze", "now"), [("none", None), ("all", False)])
def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, freeze: str, now: bool | None) -> None:
    """It knew none of the later settings, and standardised no features."""
    settings = Settings(model=ModelSettings(freeze=freeze)).to_dict()
    later = ("keep_layers", "lora_rank", "lora_alpha", "pooling_heads", "standardize", "project_plain_heads")
    earlier = {
        **settings,
        "model": {name: value for name, value in settings["model"].items() if name not in later},
        "train": {name: value for name, value in settings["train"].items() if name not in ("batching", "encoder_lr")},
        "cache": {"front_end": "never", "front_end_dtype": "bf16"},
    }
    claim(tmp_path, earlier, ["emo_clap"], FOLDS)
    begin(tmp_path)
    cache = {"frames": "never", "frames_dtype": "bf16"}
    today = {**settings, "model": {**settings["model"], "standardize": now}, "cache": {**settings["cache"], **cache}}
    claim(tmp_path, today, ["emo_clap"], FOLDS)
    with pytest.raises(GemoclapError, match="its model.standardize differs"):
        claim(tmp_path, {**today, "model": {**today["model"], "standardize": True}}, ["emo_clap"], FOLDS)


def test_what_another_process_is_just_writing_is_nobodys_file(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.partial").write_text("data:")
    refuse_used_folder(tmp_path)
    claim(tmp_path, CONFIG)
    claim(tmp_path, {**CONFIG, "train": {"lr": 0.1}})  # nothing was trained
    (tmp_path / ".hidden").write_text("mine")
    with pytest.raises(GemoclapError, match=r"its train\.lr differs"):
        refuse_other_run(tmp_path, CONFIG)


@pytest.mark.parametrize("text", ["", "just words", "{", "- 1"])
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(GemoclapError, match=r"config\.yaml: is not the configuration of a run"):
        refuse_other_run(tmp_path, CONFIG)


def test_used_folders(tmp_path: Path) -> None:
    refuse_used_folder(tmp_path / "new")
    refuse_used_folder(tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(GemoclapError, match="holds files of something else"):
        refuse_used_folder(tmp_path)
    with pytest.raises(GemoclapError, match="is a file, not a folder"):
        refuse_used_folder(tmp_path / "thesis.tex")


def test_first_difference() -> None:
    one = {"a": {"b": 1, "c": {"d": [1]}}, "e": None}
    assert first_difference(one, json.loads(json.dumps(one))) == ""
    assert first_difference(one, {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}) == "a.c.d"
    assert first_difference(one, {"a": {"b": 1, "c": {"d": [1]}}}) == "e"
    assert first_difference(one, {"a": 1, "e": None}) == "a"


def test_keys_tell_runs_and_files_apart(tmp_path: Path) -> None:
    assert run_key({"a": 1, "b": 2}, "x") == run_key({"b": 2, "a": 1}, "x")
    assert len({run_key({"a": 1}, "x"), run_key({"a": 2}, "x"), run_key({"a": 1}, "y")}) == 3
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    assert file_hash(tmp_path / "one") != file_hash(tmp_path / "two")


def test_a_folder_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_text("new")

    def fail(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError("disk full")

    target = tmp_path / "model"
    with pytest.raises(OSError):
        save_folder(target, fail)
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    (target / "older").write_text("old")
    with pytest.raises(OSError):
        save_folder(target, fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "older"]
    save_folder(target, write)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "weights"]


def claim_in_turn(rank: int, port: int, folder: Path) -> None:
    """One of two processes: claims the folder, then tries to with other settings; says how that went."""
    be_one_of_two(rank, port)
    claim(folder / "run", CONFIG, ["emo_clap"], FOLDS)
    if rank == 0:
        begin(folder / "run")
    try:
        claim(folder / "run", {**CONFIG, "train": {"lr": 0.1}}, ["emo_clap"], FOLDS)
    except GemoclapError as error:
        (folder / f"refused-{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


def test_two_processes_claim_once_and_fail_together(tmp_path: Path) -> None:
    processes = started_pair(claim_in_turn, tmp_path)
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    refusals = [(tmp_path / f"refused-{rank}").read_text() for rank in range(2)]
    assert refusals[0] == refusals[1] and "its train.lr differs" in refusals[0]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "emo_clap", "folds.json"]
