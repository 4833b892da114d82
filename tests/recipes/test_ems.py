"""The comparison of ways to pre-train: its folder, what it refuses, and its figures against the runs' own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from sklearn.metrics import balanced_accuracy_score
from small import contents

from gemoclap.config import TrainSettings
from gemoclap.config.ems import CompareSettings, FinetuneStage, PretrainTrainSettings, ProbeStage
from gemoclap.config.probe import LOG_MEL, ProbeTrainSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.ems.intensity import IntensityConfig, IntensityModel
from gemoclap.ems.variants import CONTROLS, PAIRS, VARIANTS
from gemoclap.errors import GemoclapError
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.recipes.ems import EmsComparison, Score, compare, pretrain_settings
from gemoclap.recipes.pretrain import build
from gemoclap.reports.ems import difference, write_ems_report
from gemoclap.reports.ems_paper import read_ems, write_ems_beside

NAMES = [LOG_MEL, "npc5_untrained", "npc5", "npc5_ems", "mockingjay_ems_score"]


def quietly(what: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def settings(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> CompareSettings:
    """A comparison of seconds: each voice's first sentences are labelled, its others are speech of another corpus."""
    folder = tmp_path_factory.mktemp("comparison")
    torch.manual_seed(0)
    config = IntensityConfig(n_mels=20, channels=[2, 2, 2, 2], lstm_size=4)
    IntensityModel(config).save_pretrained(folder / "intensity")
    rows = read_manifest(small_manifest)
    texts = sorted({str(row.text) for row in rows})
    write_manifest([row for row in rows if row.text == texts[0]], folder / "labelled.jsonl")
    speech = [replace(row, corpus="other", emotion=None) for row in rows if row.text != texts[0]]
    write_manifest(speech, folder / "speech.jsonl")
    return CompareSettings(
        speech=[str(folder / "speech.jsonl")],
        held_out=0.2,
        intensity_model=str(folder / "intensity"),
        variants=NAMES,
        seeds=[0, 1],
        train=TrainSettings(epochs=1, batch_size=4, lr=2e-4, warmup_epochs=0.1),
        probe=ProbeStage([str(folder / "labelled.jsonl")], train=ProbeTrainSettings(steps=20)),
    )


@pytest.fixture(scope="module")
def finished(settings: CompareSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[EmsComparison, Path]:
    output = tmp_path_factory.mktemp("finished") / "run"
    return compare(settings, output, quietly), output


def test_every_encoder_is_scored_with_every_seed(finished: tuple[EmsComparison, Path]) -> None:
    comparison, output = finished
    assert {(one.variant, one.seed) for one in comparison.scores} == {(name, seed) for name in NAMES for seed in (0, 1)}
    for one in comparison.scores:
        folder = output / "probe" / one.corpus / one.variant / f"seed_{one.seed}"
        tables = [
            read_predictions(path) for path in sorted(folder.glob(f"{one.variant}/*/seed_{one.seed}/predictions.csv"))
        ]
        table = concatenate(tables)
        assert len(table) == 16 and len(tables) == 4
        assert one.uar == pytest.approx(balanced_accuracy_score(list(table.truth), list(table.prediction)))
    assert {name for name, _ in comparison.pretraining} == {"npc5", "npc5_ems", "mockingjay_ems_score"}


def test_each_kind_of_encoder_is_pretrained_with_an_optimiser_of_its_own(settings: CompareSettings) -> None:
    usual = CompareSettings(intensity_model=settings.intensity_model)
    trained = {name: pretrain_settings(usual, name, 0, []).train for name in ("mockingjay_ems", "npc5_ems", "npc7")}
    assert {name: train.lr for name, train in trained.items()} == {
        "mockingjay_ems": 2e-4,
        "npc5_ems": 1e-3,
        "npc7": 1e-3,
    }
    assert {name: train.weight_decay for name, train in trained.items()} == {
        "mockingjay_ems": 0.01, "npc5_ems": 0.0, "npc7": 0.0
    }  # fmt: skip
    given = pretrain_settings(settings, "npc5_ems", 0, []).train
    assert given.weight_decay == settings.train.weight_decay == 0.01


@pytest.mark.parametrize(("one", "other"), [*chain(*PAIRS.values()), *CONTROLS])
def test_both_of_a_pair_begin_with_the_same_weights(settings: CompareSettings, one: str, other: str) -> None:
    models = [build(pretrain_settings(settings, name, 1, [])).encoder.state_dict() for name in (one, other)]
    assert models[0].keys() == models[1].keys()
    for name, tensor in models[0].items():
        # NPC's kernels have the same weights whatever their mask leaves out.
        assert torch.equal(tensor, models[1][name]), name
    elsewhere = build(pretrain_settings(settings, one, 0, [])).encoder.state_dict()
    assert any(not torch.equal(tensor, models[0][name]) for name, tensor in elsewhere.items())


def test_what_is_not_trained_is_as_it_was_initialised(
    settings: CompareSettings, finished: tuple[EmsComparison, Path]
) -> None:
    _, output = finished
    initial = build(pretrain_settings(settings, "npc5", 1, [])).encoder.state_dict()
    saved, trained = (
        load_file(output / "pretrain" / name / "seed_1" / "model" / "model.safetensors")
        for name in ("npc5_untrained", "npc5")
    )
    assert all(torch.equal(tensor, initial[name]) for name, tensor in saved.items())
    assert any(not torch.equal(tensor, initial[name]) for name, tensor in trained.items())


def test_the_same_comparison_again_trains_nothing(
    settings: CompareSettings, finished: tuple[EmsComparison, Path]
) -> None:
    comparison, output = finished
    logs = [path for path in output.rglob("*.jsonl")]
    before = {path: path.stat().st_mtime_ns for path in logs}
    again = compare(settings, output, quietly)
    assert again == comparison
    assert before == {path: path.stat().st_mtime_ns for path in logs}


def test_a_variant_and_a_seed_can_be_added(settings: CompareSettings, tmp_path: Path) -> None:
    few = replace(settings, variants=["npc5"], seeds=[0])
    compare(few, tmp_path / "run", quietly)
    kept = contents(tmp_path / "run" / "pretrain" / "npc5" / "seed_0")
    more = replace(settings, variants=["mockingjay_untrained", "npc5"], seeds=[0, 1])
    assert len(compare(more, tmp_path / "run", quietly).scores) == 4
    assert contents(tmp_path / "run" / "pretrain" / "npc5" / "seed_0") == kept


def test_a_comparison_may_be_renamed(settings: CompareSettings, tmp_path: Path) -> None:
    """Its encoders then have other names for the probes."""
    few = replace(settings, variants=["npc5"], seeds=[0])
    first = compare(few, tmp_path / "run", quietly)
    (tmp_path / "run").rename(tmp_path / "renamed")
    again = compare(replace(few, variants=["npc5", "npc5_untrained"]), tmp_path / "renamed", quietly)
    assert [one for one in again.scores if one.variant == "npc5"] == first.scores
    assert len(again.scores) == 2 * len(first.scores)


def test_other_settings_and_other_folders_are_refused(settings: CompareSettings, tmp_path: Path) -> None:
    few = replace(settings, variants=["npc5_untrained"], seeds=[0])
    compare(few, tmp_path / "run", quietly)
    before = contents(tmp_path / "run")
    for changes in ({"size": "paper"}, {"train": replace(settings.train, epochs=2)}):
        with pytest.raises(GemoclapError, match="holds another run"):
            compare(replace(few, **changes), tmp_path / "run", quietly)
    assert contents(tmp_path / "run") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(GemoclapError, match="holds files of something else"):
        compare(few, tmp_path / "other", quietly)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_what_another_process_is_at_comes_last_and_is_reported_first(settings: CompareSettings, tmp_path: Path) -> None:
    """Another process holds the first job, and lets it go when this one has done all it could without it."""
    few = replace(settings, variants=["mockingjay_untrained", "npc5_untrained"], seeds=[0])
    compare(replace(few, variants=[LOG_MEL]), tmp_path, quietly)
    held = FileLock(tmp_path / "locks" / "probe_labelled_mockingjay_untrained_seed_0.lock")
    held.acquire()
    said: list[str] = []

    def say(what: str) -> None:
        said.append(what)
        if what.startswith("waiting"):
            held.release()

    scores = compare(few, tmp_path, say).scores
    assert said[2:] == [
        "2 of 2: probe labelled npc5_untrained seed 0",
        "waiting for another process: probe labelled mockingjay_untrained seed 0",
        "1 of 2: probe labelled mockingjay_untrained seed 0",
    ]
    assert [one.variant for one in scores] == few.variants


def test_two_processes_share_the_work(settings: CompareSettings, tmp_path: Path) -> None:
    few = replace(settings, variants=[LOG_MEL, "npc5_untrained", "mockingjay_untrained"])
    options = [
        "--speech", str(few.speech[0]), "--probe.manifests", str(few.probe.manifests[0]), "--variants", ",".join(few.variants),
        "--seeds", "0", "--probe.train.steps", "20", "-o", str(tmp_path / "run"),
    ]  # fmt: skip
    command = [sys.executable, "-m", "gemoclap", "compare", "ems", *options]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    shown = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], shown
    with open(tmp_path / "run" / "ems.csv", newline="") as file:
        assert [(row["variant"], row["seed"]) for row in csv.DictReader(file)] == [(name, "0") for name in few.variants]


def test_fine_tuning_begins_with_the_encoder(settings: CompareSettings, tmp_path: Path) -> None:
    labelled = settings.probe.manifests
    tune = FinetuneStage(labelled, ["emo_clap"], [1], TrainSettings(epochs=1, batch_size=4))
    few = replace(settings, variants=[LOG_MEL, "npc5_untrained"], probe=ProbeStage(), finetune=tune)
    shown: list[EmsComparison] = []
    comparison = compare(few, tmp_path, quietly, shown.append)
    assert shown[-1] == comparison and [len(one.scores) for one in shown] == [0, 1]
    assert [(one.task, one.variant, one.seed) for one in comparison.scores] == [("emo_clap", "npc5_untrained", 1)]
    folder = tmp_path / "finetune" / "labelled" / "npc5_untrained" / "seed_1" / "emo_clap"
    table = concatenate([read_predictions(path) for path in sorted(folder.glob("*/predictions.csv"))])
    assert comparison.scores[0].uar == pytest.approx(balanced_accuracy_score(list(table.truth), list(table.prediction)))
    # Another encoder in the same place is another run.
    model = tmp_path / "pretrain" / "npc5_untrained" / "seed_1" / "model" / "model.safetensors"
    weights = load_file(model)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model, {"format": "pt"})
    with pytest.raises(GemoclapError, match="encoder_weights"):
        compare(few, tmp_path, quietly)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ["npc_5"]}, "variants: there is no 'npc_5' (did you mean 'npc5'?)"),
        ({"probe": ProbeStage()}, "no encoder would be scored"),
        ({"speech": []}, "no speech"),
        ({"intensity_model": None}, "intensity_model: npc5_ems, mockingjay_ems_score need one"),
        ({"intensity_model": "nowhere"}, "nowhere: no intensity model in it"),
        ({"variants": []}, "no encoder would be scored"),
        ({"variants": [LOG_MEL], "probe": ProbeStage()}, "no encoder would be scored"),
        ({"finetune": FinetuneStage(methods=["clap"])}, "finetune.methods: there is no 'clap'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    settings: CompareSettings, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GemoclapError) as caught:
        compare(replace(settings, **changes), tmp_path / "run", quietly)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": TrainSettings(lr=5e-3)},
        {"train": PretrainTrainSettings(lr=5e-3)},
        {"train": TrainSettings(lr=2e-4, seed=3)},
        {"probe": ProbeStage(train=ProbeTrainSettings(seeds=[7]))},
        {"finetune": FinetuneStage(train=TrainSettings(select="dev"))},
        {"lr": {"mockingjay": 1e-3, "nqc": 1e-3}},
    ],
)
def test_settings_that_would_be_passed_over_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(GemoclapError, match="is not for a comparison|give both learning rates"):
        CompareSettings(**changes)


def test_the_folds_are_tried_before_the_night(settings: CompareSettings, tmp_path: Path) -> None:
    rows = read_manifest(settings.probe.manifests[0])
    write_manifest([row for row in rows if row.speaker == rows[0].speaker], tmp_path / "one.jsonl")
    with pytest.raises(GemoclapError, match="speaker"):
        compare(replace(settings, probe=ProbeStage([str(tmp_path / "one.jsonl")])), tmp_path / "run", quietly)
    assert not (tmp_path / "run").exists()


def test_what_is_tested_on_is_not_pretrained_on(
    settings: CompareSettings, small_manifest: Path, tmp_path: Path
) -> None:
    labelled = Path(settings.probe.manifests[0])
    with pytest.raises(GemoclapError, match="is tested on; name its corpus by a manifest"):
        compare(replace(settings, speech=[str(small_manifest.parent / "corpus")]), tmp_path / "run", quietly)
    both = replace(settings, speech=[*settings.speech, str(labelled)], variants=["npc5"], seeds=[0])
    compare(both, tmp_path / "run", quietly)
    alone = replace(settings, variants=["npc5"], seeds=[0])
    compare(alone, tmp_path / "alone", quietly)
    one, other = (
        load_file(tmp_path / name / "pretrain" / "npc5" / "seed_0" / "model" / "model.safetensors")
        for name in ("run", "alone")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_labels_that_the_intensity_model_knows_are_told(settings: CompareSettings, tmp_path: Path) -> None:
    model = IntensityModel.from_pretrained(str(settings.intensity_model))
    model.config.trained_speakers = ["synthetic/nobody", *_speakers(Path(settings.probe.manifests[0]))[:1]]
    model.save_pretrained(tmp_path / "intensity")
    few = replace(settings, intensity_model=str(tmp_path / "intensity"), variants=["npc5_ems"], seeds=[0])
    comparison = compare(few, tmp_path / "run", quietly)
    assert len(comparison.warnings) == 1 and comparison.warnings[0].count("synthetic/") == 1
    page = write_ems_report(comparison, tmp_path / "run")
    assert "Beware" in page.read_text().split("\n\n")[1]
    without = replace(few, variants=["npc5"])
    assert compare(without, tmp_path / "without", quietly).warnings == []


def _speakers(manifest: Path) -> list[str]:
    return sorted({f"{row.corpus}/{row.speaker}" for row in read_manifest(manifest)})


def made_up(figures: dict[str, list[float]]) -> EmsComparison:
    """Return a comparison with these UARs by variant, a value a seed."""
    scores = [
        Score("probe", "emodb", name, seed, 0.5, uar) for name, uars in figures.items() for seed, uar in enumerate(uars)
    ]
    return EmsComparison(
        scores, {("npc5", 0): {"step": 7, "dev_spectral_l1": 0.5, "masked_share": 0.15}}, [], ["pre-trained on nothing"]
    )


def test_differences_are_paired_by_seed() -> None:
    figures = {
        "npc5": [0.50, 0.60, 0.55],
        "npc5_ems": [0.52, 0.61, 0.58],
        "npc7": [0.4, 0.5, 0.45],
        "npc7_ems": [0.4, 0.4, 0.4],
    }
    found = difference(made_up(figures), ("probe", "emodb"), [("npc5_ems", "npc5")])
    assert found is not None
    expected = scipy.stats.ttest_rel(figures["npc5_ems"], figures["npc5"]).confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((0.02, expected.low, expected.high))
    both = difference(made_up(figures), ("probe", "emodb"), [("npc5_ems", "npc5"), ("npc7_ems", "npc7")])
    assert both is not None and both.values == pytest.approx((0.01, -0.045, -0.01))
    assert difference(made_up(figures), ("probe", "emodb"), [("mockingjay_ems", "mockingjay")]) is None


def test_the_report_has_what_was_measured(tmp_path: Path) -> None:
    comparison = made_up({LOG_MEL: [0.5, 0.6, 0.7], "npc5": [0.51, 0.62, 0.7], "npc5_ems": [0.55, 0.62, 0.73]})
    page = write_ems_report(comparison, tmp_path).read_text(encoding="utf-8")
    assert "| NPC 5 | 61.0 [" in page and "NPC 5, EMS \N{MINUS SIGN} NPC 5 | +2.3 [" in page
    assert "mean of its 4 pairs" not in page  # three of the four are not there
    with open(tmp_path / "ems.csv", newline="") as file:
        assert [float(row["uar"]) for row in csv.DictReader(file)] == [one.uar for one in comparison.scores]
    data = json.loads((tmp_path / "ems.json").read_text())
    assert data["trials"][0]["variants"]["npc5"]["uar"]["mean"] == pytest.approx(0.61)
    assert data["trials"][0]["uar_differences"]["npc5_ems - npc5"]["values"] == pytest.approx([0.04, 0.0, 0.03])
    assert (tmp_path / "ems.png").read_bytes().startswith(b"\x89PNG")


def test_before_the_first_test_the_page_has_the_pretraining_alone(tmp_path: Path) -> None:
    page = write_ems_report(made_up({}), tmp_path).read_text(encoding="utf-8")
    assert "No encoder has been tested yet." in page and "| NPC 5 | 7 | 0.500 | – |" in page
    assert "could not be drawn" not in page and "## UAR" not in page and not (tmp_path / "ems.png").exists()


def test_a_picture_that_fails_does_not_cost_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("gemoclap.reports.ems.draw_comparison", fail)
    page = write_ems_report(made_up({"npc5": [0.5], "npc5_ems": [0.6]}), tmp_path).read_text(encoding="utf-8")
    assert "**ems.png could not be drawn:** MemoryError" in page and "](ems.png)" not in page
    assert "| NPC 5 | 50.0 |" in page and {path.name for path in tmp_path.iterdir()} == {
        "ems.md",
        "ems.csv",
        "ems.json",
    }


def test_two_seeds_have_no_interval_either(tmp_path: Path) -> None:
    page = write_ems_report(made_up({"npc5": [0.5, 0.6], "npc5_ems": [0.6, 0.6]}), tmp_path).read_text(encoding="utf-8")
    assert "| NPC 5 | 55.0 |" in page and "| +5.0 |" in page


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    page = write_ems_report(made_up({"npc5": [0.5], "npc5_ems": [0.6]}), tmp_path).read_text(encoding="utf-8")
    assert "| NPC 5 | 50.0 |" in page and "| +10.0 |" in page
    assert json.loads((tmp_path / "ems.json").read_text())["trials"][0]["variants"]["npc5"]["uar"]["interval"] is None


def test_pairs_differ_in_one_thing() -> None:
    masking, heads, source = [*PAIRS.values()][:2], [*PAIRS.values()][2], [*PAIRS.values()][3]
    for one, other in (*chain(*masking), *CONTROLS[:3]):
        ems, plain = VARIANTS[one], VARIANTS[other]
        assert ems.masking == "intensity" and plain.masking != "intensity"
        assert replace(ems, masking=plain.masking, title=plain.title) == plain
    for one, other in heads:
        assert (
            VARIANTS[one].score_head == "speech"
            and replace(VARIANTS[one], score_head="none", title=VARIANTS[other].title) == VARIANTS[other]
        )
    for one, other in source:
        assert VARIANTS[one].score_head == "intensity_track" and VARIANTS[one].masking == "intensity"
        assert VARIANTS[one].add_intensity == (VARIANTS[one].encoder == "mockingjay")
        assert VARIANTS[one].options == VARIANTS[other].options


def test_its_folder_stands_beside_the_paper(finished: tuple[EmsComparison, Path], tmp_path: Path) -> None:
    comparison, output = finished
    beside = read_ems([str(output)])
    (trial,) = beside.trials
    (gain,) = trial.gains
    assert (gain.ems, gain.plain) == ("npc5_ems", "npc5")
    expected = difference(comparison, ("probe", "labelled"), [("npc5_ems", "npc5")])
    assert expected is not None and gain.uar.value == pytest.approx(expected.mean)
    assert set(trial.rows) == set(NAMES)
    page = write_ems_beside(beside, tmp_path / "out").read_text()
    assert "| pre-training | speech; passes: 1" in page and f"torch {torch.__version__}" in page
