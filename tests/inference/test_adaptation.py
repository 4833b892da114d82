"""Adaptation without labels: statistics against NumPy's, what few clips do, files of them, and the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import complaint, run

from gemoclap import Predictor
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics, adapt
from gemoclap.inference.adaptation import read_statistics, write_statistics
from gemoclap.inference.clips import Stretch
from gemoclap.inference.prediction import Featured
from gemoclap.inference.rows import RowFile


def features(n: int, shift: float = 0.0, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return (shift + spread * np.random.default_rng(seed).standard_normal((n, 6))).astype(np.float32)


def test_statistics_are_those_of_numpy() -> None:
    x = features(40, 3.0, 2.0)
    found = Statistics.of(x)
    assert found.count == 40
    np.testing.assert_allclose(found.mean, x.astype(float).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.square - found.mean**2, x.astype(float).var(0), rtol=1e-6)


def test_clips_without_speech_do_not_count() -> None:
    x, silence = features(20, 1.0), features(10, 40.0, seed=3)
    both, used = adapt(np.concatenate([x, silence]), ["a"] * 30, weights=np.array([1.0] * 20 + [0.0] * 10))
    np.testing.assert_allclose(both[:20], adapt(x, ["a"] * 20)[0], rtol=1e-6)
    assert used["a"].count == 20
    alone, used = adapt(silence, ["a"] * 10, weights=np.zeros(10))
    np.testing.assert_allclose(alone, silence, rtol=1e-6)


def run_until(count: int, *given: object) -> None:
    """Run `predict`, and end it when it has written so many rows."""
    add = RowFile.add

    def some(self: RowFile, row: dict) -> None:
        if len(self.failed) == count:
            raise KeyboardInterrupt
        add(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowFile, "add", some)
        assert run(*given) == 130


@pytest.mark.parametrize("count", [0, 2])
def test_an_ended_run_that_adapts_goes_on(
    count: int, frozen_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["predict", small_manifest, "--model", frozen_model, "--adapt", "folder"]
    saving = [*given, "--save_adapt", tmp_path / "s.json", "-o", tmp_path / "out.csv"]
    run_until(count, *saving)
    assert run(*saving) == 0  # the same command: what it saves beside the rows is not there yet, to be replaced or not
    whole = ["--save_adapt", tmp_path / "whole.json", "-o", tmp_path / "whole.csv"]
    assert run(*given, *whole) == 0
    for name in ("csv", "json"):
        of_both = [tmp_path / f"{stem}.{name}" for stem in ("whole", "out" if name == "csv" else "s")]
        assert of_both[0].read_text() == of_both[1].read_text()


def test_rows_by_other_statistics_of_the_same_name_are_not_mixed(
    frozen_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stats, given = tmp_path / "s.json", ["predict", small_manifest, "--model", frozen_model]
    assert run(*given, "--adapt", "folder", "--save_adapt", stats, "-o", tmp_path / "a.csv") == 0
    adapted = [*given, "--adapt", stats, "-o", tmp_path / "out.csv"]
    run_until(2, *adapted)
    saved, data = stats.read_text(), json.loads(stats.read_text())
    data["groups"]["all"]["count"] *= 2
    stats.write_text(json.dumps(data))
    assert "out.csv.partial: begun with another model or other options" in complaint(capsys, *adapted)
    stats.write_text(saved)
    assert run(*adapted) == 0


def test_statistics_of_speakers_serve_their_later_clips(
    frozen_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stats, given = tmp_path / "s.json", ["predict", small_manifest, "--model", frozen_model]
    options = ["--adapt", "speaker", "--save_adapt", stats, "-o", tmp_path / "a.csv"]
    assert run(*given, *options) == 0
    assert run(*given, "--adapt", stats, "-o", tmp_path / "b.csv") == 0
    for path, row in rows_of(tmp_path / "b.csv").items():
        assert float(row["angry"]) == pytest.approx(float(rows_of(tmp_path / "a.csv")[path]["angry"]), abs=1e-4)
    clip = read_manifest(small_manifest)[0].path
    assert "its speaker is not known" in complaint(capsys, "predict", clip, "--model", frozen_model, "--adapt", stats)


def test_without_shrinking_a_group_has_mean_0_and_deviation_1() -> None:
    x = features(50, 3.0, 2.0)
    plain = Statistics.of(x).apply(x, strength=0)
    np.testing.assert_allclose(plain, (x - x.mean(0)) / x.std(0), atol=1e-5)


@pytest.mark.parametrize("clips", [1, 2, 8, 100])
def test_few_clips_are_drawn_towards_training(clips: int) -> None:
    """As if `strength` clips of mean 0 and mean square 1 had been counted in."""
    x = features(clips, 2.0, 0.5)
    strength = 8.0
    weight = clips / (clips + strength)
    mean = weight * x.mean(0, dtype=float)
    square = weight * np.square(x, dtype=float).mean(0) + (1 - weight)
    np.testing.assert_allclose(
        Statistics.of(x).apply(x, strength), (x - mean) / np.sqrt(square - mean**2), rtol=1e-4, atol=1e-5
    )
    assert np.abs(Statistics.of(x).apply(x, 1e9) - x).max() < 1e-5


def test_a_clip_whose_features_are_no_numbers_costs_no_other() -> None:
    x, bad = features(20, 1.0), features(2, seed=4)
    bad[0, 3], bad[1, 0] = np.nan, np.inf
    both, used = adapt(np.concatenate([x, bad]), ["a"] * 22)
    np.testing.assert_allclose(both[:20], adapt(x, ["a"] * 20)[0], rtol=1e-6)
    assert used["a"].count == 20 and np.isnan(both[20, 3])


@pytest.mark.parametrize("weights", [[1.0] * 7, [0.0, 1.0, 0.25, 0.25, 0.0, 0.5, 1.0], [0.0] * 7])
def test_clips_one_by_one_are_a_weighted_mean(weights: list[float]) -> None:
    x = features(7, 2.0).astype(float)
    found = Statistics.of(x[:0])
    for row, weight in zip(x, weights, strict=True):
        found = found.with_clip(row, weight)
    assert found.count == sum(weights)
    if sum(weights):
        np.testing.assert_allclose(found.mean, np.average(x, axis=0, weights=weights), rtol=1e-9)
        np.testing.assert_allclose(found.square, np.average(x**2, axis=0, weights=weights), rtol=1e-9)
    at_once = Statistics.of(x, np.array(weights))
    assert at_once.count == pytest.approx(found.count)
    np.testing.assert_allclose(at_once.mean, found.mean, atol=1e-9)
    np.testing.assert_allclose(at_once.square, found.square, rtol=1e-9)
    np.testing.assert_allclose(Statistics.of(x[:0]).apply(x), x, rtol=1e-6)


def test_the_parts_of_a_clip_count_by_their_length() -> None:
    stretches = [
        Stretch(0, 3000, True),
        Stretch(3000, 1000, True),
        Stretch(9000, 5000, False),
        Stretch(20000, 2000, True),
    ]
    clip = Featured("call.wav", features(4), stretches, None)
    np.testing.assert_allclose(clip.weights_to_adapt, [1.5, 0.5, 0.0, 1.0])
    one = Featured("clip.wav", features(1), [Stretch(700, 12345, True)], None)
    np.testing.assert_allclose(one.weights_to_adapt, [1.0])
    silent = Featured("silence.wav", features(2), [Stretch(0, 10, False), Stretch(10, 20, False)], None)
    np.testing.assert_allclose(silent.weights_to_adapt, [0.0, 0.0])


def test_groups_are_adapted_to_apart() -> None:
    a, b = features(30, 5.0, seed=1), features(20, -4.0, seed=2)
    order = np.random.default_rng(0).permutation(50)
    groups = np.array(["a"] * 30 + ["b"] * 20)[order]
    mixed, used = adapt(np.concatenate([a, b])[order], list(groups))
    np.testing.assert_allclose(mixed[groups == "b"], adapt(b[order[groups == "b"] - 30], ["b"] * 20)[0], atol=1e-6)
    assert set(used) == {"a", "b"} and used["a"].count == 30
    again, _ = adapt(b, ["b"] * 20, used)
    np.testing.assert_allclose(again, used["b"].apply(b))
    with pytest.raises(GemoclapError, match="no statistics of 'c'"):
        adapt(b, ["c"] * 20, used)


def test_statistics_are_kept_in_a_file_of_their_model(tmp_path: Path) -> None:
    used = {"all": Statistics.of(features(9, 2.0))}
    write_statistics(tmp_path / "s.json", "m1", used)
    found = read_statistics(tmp_path / "s.json", "m1")["all"]
    assert found.count == 9
    np.testing.assert_allclose(found.mean, used["all"].mean, rtol=1e-5)
    with pytest.raises(GemoclapError, match="made with another model"):
        read_statistics(tmp_path / "s.json", "m2")


def of_a(count: str = "2", mean: str = "[0.0]", square: str = "[1.0]") -> str:
    return f'{{"model": "m", "groups": {{"a": {{"count": {count}, "mean": {mean}, "square": {square}}}}}}}'


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"groups": {}}', '{"groups": {"a": 3}}', of_a(mean="[1, 2]"), of_a(mean="[NaN]"), of_a(mean="[]"),
     of_a(mean="[]", square="[]"), of_a(mean='["x"]'), of_a(mean="[3.0]", square="[4.0]"), of_a(square="[-1.0]"),
     of_a(count="Infinity"), of_a(count="-1"), of_a(count="null")],
)  # fmt: skip
def test_a_damaged_file_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(GemoclapError, match=r"s\.json.*--save_adapt"):
        read_statistics(tmp_path / "s.json", "m")


@pytest.mark.parametrize("clips", [1, 2, 30])
def test_what_clips_really_have_can_be_read_again(clips: int, tmp_path: Path) -> None:
    """Rounding must not make statistics of one clip, whose variance is 0, look impossible."""
    x = 30 * features(clips, 100.0)
    write_statistics(tmp_path / "s.json", "m", {"a": Statistics.of(x)})
    found = read_statistics(tmp_path / "s.json", "m")["a"]
    np.testing.assert_allclose(found.square, np.square(x.astype(float)).mean(0), rtol=1e-5)


def test_statistics_of_another_size_are_refused() -> None:
    of_six = Statistics.of(features(3))
    with pytest.raises(GemoclapError, match="of 6 features, and the model has 1"):
        of_six.apply(features(3)[:, :1])
    with pytest.raises(GemoclapError, match="of 1 features, and the model has 6"):
        Statistics(1.0, np.zeros(1), np.ones(1)).apply(features(3))


# The command.


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_speakers_are_adapted_to_as_the_predictor_does(
    frozen_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = read_manifest(small_manifest)
    given = ["predict", small_manifest, "--model", frozen_model]
    assert run(*given, "-o", tmp_path / "plain.csv") == 0
    assert run(*given, "--adapt", "speaker", "-o", tmp_path / "speaker.csv") == 0
    found, _ = Predictor.from_pretrained(frozen_model).predict_adapted(rows, [row.speaker or "" for row in rows])
    adapted, plain = rows_of(tmp_path / "speaker.csv"), rows_of(tmp_path / "plain.csv")
    for row, prediction in zip(rows, found, strict=True):
        assert not isinstance(prediction, GemoclapError)
        assert float(adapted[row.path]["angry"]) == pytest.approx(prediction.probabilities["angry"], abs=2e-6)
    assert any(adapted[path]["angry"] != plain[path]["angry"] for path in plain)


def test_statistics_of_yesterday_serve_today(
    frozen_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = read_manifest(small_manifest)
    write_manifest(rows[:5], tmp_path / "today.jsonl")
    stats = tmp_path / "stats.json"
    given = ["--model", frozen_model, "--json"]
    capsys.readouterr()
    assert run("predict", small_manifest, *given, "--adapt", "folder", "--save_adapt", stats) == 0
    assert f"{stats}: saved; --adapt {stats} adapts other recordings with it" in capsys.readouterr().err
    yesterday = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run("predict", tmp_path / "today.jsonl", *given, "--adapt", stats) == 0
    today = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for before, now in zip(yesterday, today, strict=False):
        assert now["angry"] == pytest.approx(before["angry"], abs=1e-4)


def test_one_bad_clip_costs_one_clip(frozen_model: Path, small_manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(small_manifest)[:4]
    (tmp_path / "bad.wav").write_text("no sound")
    write_manifest([rows[0], replace(rows[1], path=str(tmp_path / "bad.wav")), *rows[2:]], tmp_path / "m.jsonl")
    given = ["predict", tmp_path / "m.jsonl", "--model", frozen_model, "--adapt", "folder"]
    assert run(*given, "-o", tmp_path / "out.csv") == 1
    errors = [bool(row["error"]) for row in rows_of(tmp_path / "out.csv").values()]
    assert errors == [False, True, False, False]


def test_a_model_is_not_loaded_for_faulty_statistics(
    frozen_model: Path,
    small_manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def loaded(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(Predictor, "from_pretrained", loaded)
    group = '{"model": "m", "groups": {"Ann": {"count": 2, "mean": [3.0], "square": [%s]}}}'
    for square, said in (("4.0", "group 'Ann': a mean square is smaller"), ("9.5", "has no statistics of")):
        (tmp_path / "s.json").write_text(group % square)
        given = ["predict", small_manifest, "--model", frozen_model, "--adapt", tmp_path / "s.json"]
        assert said in complaint(capsys, *given)


def test_what_cannot_be_adapted_to_is_one_line(
    frozen_model: Path, small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clip = read_manifest(small_manifest)[0].path
    cases = {
        "its speaker is not known": [clip, "--model", frozen_model, "--adapt", "speaker"],
        "no such file; give --adapt none, folder": [clip, "--model", frozen_model, "--adapt", "speakers"],
        "does not standardise its features": [clip, "--model", small_model, "--adapt", "folder"],
        "there is no adaptation to save": [clip, "--model", frozen_model, "--save_adapt", tmp_path / "s.json"],
        "--by folder: is for --adapt speaker, and not for --adapt none": [
            clip,
            "--model",
            frozen_model,
            "--by",
            "folder",
        ],
        "between 0 and 1": [clip, "--model", frozen_model, "--threshold", "2"],
    }
    for says, given in cases.items():
        assert says in complaint(capsys, "predict", *given)


def test_below_the_threshold_the_answer_is_unknown(small_model: Path, small_manifest: Path, tmp_path: Path) -> None:
    assert run("predict", small_manifest, "--model", small_model, "--threshold", "0.3", "-o", tmp_path / "o.csv") == 0
    for row in rows_of(tmp_path / "o.csv").values():
        assert (row["emotion"] == "unknown") == (float(row["confidence"]) < 0.3)
