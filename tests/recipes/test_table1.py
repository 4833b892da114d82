"""Encoders by methods: each cell is a cross-validation, shared by processes, gone on with, and counted before it begins."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from small import changed, complaint, contents, run
from tiny import SPEECH_FORMS, save_family, save_text_encoder

from gemoclap.cli.tables import _check_encoder
from gemoclap.config import ModelSettings, TrainSettings
from gemoclap.config.paper import PAPER_ENCODERS
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.dataset import TrainBatches
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.recipes.cost import _chosen, epochs_done
from gemoclap.recipes.table1 import Table, named_encoders

FAMILIES = (*dict.fromkeys(family for family, _ in SPEECH_FORMS), "whisper")
SMALL = (
    "--model.audio_options", '{"hidden_size": 16, "num_hidden_layers": 1, "stem_channels": 4}',
    "--model.projection_dim", "16", "--model.text_encoder", "minilm", "--model.freeze_text", "true",
    "--train.epochs", "2", "--train.lr", "0.001", "--train.warmup_epochs", "1",
    "--data.folds", "kfold", "--data.n_folds", "2",
)  # fmt: skip


def command(manifest: Path, output: Path, *options: str) -> list[str]:
    encoders = ["--encoders", "one=compact,two=compact", "--methods", "ce,emo_clap"]
    return ["table1", str(manifest), *encoders, *SMALL, "-o", str(output), *options]


def rows_of(output: Path) -> list[dict[str, str]]:
    with open(output / "table1.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("table") / "run"
    assert run(*command(small_manifest, output)) == 0
    return output


def test_a_cell_is_the_cross_validation_with_its_settings(finished: Path, tmp_path: Path) -> None:
    cell = finished / "cells" / "two" / "emo_clap" / "seed_0"
    again = ["crossval", "--config", cell / "config.yaml", "--methods", "emo_clap", "-o", tmp_path / "run"]
    assert run(*again) == 0
    for fold in ("fold_1", "fold_2"):
        one, other = (folder / "emo_clap" / fold / "predictions.csv" for folder in (cell, tmp_path / "run"))
        assert one.read_bytes() == other.read_bytes()
    assert not list(cell.rglob("model.safetensors")) and list((tmp_path / "run").rglob("model.safetensors"))


def test_the_figures_are_those_of_the_predictions(finished: Path, small_manifest: Path) -> None:
    rows = rows_of(finished)
    assert [(row["encoder"], row["method"]) for row in rows] == [
        (encoder, method) for encoder in ("one", "two") for method in ("ce", "emo_clap")
    ]
    for row in rows:
        folder = finished / "cells" / row["encoder"] / row["method"] / "seed_0" / row["method"]
        tables = [read_predictions(path) for path in sorted(folder.glob("*/predictions.csv"))]
        table = concatenate(tables)
        truth, said = list(table.truth), list(table.prediction)
        assert len(table) == int(row["n"]) == len(read_manifest(small_manifest))
        assert float(row["war"]) == pytest.approx(accuracy_score(truth, said), abs=1e-6)
        assert float(row["uar"]) == pytest.approx(balanced_accuracy_score(truth, said), abs=1e-6)
        folds = [balanced_accuracy_score(list(one.truth), list(one.prediction)) for one in tables]
        assert float(row["uar_mean_of_folds"]) == pytest.approx(sum(folds) / len(folds), abs=1e-6)
        assert float(row["uar_low"]) <= float(row["uar"]) <= float(row["uar_high"])
        assert row["state"] == "finished" and not row.get("paper_war_table_2")


def test_a_fold_that_is_lacking_is_done_and_nothing_else(finished: Path, small_manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    fold = output / "cells" / "one" / "ce" / "seed_0" / "ce" / "fold_2"
    shutil.rmtree(fold)
    before = {path: one for path, one in contents(output / "cells").items() if "/fold_" in path}
    assert run(*command(small_manifest, output)) == 0
    after = {path: one for path, one in contents(output / "cells").items() if "/fold_" in path}
    assert {path: after[path] for path in before} == before and len(after) > len(before)
    ours, theirs = (folder / fold.relative_to(output) / "predictions.csv" for folder in (output, finished))
    assert ours.read_bytes() == theirs.read_bytes()


def test_rows_columns_and_seeds_are_added_and_all_are_in_the_table(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = command(small_manifest, tmp_path / "run", "--encoders", "one=compact", "--methods", "ce")
    assert run(*first) == 0
    kept = contents(tmp_path / "run" / "cells" / "one" / "ce" / "seed_0" / "ce")
    more = command(small_manifest, tmp_path / "run", "--encoders", "two=compact", "--methods", "ce", "--seeds", "0,1")
    assert run(*more) == 0
    assert contents(tmp_path / "run" / "cells" / "one" / "ce" / "seed_0" / "ce") == kept
    rows = {row["encoder"]: row for row in rows_of(tmp_path / "run")}
    assert (rows["one"]["seeds"], rows["two"]["seeds"]) == ("1", "2")
    assert (rows["one"]["state"], rows["two"]["state"]) == ("finished", "finished")
    cells = json.loads((tmp_path / "run" / "table1.json").read_text())["cells"]
    both = next(one for one in cells if one["encoder"] == "two")
    uars = []
    for seed in (0, 1):
        folder = tmp_path / "run" / "cells" / "two" / "ce" / f"seed_{seed}" / "ce"
        table = concatenate([read_predictions(path) for path in sorted(folder.glob("*/predictions.csv"))])
        uars.append(balanced_accuracy_score(list(table.truth), list(table.prediction)))
    assert both["uar"] == pytest.approx(sum(uars) / 2) and both["seeds"] == [0, 1]
    assert both["n"] == len(read_manifest(small_manifest))
    assert "(1 of 2 seeds)" in (tmp_path / "run" / "table1.md").read_text()
    assert "Unfinished" not in (tmp_path / "run" / "table1.md").read_text()


def test_two_processes_share_one_folder(finished: Path, small_manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    line = [sys.executable, "-m", "gemoclap", *command(small_manifest, output)]
    started = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], shown
    # Every fold was trained once, by one of the two.
    last_epochs = [fold for _, error in shown for fold in re.findall(r"(\w+ fold_\d): epoch 2/2", error)]
    assert sorted(last_epochs) == sorted([f"{method} fold_{n}" for method in ("ce", "emo_clap") for n in (1, 2)] * 2)
    assert rows_of(output) == rows_of(finished)


@pytest.fixture(scope="module")
def iemocap(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made corpus under IEMOCAP's name, a speaker of each gender a session."""
    target = small_manifest.parent / "iemocap.jsonl"
    return changed(small_manifest, target, corpus="iemocap", session=lambda row: str((int(row.speaker[1:]) - 1) // 2))


def test_every_family_of_encoders_makes_a_row(iemocap: Path, tmp_path: Path) -> None:
    """By the paper's protocol and settings, but for the hours that it takes."""
    for family in FAMILIES:
        save_family(tmp_path / family, family)
    encoders = [
        f"wavlm-large={tmp_path / family}" if family == "wavlm" else str(tmp_path / family) for family in FAMILIES
    ]
    text = save_text_encoder(tmp_path / "text")
    options = ["--train.epochs", "1", "--data.audio.max_seconds", "0.3", "--model.projection_dim", "8"]
    line = ["table1", iemocap, "--encoders", ",".join(encoders), "--methods", "ml_gemo_clap", "-o", tmp_path / "run"]
    assert run(*line, "--model.text_encoder", text, *options) == 0
    rows = rows_of(tmp_path / "run")
    assert [row["state"] for row in rows] == ["finished"] * len(FAMILIES)
    plan = json.loads(next((tmp_path / "run").rglob("folds.json")).read_text())
    assert [fold["name"] for fold in plan["folds"]] == ["session_0", "session_1"]
    assert plan["vocabulary"]["name"] == "iemocap4"
    beside = {row["encoder"]: (row["paper_war_table_2"], row["paper_uar_table_1"]) for row in rows}
    assert beside.pop("wavlm-large") == ("0.7703", "0.7703") and {*beside.values()} == {("", "")}
    page = (tmp_path / "run" / "table1.md").read_text()
    assert "| WavLM-large | the paper, labelled as in its Table 1 | 80.42 / 77.03 |" in page
    assert "WavLM-large & 77.03 & 80.42" in (tmp_path / "run" / "table1.tex").read_text()


# What it will cost.


def test_the_estimate_counts_steps_and_leaves_no_trace(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(*command(small_manifest, tmp_path / "run", "--estimate", "--seeds", "0,1")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    # 4 cells x 2 seeds x 2 folds of half the corpus each, in batches of 8, for 2 epochs
    steps = 4 * 2 * 2 * math.ceil(len(read_manifest(small_manifest)) / 2 / 8) * 2
    assert f" for {steps} steps in one process" in shown and "a timed step over 8 utterances on cpu" in shown
    assert not (tmp_path / "run").exists()


def test_the_estimate_counts_perturbed_copies(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ("--estimate", "--encoders", "one=compact", "--methods", "ce", "--data.perturbed_copies", "2")
    assert run(*command(small_manifest, tmp_path / "run", *few)) == 0
    steps = 2 * math.ceil(3 * len(read_manifest(small_manifest)) / 2 / 8) * 2  # 2 folds, 2 epochs
    assert f" for {steps} steps in one process" in capsys.readouterr().out


@pytest.mark.parametrize(("freeze", "kept"), [("all", "layers"), ("front_end", "frames")])
def test_what_is_frozen_is_timed_and_not_written(small_manifest: Path, tmp_path: Path, freeze: str, kept: str) -> None:
    line = command(small_manifest, tmp_path / "run", "--model.freeze", freeze, f"--cache.{kept}", "disk")
    assert run(*line, "--cache.folder", str(tmp_path / "kept"), "--estimate") == 0
    assert not list(tmp_path.iterdir())


def test_the_estimate_is_of_what_is_left(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    assert run(*command(small_manifest, output, "--estimate")) == 0
    assert "finished, there is nothing to do" in capsys.readouterr().out
    fold = output / "cells" / "one" / "ce" / "seed_0" / "ce" / "fold_2"
    (fold / "predictions.csv").unlink()
    log = (fold / "log.jsonl").read_text().splitlines(keepends=True)
    (fold / "log.jsonl").write_text(log[0])  # killed after the first of two epochs
    assert epochs_done(fold) == 1 and epochs_done(fold / "nowhere") == 0
    assert run(*command(small_manifest, output, "--estimate")) == 0
    shown = capsys.readouterr().out
    assert f" for {math.ceil(len(read_manifest(small_manifest)) / 2 / 8)} steps in one process" in shown
    assert "timing a training step of one" in shown and "of two" not in shown


# What is refused.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--methods", "gmp_tl"), "no method of a table is called 'gmp_tl'; known: emo_clap, sl_gemo_clap"),
        (("--methods", "emoclap"), "no method of a table is called 'emoclap' (did you mean 'emo_clap'?)"),
        (("--methods", "ce,ce"), "each once"),
        (("--encoders", ""), "no encoder; name hub ids or folders"),
        (("--encoders", "compact,compact"), "compact would be called compact, as another is"),
        (("--encoders", "a/b=compact"), "a/b=compact has no name that a folder can have"),
        (("--encoders", "./nowhere"), "./nowhere: no such folder"),
        (("--seeds", "0,1", "--train.seed", "3"), "leave one of the two out"),
        (("--data.manifest", "other.jsonl"), "and --data.manifest other.jsonl; give one of them"),
        (("--data.n_folds", "9"), "data.n_folds is 9"),
        (("--encoders", ",".join(PAPER_ENCODERS), "--model.audio_encoder", "default"), "give --encoders default"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: tuple[str, ...], says: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert says in complaint(capsys, *command(small_manifest, tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_is_no_row_is_named(capsys: pytest.CaptureFixture) -> None:
    """A settings file has one too, such as whisper.yaml, so it is no error beside --encoders."""
    for encoder in ("openai/whisper-base", "compact", ModelSettings().audio_encoder):
        _check_encoder(encoder, ["small=compact", "openai/whisper-base"])
    assert not capsys.readouterr().out
    _check_encoder("default", ["small=compact", "openai/whisper-base"])
    said = capsys.readouterr().out
    assert (
        "the table's rows are small=compact, openai/whisper-base (--encoders), without the encoder of the settings, default"
        in said
    )
    assert "to have it too, give --encoders small=compact,openai/whisper-base,default\n" in said


def test_other_settings_are_refused(finished: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(finished)
    line = complaint(capsys, *command(small_manifest, finished, "--train.epochs", "3"))
    assert "its train.epochs differs" in line
    assert contents(finished) == before


def test_names_of_encoders() -> None:
    given = ["microsoft/wavlm-large", "mine=runs/x/model", "runs/y/", "compact"]
    assert named_encoders(given) == {
        "wavlm-large": "microsoft/wavlm-large", "mine": "runs/x/model", "y": "runs/y/", "compact": "compact",
    }  # fmt: skip
    for name in ("..", f"{300 * 'a'}=compact", f"{130 * chr(0x436)}=compact"):  # two bytes each
        with pytest.raises(GemoclapError, match="no name that a folder can have"):
            named_encoders([name])


def test_cells_come_row_by_row_and_seed_by_seed(tmp_path: Path) -> None:
    table = Table(tmp_path, {"a": "a", "b": "b"}, ("ce", "emo_clap"), (0, 1))
    order = [(cell.seed, cell.encoder, cell.method) for cell in table.cells]
    assert order == [(seed, name, method) for seed in (0, 1) for name in "ab" for method in ("ce", "emo_clap")]
    assert len({cell.folder for cell in table.cells}) == len({cell.job for cell in table.cells}) == 8


class Lengths:
    """Clips of known lengths, for batches that nobody collates."""

    at_hand = is_exact = True

    def __init__(self, lengths: dict[str, int]) -> None:
        self.known = lengths

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        return np.array([self.known[row.id] for row in utterances])

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        raise AssertionError("nothing is collated")


def test_the_step_that_is_timed_is_of_average_size() -> None:
    rng = np.random.default_rng(0)
    rows = [Utterance(str(place), "x.wav", emotion=("sad", "happy")[place % 2]) for place in range(100)]
    lengths = {row.id: int(rng.integers(10, 200)) for row in rows}
    vocabulary = Vocabulary("two", ("sad", "happy"))
    batches = TrainBatches(rows, Lengths(lengths), vocabulary, TrainSettings(batch_size=8))
    sizes = [max(lengths[str(place)] for place in places) * len(places) for places in batches.plan(0)]
    largest, average = (max(lengths[str(place)] for place in places) * len(places) for places in _chosen(batches))
    assert largest == max(sizes)
    assert abs(average - np.mean(sizes)) == min(abs(size - np.mean(sizes)) for size in sizes)
