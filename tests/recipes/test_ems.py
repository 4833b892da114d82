"""The comparison of ways to pre-train: its folder, what it refuses, and its figures against the runs' own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from filelock import FileLock
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score
from small import contents

from gemoclap.config import TrainSettings
from gemoclap.config_ems import LOG_MEL, CompareSettings, FinetuneStage, ProbeStage, ProbeTrainSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.ems.intensity import IntensityConfig, IntensityModel
from gemoclap.errors import GemoclapError
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.recipes.ems import CONTROLS, PAIRS, VARIANTS, Comparison, Score, compare, pretrain_settings
from gemoclap.recipes.pretrain import build
from gemoclap.reports.ems import difference, write_ems_report

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
        train=TrainSettings(epochs=1, batch_size=4, warmup_epochs=0.1),
        probe=ProbeStage([str(folder / "labelled.jsonl")], train=ProbeTrainSettings(steps=20)),
    )


@pytest.fixture(scope="module")
def finished(settings: CompareSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    output = tmp_path_factory.mktemp("finished") / "run"
    return compare(settings, output, quietly), output


def test_every_encoder_is_scored_with_every_seed(finished: tuple[Comparison, Path]) -> None:
    comparison, output = finished
    assert {(one.variant, one.seed) for one in comparison.scores} == {(name, seed) for name in NAMES for seed in (0, 1)}
    for one in comparison.scores:
        folder = output / "probe" / one.corpus / one.variant / f"seed_{one.seed}"
        tables = [read_predictions(path) for path in sorted(folder.glob(f"*/*/seed_{one.seed}/predictions.csv"))]
        table = concatenate(tables)
        assert len(table) == 16 and len(tables) == 4
        assert one.uar == pytest.approx(balanced_accuracy_score(list(table.truth), list(table.prediction)))
    assert {name for name, _ in comparison.pretraining} == {"npc5", "npc5_ems", "mockingjay_ems_score"}


def test_all_of_a_seed_begin_with_the_same_weights(
    settings: CompareSettings, finished: tuple[Comparison, Path]
) -> None:
    models = {
        (name, seed): build(pretrain_settings(settings, name, seed, [])).encoder.state_dict()
        for name in ("npc5", "npc5_ems", "npc5_ems_score", "npc5_random", "npc7")
        for seed in (0, 1)
    }
    for (_, seed), weights in models.items():
        assert all(torch.equal(weights[name], tensor) for name, tensor in models["npc5", seed].items())
    weight = "layers.0.over_time.weight"
    assert not torch.equal(models["npc5", 0][weight], models["npc5", 1][weight])
    _, output = finished
    saved = load_file(output / "pretrain" / "npc5_untrained" / "seed_1" / "model" / "model.safetensors")
    assert all(torch.equal(tensor, models["npc5", 1][name]) for name, tensor in saved.items())
    trained = load_file(output / "pretrain" / "npc5" / "seed_1" / "model" / "model.safetensors")
    assert not torch.equal(trained[weight], saved[weight])


def test_the_same_comparison_again_trains_nothing(settings: CompareSettings, finished: tuple[Comparison, Path]) -> None:
    comparison, output = finished
    logs = [path for path in output.rglob("*.jsonl")]
    before = {path: path.stat().st_mtime_ns for path in logs}
    again = compare(settings, output, quietly)
    assert again == comparison
    assert before == {path: path.stat().st_mtime_ns for path in logs}


def test_a_variant_and_a_seed_can_be_added(settings: CompareSettings, tmp_path: Path) -> None:
    few = replace(settings, variants=["npc5_untrained"], seeds=[0])
    compare(few, tmp_path / "run", quietly)
    kept = contents(tmp_path / "run" / "pretrain" / "npc5_untrained" / "seed_0")
    more = replace(settings, variants=["npc5_untrained", "mockingjay_untrained"], seeds=[0, 1])
    assert len(compare(more, tmp_path / "run", quietly).scores) == 4
    assert contents(tmp_path / "run" / "pretrain" / "npc5_untrained" / "seed_0") == kept


def test_what_another_process_is_at_comes_last(settings: CompareSettings, tmp_path: Path) -> None:
    """A second process holds the first job and lets it go when the first process has done all it could without it."""
    few = replace(settings, variants=["npc5_untrained", "mockingjay_untrained"], seeds=[0])
    (tmp_path / "locks").mkdir()
    held = FileLock(tmp_path / "locks" / "pretrain_npc5_untrained_seed_0.lock")
    held.acquire()
    order: list[str] = []

    def say(what: str) -> None:
        order.append(what.split(": ")[1])
        held.release()

    compare(few, tmp_path, say)
    assert order[:2] == ["pretrain mockingjay_untrained seed 0", "pretrain npc5_untrained seed 0"]


def test_fine_tuning_begins_with_the_encoder(settings: CompareSettings, tmp_path: Path) -> None:
    labelled = settings.probe.manifests
    tune = FinetuneStage(labelled, ["emo_clap"], [1], TrainSettings(epochs=1, batch_size=4))
    few = replace(settings, variants=[LOG_MEL, "npc5_untrained"], probe=ProbeStage(), finetune=tune)
    comparison = compare(few, tmp_path, quietly)
    assert [(one.task, one.variant, one.seed) for one in comparison.scores] == [("emo_clap", "npc5_untrained", 1)]
    folder = tmp_path / "finetune" / "labelled" / "npc5_untrained" / "seed_1" / "emo_clap"
    table = concatenate([read_predictions(path) for path in sorted(folder.glob("*/predictions.csv"))])
    assert comparison.scores[0].uar == pytest.approx(balanced_accuracy_score(list(table.truth), list(table.prediction)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ["npc_5"]}, "variants: there is no 'npc_5' (did you mean 'npc5'?)"),
        ({"probe": ProbeStage()}, "nothing to compare the encoders on"),
        ({"speech": []}, "no speech"),
        ({"intensity_model": None}, "model.intensity_model"),
        ({"finetune": FinetuneStage(methods=["clap"])}, "finetune.methods: there is no 'clap'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    settings: CompareSettings, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GemoclapError) as caught:
        compare(replace(settings, **changes), tmp_path / "run", quietly)
    assert message in str(caught.value) and "\n" not in str(caught.value)


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
    few = replace(settings, intensity_model=str(tmp_path / "intensity"), variants=["npc5_untrained"], seeds=[0])
    comparison = compare(few, tmp_path / "run", quietly)
    assert len(comparison.warnings) == 1 and comparison.warnings[0].count("synthetic/") == 1
    page = write_ems_report(comparison, tmp_path / "run")
    assert "Beware" in page.read_text().split("\n\n")[1]


def _speakers(manifest: Path) -> list[str]:
    return sorted({f"{row.corpus}/{row.speaker}" for row in read_manifest(manifest)})


def made_up(figures: dict[str, list[float]]) -> Comparison:
    """Return a comparison with these UARs by variant, a value a seed."""
    scores = [
        Score("probe", "emodb", name, seed, 0.5, uar) for name, uars in figures.items() for seed, uar in enumerate(uars)
    ]
    return Comparison(scores, {("npc5", 0): {"step": 7, "dev_spectral_l1": 0.5, "masked_share": 0.15}}, [])


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
    comparison = made_up({LOG_MEL: [0.5, 0.6], "npc5": [0.51, 0.62], "npc5_ems": [0.55, 0.62]})
    page = write_ems_report(comparison, tmp_path).read_text(encoding="utf-8")
    assert "| NPC 5 | 56.5 [" in page and "NPC 5, EMS \N{MINUS SIGN} NPC 5 | +2.0 [" in page
    assert "mean of all pairs" not in page  # five of the six pairs are not there
    with open(tmp_path / "ems.csv", newline="") as file:
        assert [float(row["uar"]) for row in csv.DictReader(file)] == [one.uar for one in comparison.scores]
    data = json.loads((tmp_path / "ems.json").read_text())
    assert data["trials"][0]["variants"]["npc5"]["uar"]["mean"] == pytest.approx(0.565)
    assert data["trials"][0]["uar_differences"]["npc5_ems - npc5"]["values"] == pytest.approx([0.04, 0.0])
    assert (tmp_path / "ems.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    page = write_ems_report(made_up({"npc5": [0.5], "npc5_ems": [0.6]}), tmp_path).read_text(encoding="utf-8")
    assert "| NPC 5 | 50.0 |" in page and "| +10.0 |" in page
    assert json.loads((tmp_path / "ems.json").read_text())["trials"][0]["variants"]["npc5"]["uar"]["interval"] is None


def test_pairs_differ_in_masking_alone() -> None:
    for one, other in (*PAIRS, *CONTROLS[:1]):
        ems, plain = VARIANTS[one], VARIANTS[other]
        assert ems.masking == "intensity" and plain.masking != "intensity"
        assert replace(ems, masking=plain.masking, title=plain.title) == plain
