"""Means over seeds in a report of several runs: against plain means and a bootstrap written out, and what is put together."""

import csv
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakerun import make_run, told
from scipy.stats import norm, t
from sklearn.metrics import confusion_matrix, recall_score

from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.reports import Results, collect, collect_together, print_table, write_report
from gemoclap.reports.tables import points
from gemoclap.terminal import output_console

SMALL = {"n_folds": 2, "epochs": 2}
ACCURACIES = {0: (0.3, 0.6), 1: (0.45, 0.62), 2: (0.4, 0.75)}
"""Of the two methods, by seed."""


def seeded(folder: Path, seed: int, **sections: dict) -> Path:
    """Say in a run's config.yaml which seed it had, and what else it was told."""
    return told(folder, train={"seed": seed, "lr": 0.1} | sections.pop("train", {}), **sections)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    methods = ("ce", "emo_clap")
    return [
        seeded(make_run(tmp_path / f"seed_{seed}", methods, accuracy=accuracy, **SMALL), seed)
        for seed, accuracy in ACCURACIES.items()
    ]


def tables(runs: Sequence[Path], method: str) -> list[PredictionTable]:
    found = [next(one.predictions for one in collect(run).methods if one.name == method) for run in runs]
    return [table for table in found if table is not None]


def uars(table: PredictionTable, draws: np.ndarray) -> list[float]:
    """UAR of each resample of speakers, one after the other."""
    truth, prediction, speakers = (np.array(words) for words in (table.truth, table.prediction, table.speakers))
    counts = {
        speaker: confusion_matrix(truth[speakers == speaker], prediction[speakers == speaker], labels=table.classes)
        for speaker in np.unique(speakers)
    }
    sums = [sum(counts[speaker] for speaker in names) for names in draws]
    return [float(np.mean(np.diag(one) / one.sum(axis=1))) for one in sums]


def tails(speakers: int) -> list[float]:
    """Where Hesterberg's expanded percentile interval cuts."""
    tail = norm.cdf(-t.ppf(0.975, speakers - 1) * math.sqrt(speakers / (speakers - 1)))
    return [tail, 1 - tail]


def test_means_and_intervals_are_those_of_a_bootstrap_written_out(runs: list[Path], tmp_path: Path) -> None:
    plain, contrast = collect_together(runs, tmp_path / "joined").seed_means
    assert (plain.title, contrast.title, list(plain.members)) == ("Cross-entropy", "Emo-CLAP", [0, 1, 2])
    speakers = sorted(set(tables(runs, "ce")[0].speakers))
    draws = np.random.default_rng(1).choice(speakers, (4000, len(speakers)))
    resampled = {}
    for one, name in ((plain, "ce"), (contrast, "emo_clap")):
        found = tables(runs, name)
        each = [recall_score(table.truth, table.prediction, average="macro") for table in found]
        assert one.uar.values == pytest.approx(each)
        assert (one.uar.mean, one.uar.sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
        chosen = np.random.default_rng(2 + len(resampled)).integers(0, 3, (4000, 3))
        of_seeds = np.array([uars(table, draws) for table in found]).T
        resampled[name] = np.take_along_axis(of_seeds, chosen, axis=1).mean(axis=1)
        assert one.scores.uar_interval == pytest.approx(np.quantile(resampled[name], tails(8)), abs=0.02)
        assert one.scores.uar == pytest.approx(one.uar.mean)
    (difference,) = collect_together(runs, tmp_path / "joined").differences
    assert (difference.baseline, difference.method) == ("ce", "emo_clap")
    assert difference.uar.value == pytest.approx(contrast.uar.mean - plain.uar.mean)
    naive = np.quantile(resampled["emo_clap"] - resampled["ce"], tails(8))
    assert (difference.uar.low, difference.uar.high) == pytest.approx(naive, abs=0.02)


@pytest.mark.parametrize("known_speakers", [True, False])
def test_seeds_that_say_the_same_are_no_surer_than_one(known_speakers: bool, tmp_path: Path) -> None:
    runs = [
        seeded(make_run(tmp_path / str(seed), ("ce",), known_speakers=known_speakers, **SMALL), seed) for seed in (3, 4)
    ]
    results = collect_together(runs, tmp_path / "joined")
    (mean,), (one, _) = results.seed_means, results.methods
    assert mean.uar.sd == 0 and mean.scores.n == one.pooled.n
    assert mean.scores.uar_interval == pytest.approx(one.pooled.uar_interval)
    assert mean.scores.war_interval == pytest.approx(one.pooled.war_interval)


def test_a_difference_is_paired_by_speaker(runs: list[Path], tmp_path: Path) -> None:
    """The second method is the first with a tenth of its mistakes mended: speakers make both easy or hard."""
    for run in runs:
        for path in (run / "ce").glob("*/predictions.csv"):
            table = read_predictions(path)
            mended = np.random.default_rng(5).random(len(table)) < 0.1
            prediction = tuple(np.where(mended, table.truth, table.prediction).tolist())
            replace(table, prediction=prediction).write(run / "emo_clap" / path.parent.name / "predictions.csv")
    results = collect_together(runs, tmp_path / "joined")
    (difference,) = results.differences
    assert difference.p_corrected == difference.p < 0.05
    # The seeds are so far apart that other seeds could turn the difference around, which only the interval knows.
    assert difference.uar.low < 0 < difference.uar.high and difference.differs is False
    width = difference.uar.high - difference.uar.low
    unpaired = math.hypot(*(np.diff(row.scores.uar_interval)[0] for row in results.rows))
    assert width < 0.7 * unpaired


def test_a_method_is_never_compared_with_itself_under_another_seed(runs: list[Path], tmp_path: Path) -> None:
    for run in runs:
        shutil.rmtree(run / "emo_clap")
        (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("- emo_clap\n", ""))
    results = collect_together(runs, tmp_path / "joined")
    assert (len(results.rows), results.differences) == (1, ())
    assert "### Differences" not in write_report(results).read_text()


def again(folder: Path, seed: int, **sections: dict) -> Path:
    return seeded(make_run(folder, ("ce", "egemaps_svm"), accuracy=(0.2, 0.2), **SMALL), seed, **sections)


def test_what_is_told_otherwise_is_no_seed_of_the_same(runs: list[Path], tmp_path: Path) -> None:
    others = {
        "lr": {"train": {"lr": 0.2}},
        "weights": {"encoder_weights": "bbb"},
        "cache": {"cache": {"frames": "never"}},
        "newer": {"model": {"what_the_first_run_lacks": 3}},
        "again": {},
    }
    more = [again(tmp_path / name, 1, **sections) for name, sections in others.items()]
    found = collect_together([*runs, *more], tmp_path / "joined").seed_means
    which = f"Cross-entropy ({runs[0]})"  # since other rows are of the same method
    assert [(one.title, list(one.members)) for one in found] == [(which, [0, 1, 2]), ("Emo-CLAP", [0, 1, 2])]
    assert found[0].members[1].folder == runs[1] / "ce"


def test_an_unfinished_run_is_no_seed_and_makes_way_for_a_finished_one(runs: list[Path], tmp_path: Path) -> None:
    for method in ("ce", "emo_clap"):
        (runs[2] / method / "fold_2" / "predictions.csv").unlink()
    finished = again(tmp_path / "finished", 2)
    plain, contrast = collect_together([*runs, finished], tmp_path / "joined").seed_means
    assert [member.folder.parent for member in plain.members.values()] == [runs[0], runs[1], finished]
    assert list(contrast.members) == [0, 1]


def test_seeds_of_two_methods_may_be_others(runs: list[Path], tmp_path: Path) -> None:
    for run, seed in zip(runs, (7, 8, 9), strict=True):
        shutil.copytree(run, tmp_path / f"other_{seed}")
        shutil.rmtree(tmp_path / f"other_{seed}" / "ce")
        config = (run / "config.yaml").read_text()
        (tmp_path / f"other_{seed}" / "config.yaml").write_text(
            config.replace("- ce\n", "").replace("seed: ", "seed: 1")
        )
        (run / "config.yaml").write_text(config.replace("- emo_clap\n", ""))
    others = [tmp_path / f"other_{seed}" for seed in (7, 8, 9)]
    results = collect_together([*runs, *others], tmp_path / "joined")
    plain, contrast = results.seed_means
    assert (list(plain.members), list(contrast.members)) == ([0, 1, 2], [10, 11, 12])
    assert results.differences[0].uar.value == pytest.approx(contrast.uar.mean - plain.uar.mean)


def test_no_two_means_are_called_the_same(tmp_path: Path) -> None:
    runs = [
        again(tmp_path / f"{weights}_{seed}", seed, encoder_weights=weights) for weights in "abc" for seed in (0, 1)
    ]
    titles = [one.title for one in collect_together(runs, tmp_path / "joined").seed_means]
    rest = [f"Cross-entropy, other encoder weights ({tmp_path / f'{weights}_0'})" for weights in "bc"]
    assert titles == [f"Cross-entropy ({tmp_path / 'a_0'})", *rest]


def test_settings_have_means_of_their_own(runs: list[Path], tmp_path: Path) -> None:
    more = [seeded(make_run(tmp_path / f"lr_{seed}", ("ce",), **SMALL), seed, train={"lr": 0.2}) for seed in (2, 0, 1)]
    found = collect_together([*runs, *more], tmp_path / "joined").seed_means
    assert {one.title: list(one.members) for one in found}["Cross-entropy, train.lr: 0.2"] == [0, 1, 2]
    assert len(found) == 3


def read_rows(results: Results) -> list[dict[str, str]]:
    with (results.output / "results.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["aggregate"] == "mean_of_seeds"]


def test_every_form_of_the_report_has_them(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = collect_together(runs, tmp_path / "joined")
    page = write_report(results).read_text()
    plain, contrast = results.seed_means
    low, high = contrast.scores.uar_interval
    shown = f"{100 * contrast.uar.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    table, each = page.split("## Results")[1].split("###")[:2][0], page.split("### Each seed")[1].split("###")[0]
    assert "| Emo-CLAP | 0, 1, 2 |" in table and f"| {shown} |" in table and "over speakers and seeds" in table
    assert f"| {', '.join(f'{100 * one:.1f}' for one in contrast.uar.values)} |" in each
    (difference,) = results.differences
    assert f"| Emo-CLAP minus Cross-entropy | {points(difference.uar.value)} [" in page
    (first, row) = read_rows(results)
    assert (row["method"], row["seeds"], float(row["uar"])) == (
        "emo_clap", "0 1 2", pytest.approx(contrast.uar.mean, abs=1e-6),
    )  # fmt: skip
    assert (row["title"], row["n"], row["n_folds"]) == ("Emo-CLAP", str(results.methods[0].pooled.n), "2")
    assert float(first["uar_low"]) == pytest.approx(plain.scores.uar_interval[0], abs=1e-6)
    (_, saved) = json.loads((results.output / "results.json").read_text())["seed_means"]
    assert saved["methods"] == {str(seed): f"emo_clap_seed_{seed}" for seed in range(3)}
    assert saved["uar"]["over_speakers_and_seeds"] == list(contrast.scores.uar_interval)
    assert saved["uar"]["over_seeds"] == [contrast.uar.low, contrast.uar.high]
    print_table(results, output_console())
    printed = capsys.readouterr().out
    assert "mean of seeds 0, 1, 2" in printed and "over speakers and seeds" in printed
    assert f"{100 * plain.uar.mean:.1f}" in printed and points(difference.uar.value) in printed


def test_one_seed_is_no_mean_and_an_earlier_reports_pictures_go(runs: list[Path], tmp_path: Path) -> None:
    write_report(collect_together(runs, tmp_path / "joined"))
    for kind in ("png", "svg", "pdf"):  # of an earlier version, and of --formats pdf
        (tmp_path / "joined" / f"mean_over_seeds.{kind}").touch()
    results = collect_together(runs[:1], tmp_path / "joined")
    page = write_report(results).read_text()
    assert (
        results.seed_means == ()
        and "speakers and seeds" not in page
        and "Brackets are 95 % intervals over speakers." in page
    )
    assert not list((tmp_path / "joined").glob("mean_over_seeds.*")) and read_rows(results) == []


def test_a_row_of_one_seed_beside_others_says_what_its_interval_is_over(runs: list[Path], tmp_path: Path) -> None:
    for run in runs[1:]:
        shutil.rmtree(run / "ce")
        (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("- ce\n", ""))
    page = write_report(collect_together(runs, tmp_path / "joined")).read_text()
    assert "over speakers (and seeds, if a row has several)" in page


def test_of_two_seeds_there_is_no_interval_over_seeds(runs: list[Path], tmp_path: Path) -> None:
    one = collect_together(runs[:2], tmp_path / "joined").seed_means[0]
    assert math.isnan(one.uar.low) and one.uar.sd > 0
