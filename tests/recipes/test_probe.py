"""The run of a probe: its folder, its report, its seeds, and what is never done twice."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import soundfile
import torch
import yaml
from probes import settings_for
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from small import changed, contents
from tiny import save_speech_encoder

from gemoclap.config import CacheSettings
from gemoclap.config.probe import LOG_MEL, ProbeHeadSettings, ProbeSettings, ProbeTrainSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.encoders.feature_cache import LayerFeatures
from gemoclap.errors import GemoclapError
from gemoclap.predictions import read_predictions
from gemoclap.recipes import probe as recipe
from gemoclap.recipes.probe import probe
from gemoclap.recipes.seeds import over_seeds
from gemoclap.reports import collect, write_report

# The run.


@pytest.fixture(scope="module")
def finished(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProbeSettings, Path]:
    """A baseline and an untrained encoder, two seeds, two folds."""
    folder = tmp_path_factory.mktemp("probe")
    settings = settings_for(small_manifest, LOG_MEL, "compact", seeds=[3, 1])
    settings = replace(settings, cache=CacheSettings(folder=str(folder / "cache")))
    probe(settings, folder / "run")
    return settings, folder / "run"


def test_a_report_can_be_written(finished: tuple[ProbeSettings, Path], tmp_path: Path) -> None:
    settings, run = finished
    run = Path(shutil.copytree(run, tmp_path / "run"))
    results = collect(run)
    assert write_report(results).is_file() and (run / f"confusion_{LOG_MEL}.png").is_file()
    assert [row.name for row in results.rows] == [LOG_MEL, "compact"] and not results.partial
    assert results.selection == "last" and results.differences[0].n == 32 and len(results.differences) == 1
    for row in results.rows:
        assert list(row.members) == [3, 1] and row.scores is not None and row.scores.n_seeds == 2
        each = []
        for seed, method in row.members.items():
            tables = [
                read_predictions(run / row.name / fold / f"seed_{seed}" / "predictions.csv") for fold in method.folds
            ]
            sides = ([word for table in tables for word in getattr(table, side)] for side in ("truth", "prediction"))
            each.append(balanced_accuracy_score(*sides))
            assert [line["epoch"] for line in method.logs["fold_1"]] == [1, 2, 3]
        # The result is the mean over seeds, not the first of them.
        assert row.scores.uar == pytest.approx(sum(each) / 2)
        assert f"| {100 * row.scores.uar:.1f} [" in (run / "report.md").read_text()
    page = (run / "report.md").read_text()
    assert page.startswith("# Linear probes on ")
    assert "linear heads on the mean over the frames of a learned weighted sum of all layers" in page
    # Each training counts once, however many seeds there are.
    seconds = [json.loads(path.read_text())["seconds"] for path in run.glob("*/fold_*/seed_*/made.json")]
    assert len(seconds) == 8 and results.made["seconds"] == pytest.approx(sum(seconds), abs=0.05)
    tested = [
        name for fold in ("fold_1", "fold_2") for name in read_predictions(run / f"compact/{fold}/predictions.csv").ids
    ]
    assert sorted(tested) == sorted(row.id for row in read_manifest(str(settings.data.manifest)))


def test_seeds_are_summed_up(finished: tuple[ProbeSettings, Path]) -> None:
    settings, run = finished
    summed = json.loads((run / "seeds.json").read_text())
    assert summed["seeds"] == [3, 1]
    with (run / "seeds.csv").open() as file:
        cells = {(row["method"], row["seed"]): row for row in csv.DictReader(file)}
    for method in (LOG_MEL, "compact"):
        uars = []
        for seed in (3, 1):
            tables = [
                read_predictions(run / method / fold / f"seed_{seed}/predictions.csv") for fold in ("fold_1", "fold_2")
            ]
            truth, said = ([word for one in tables for word in getattr(one, side)] for side in ("truth", "prediction"))
            uars.append(balanced_accuracy_score(truth, said))
            assert float(cells[method, str(seed)]["war"]) == pytest.approx(accuracy_score(truth, said))
        figure = summed["methods"][method]["uar"]
        assert figure["values"] == pytest.approx(uars) and figure["mean"] == pytest.approx(np.mean(uars))
        # Two seeds are too few for an interval.
        assert cells[method, "mean"]["uar_high"] == "" and figure["high"] is None


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.61, 0.64, 0.6, 0.66, 0.63]
    found = over_seeds(values)
    low, high = scipy.stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    two = over_seeds([0.5, 0.7])
    assert two.sd == pytest.approx(np.std([0.5, 0.7], ddof=1)) and math.isnan(two.low) and not two.has_interval
    alone = over_seeds([0.5])
    assert alone.mean == 0.5 and math.isnan(alone.sd) and math.isnan(alone.low) and math.isnan(alone.high)


def test_one_seed_has_no_interval_and_development_speakers_are_heard(small_manifest: Path, tmp_path: Path) -> None:
    figures = probe(settings_for(small_manifest, folds=4, dev=1, select="dev"), tmp_path / "run")
    assert math.isnan(figures[LOG_MEL]["uar"].low)
    summed = json.loads((tmp_path / "run" / "seeds.json").read_text())["methods"][LOG_MEL]["uar"]
    assert summed["low"] is None and summed["mean"] == figures[LOG_MEL]["uar"].mean
    results = collect(tmp_path / "run")
    assert results.selection == "dev" and all("dev_uar" in row for row in results.methods[0].logs["fold_1"])


def forbidden(name: str) -> Callable:
    return lambda *args, **options: pytest.fail(f"{name} was called")


def results_of(found: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Return path -> hash, without the records of how long each head took."""
    return {path: digest for path, (digest, _) in found.items() if not path.endswith("made.json")}


def test_nothing_is_done_twice(finished: tuple[ProbeSettings, Path], tmp_path: Path, monkeypatch) -> None:
    settings, run = finished
    run = Path(shutil.copytree(run, tmp_path / "run"))
    before = contents(run)
    lost = "compact/fold_2/seed_1/predictions.csv"
    (run / lost).unlink()
    trained = []
    fit = recipe.fit_head

    def counted(*args: Any) -> Any:
        trained.append(args[4])
        return fit(*args)

    monkeypatch.setattr(recipe, "fit_head", counted)
    monkeypatch.setattr(LayerFeatures, "_encode", forbidden("_encode"))
    probe(settings, run)
    assert trained == [1]
    untouched = {path for path in before if path.startswith((LOG_MEL, "compact/fold_1", "compact/fold_2/seed_3"))}
    after = contents(run)
    assert json.loads((run / "compact/fold_1/seed_1/made.json").read_text())["torch"] == torch.__version__
    assert len(untouched) > 10 and all(after[path] == before[path] for path in untouched)
    assert results_of(after) == results_of(before)
    for name in ("fit_head", "layer_means"):
        monkeypatch.setattr(recipe, name, forbidden(name))
    monkeypatch.setattr(AudioStore, "_decode", forbidden("_decode"))
    again = probe(settings, run)
    assert again["compact"]["war"].values == tuple(
        json.loads((run / "seeds.json").read_text())["methods"]["compact"]["war"]["values"]
    )


def test_an_interrupted_run_ends_as_one_in_a_piece(
    finished: tuple[ProbeSettings, Path], tmp_path: Path, monkeypatch
) -> None:
    settings, whole = finished
    fit, calls = recipe.fit_head, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recipe, "fit_head", interrupted)
        probe(settings, tmp_path / "run")
    probe(settings, tmp_path / "run")
    one, other = contents(whole), contents(tmp_path / "run")
    assert results_of(other) == results_of(one)


def test_test_speakers_have_no_say(small_manifest: Path, tmp_path: Path) -> None:
    listed = replace(settings_for(small_manifest, LOG_MEL, "compact").data, folds="lists", n_folds=None)
    speakers = sorted({str(row.speaker) for row in read_manifest(small_manifest)})
    listed = replace(listed, test_speakers=[speakers[:1]])
    plain = replace(settings_for(small_manifest, LOG_MEL, "compact"), data=listed)
    changed_rows = []
    for row in read_manifest(small_manifest):
        if row.speaker == speakers[0]:
            path = tmp_path / f"{row.id}.wav"
            soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 9000), 16000)
            row = replace(row, path=str(path))
        changed_rows.append(row)
    write_manifest(changed_rows, tmp_path / "m.jsonl")
    other = replace(plain, data=replace(listed, manifest=str(tmp_path / "m.jsonl")))
    probe(plain, tmp_path / "one")
    probe(other, tmp_path / "two")
    for method in (LOG_MEL, "compact"):
        one, two = (tmp_path / run / method / "fold_1" / "seed_0" for run in ("one", "two"))
        heads = load_file(one / "head.safetensors"), load_file(two / "head.safetensors")
        assert heads[0].keys() == heads[1].keys() and all(
            torch.equal(heads[0][name], heads[1][name]) for name in heads[0]
        )
        tables = [read_predictions(folder / "predictions.csv") for folder in (one, two)]
        assert not np.allclose(tables[0].probabilities, tables[1].probabilities)


def test_another_run_is_refused(finished: tuple[ProbeSettings, Path], tmp_path: Path) -> None:
    settings, run = finished
    before = contents(run)
    others = {
        "train.lr": replace(settings, train=replace(settings.train, lr=0.5)),
        "train.seeds": replace(settings, train=replace(settings.train, seeds=[3])),
        "head.layers": replace(settings, head=replace(settings.head, layers="last")),
        "encoders": replace(settings, encoders=["compact"]),
    }
    for name, other in others.items():
        with pytest.raises(GemoclapError, match=f"its {name} differs"):
            probe(other, run)
    elsewhere = changed(Path(str(settings.data.manifest)), tmp_path / "m.jsonl")
    with pytest.raises(GemoclapError, match="its data.manifest differs"):
        probe(replace(settings, data=replace(settings.data, manifest=str(elsewhere))), run)
    assert contents(run) == before


def test_another_encoder_in_the_same_folder_is_noticed(small_manifest: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_for(small_manifest, "./pre/encoder/")
    save_speech_encoder(tmp_path / "pre" / "encoder", seed=0)
    probe(settings, tmp_path / "run")
    assert (tmp_path / "run" / "pre_encoder" / "fold_2" / "predictions.csv").is_file()
    save_speech_encoder(tmp_path / "pre" / "encoder", seed=1)
    with pytest.raises(GemoclapError, match="its encoder_weights.pre_encoder differs"):
        probe(settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, encoders=[]), "no encoder to probe"),
        (lambda s: replace(s, encoders=["compact", "./compact"]), "would be called compact, as another is"),
        (lambda s: replace(s, encoders=["no/such/folder"]), "no/such/folder: no such folder"),
        (lambda s: replace(s, head=ProbeHeadSettings(hidden_dim=0)), "head.hidden_dim must be 1 or more"),
        (lambda s: replace(s, train=ProbeTrainSettings(steps=0)), "train.steps must be 1 or more"),
        (lambda s: replace(s, train=ProbeTrainSettings(batch_size=0)), "train.batch_size must be 1 or more"),
        (lambda s: replace(s, train=ProbeTrainSettings(lr=0)), "train.lr must be above 0"),
        (lambda s: replace(s, train=ProbeTrainSettings(clip_norm=0)), "train.clip_norm must be above 0"),
        (lambda s: replace(s, train=ProbeTrainSettings(seeds=[])), "train.seeds must be one or more"),
        (lambda s: replace(s, train=ProbeTrainSettings(seeds=[1, 1])), "train.seeds must be .* each once"),
        (lambda s: replace(s, train=ProbeTrainSettings(seeds=[-1])), "train.seeds must be .* 0 or more"),
        (lambda s: replace(s, train=ProbeTrainSettings(select="dev")), "fold_1 has none; set --data.dev_speakers"),
        (lambda s: replace(s, data=replace(s.data, emotions=["sad"])), "'sad' is the only class"),
        (lambda s: replace(s, data=replace(s.data, manifest=None)), "no manifest"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(change: Callable, says: str, small_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match=says) as raised:
        probe(change(settings_for(small_manifest)), tmp_path / "run")
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_one_process_is_enough(small_manifest: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "process_state", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(GemoclapError, match="runs in one process"):
        probe(settings_for(small_manifest), tmp_path / "run")


def test_settings_are_written_down_as_they_were_used(finished: tuple[ProbeSettings, Path]) -> None:
    settings, run = finished
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["methods"] == [LOG_MEL, "compact"] and set(written["encoder_weights"]) == {LOG_MEL, "compact"}
    assert written["train"] == asdict(settings.train) and written["head"] == asdict(settings.head)
