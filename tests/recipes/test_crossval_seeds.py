"""A cross-validation with several seeds: the same as one a seed, resumable, reported together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from small import complaint, contents, crossval, run

from gemoclap.config import Settings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.data.reading import read_data
from gemoclap.reports import collect


def command(manifest: Path, output: Path, *options: str) -> list[str]:
    return crossval(manifest, "ce,egemaps_svm", output, *options)


@pytest.fixture(scope="module")
def finished(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("seeds") / "run"
    assert run(*command(small_manifest, output, "--seeds", "0,1")) == 0
    return output


def test_each_seed_is_the_run_of_that_seed(finished: Path, small_manifest: Path, tmp_path: Path) -> None:
    assert run(*command(small_manifest, tmp_path / "one", "--train.seed", "1", "--methods", "ce")) == 0
    for fold in ("fold_1", "fold_2"):
        alone, together = (
            folder / "ce" / fold / "predictions.csv" for folder in (tmp_path / "one", finished / "seed_1")
        )
        assert alone.read_bytes() == together.read_bytes()
        assert alone.read_bytes() != (finished / "seed_0" / "ce" / fold / "predictions.csv").read_bytes()
    configs = [yaml.safe_load((finished / f"seed_{seed}" / "config.yaml").read_text()) for seed in (0, 1)]
    assert [one["train"]["seed"] for one in configs] == [0, 1]
    assert [one["methods"] for one in configs] == [["ce", "egemaps_svm"], ["ce"]]  # the baseline knows no seed


def test_all_are_reported_together_and_each_alone(finished: Path) -> None:
    uars = [next(m for m in collect(finished / f"seed_{seed}").methods if m.name == "ce").pooled.uar for seed in (0, 1)]
    results = json.loads((finished / "results.json").read_text())
    assert results["runs"] == ["seed_0", "seed_1"]
    (mean,) = results["seed_means"]
    assert (mean["title"], mean["uar"]["values"], mean["uar"]["mean"]) == (
        "Cross-entropy",
        uars,
        pytest.approx(sum(uars) / 2),
    )
    assert "### Each seed" in (finished / "report.md").read_text()
    for seed in (0, 1):
        assert (finished / f"seed_{seed}" / "report.md").is_file()


def test_what_is_done_is_not_done_again_and_seeds_are_added(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    for path in output.iterdir():  # stopped in the second seed, before any report of both
        if path.is_file():
            path.unlink()
    shutil.rmtree(output / "seed_1" / "ce" / "fold_2")
    before = contents(output / "seed_0" / "ce")
    assert run(*command(small_manifest, output, "--seeds", "0,1,2")) == 0
    assert contents(output / "seed_0" / "ce") == before
    again, first = (folder / "seed_1" / "ce" / "fold_2" / "predictions.csv" for folder in (output, finished))
    assert again.read_bytes() == first.read_bytes()
    assert "0, 1, 2" in capsys.readouterr().out
    assert list(json.loads((output / "results.json").read_text())["seed_means"][0]["methods"]) == ["0", "1", "2"]


def test_seeds_of_later_commands_are_reported_with_the_earlier_ones(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "run"))
    assert run(*command(small_manifest, output, "--seeds", "2")) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["runs"] == ["seed_0", "seed_1", "seed_2"]
    assert list(results["seed_means"][0]["methods"]) == ["0", "1", "2"]
    assert not (output / "seed_2" / "egemaps_svm").exists()  # it knows no seed, and seed_0 has it
    before = contents(output)
    line = complaint(capsys, *command(small_manifest, output, "--seeds", "3", "--train.lr", "0.1"))
    assert f"{output / 'seed_0'}: holds another run (its train.lr differs" in line
    assert contents(output) == before
    shutil.rmtree(output / "seed_2" / "ce")  # stopped before its first fold
    assert run(*command(small_manifest, output, "--seeds", "1", "--methods", "ce")) == 0
    again = (output / "results.json").read_text()
    assert list(json.loads(again)["seed_means"][0]["methods"]) == ["0", "1"]
    assert run("report", output) == 0 and (output / "results.json").read_text() == again
    assert run("compare", f"{output}:ce", f"{output}:egemaps_svm", "-o", tmp_path / "pairs") == 0


def test_a_baseline_that_was_stopped_is_finished_and_one_that_is_there_is_not_made_again(
    finished: Path, small_manifest: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.copytree(output / "seed_1", output / "seed_1_old")  # somebody's copy is no seed
    shutil.rmtree(output / "seed_0" / "egemaps_svm" / "fold_2")
    assert run(*command(small_manifest, output, "--seeds", "1")) == 0
    assert {path.name for path in (output / "seed_1" / "egemaps_svm").glob("fold_*")} == {"fold_1", "fold_2"}
    results = json.loads((output / "results.json").read_text())
    assert results["runs"] == ["seed_0", "seed_1"]
    shutil.rmtree(output / "seed_0")
    assert run(*command(small_manifest, output, "--seeds", "0,1")) == 0
    assert (output / "seed_0" / "ce").is_dir() and not (output / "seed_0" / "egemaps_svm").exists()


def test_what_makes_no_sense_with_seeds_is_refused(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def refused(output: Path, *options: str) -> str:
        return complaint(capsys, *command(small_manifest, output, *options))

    new = tmp_path / "new"
    assert "leave one of the two out" in refused(new, "--seeds", "0,1", "--train.seed", "3")
    assert "--seeds must be one or more numbers, 0 or more, each once" in refused(new, "--seeds", "1,1")
    assert "does not use seeds; leave --seeds out" in refused(new, "--seeds", "0,1", "--methods", "egemaps_svm")
    assert "method 'ce' is given twice" in refused(new, "--seeds", "0,1", "--methods", "ce,ce")
    assert "method 'ce' is given twice" in refused(new, "--methods", "ce,emo_clap,ce")
    assert not new.exists()
    assert "is a run of its own" in refused(finished / "seed_0", "--seeds", "0,1")
    assert "holds files of something else" in refused(finished.parent, "--seeds", "0,1")
    assert "has runs of several seeds; name seeds with --seeds" in refused(finished, "--train.seed", "0")


def test_report_takes_the_folder_of_several_seeds(finished: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "runs"))
    (output / "report.md").unlink()
    assert run("report", output) == 0 and run("report", output, "-o", tmp_path / "elsewhere") == 0
    for folder in (output, tmp_path / "elsewhere"):
        found, first = (json.loads((one / "results.json").read_text()) for one in (folder, finished))
        assert found["seed_means"] == first["seed_means"] and len(found["runs"]) == 2
        assert (folder / "report.md").is_file()


def test_settings_without_effect_are_said_and_have_none(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    idle = ("--objective.alpha", "0.3", "--objective.scale", "7", "--objective.target", "row_sum", "--gmp.layer", "1")
    assert run(*command(small_manifest, tmp_path / "idle", "--methods", "ce", "--train.seed", "1", *idle)) == 0
    says = "objective.alpha, objective.target, objective.scale, gmp.layer: no effect on ce"
    assert says in capsys.readouterr().out.splitlines()
    one, other = (folder / "ce" / "fold_1" / "predictions.csv" for folder in (tmp_path / "idle", finished / "seed_1"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("given", [["train", "small.jsonl"], ["gmp", "features", "small.jsonl"]])
def test_folds_where_none_are_made_are_said_to_have_no_effect(
    given: list[str],
    small_manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Who names test speakers must learn that they are trained on; they are no error, as a run's config.yaml has them too."""
    read: list[int] = []

    def no_training(settings: Settings, *_: object, **__: object) -> Path:
        read.append(len(read_data(settings.data, has_folds=False)[0]))
        return tmp_path

    monkeypatch.setattr("gemoclap.cli.training.train", no_training)
    monkeypatch.setattr("gemoclap.cli.gmp.train", no_training)
    words = [small_manifest if word == "small.jsonl" else word for word in given]
    assert run(*words, "-o", tmp_path / "a", "--data.test_speakers", "[[s1]]", "--data.n_folds", "3") == 0
    name = " ".join(given[:-1])
    said = (
        f"data.n_folds, data.test_speakers: no effect on {name}, which makes no folds: all speakers of the manifest are"
    )
    assert said in capsys.readouterr().out
    assert run(*words, "-o", tmp_path / "b", "--data.dev_speakers", "1") == 0
    assert "no effect" not in capsys.readouterr().out and read == 2 * [len(read_manifest(small_manifest))]
