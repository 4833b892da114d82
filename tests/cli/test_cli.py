"""The command line: help, options, settings files, and what is said of a wrong one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from small import complaint, run
from sound import write_tone

from gemoclap.cli.arguments import files_first, nearest
from gemoclap.cli.commands import COMMANDS, SHELVES, parse, parser_of
from gemoclap.cli.typed import spelt_lists
from gemoclap.config import AudioSettings, DataSettings, ModelSettings, ObjectiveSettings, TrainSettings
from gemoclap.errors import GemoclapError

# Help, commands, options.


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: gemoclap " + command) and "--debug" in shown
    assert COMMANDS[command].summary.split()[-1] in shown


def test_help_explains_every_setting(capsys: pytest.CaptureFixture) -> None:
    assert run("crossval", "--help-all") == 0
    words = " ".join(capsys.readouterr().out.split())
    sections = {
        "data": DataSettings, "data.audio": AudioSettings, "model": ModelSettings, "objective": ObjectiveSettings,
        "train": TrainSettings,
    }  # fmt: skip
    for section, settings in sections.items():
        for field in fields(settings):
            if (section, field.name) != ("data", "audio"):
                after = words.split(f" --{section}.{field.name} ")[-1]
                text = re.split(r" --| \(default", after)[0]
                assert len(text.split()) > 4, f"--{section}.{field.name} is not explained"


def test_overview_names_every_command(capsys: pytest.CaptureFixture) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    named = [name for commands in SHELVES.values() for name in commands]
    assert all(f"  {name} " in shown for name in named)
    assert {name for name in COMMANDS if name not in named} == {
        name for name in COMMANDS if name.split()[0] in named and name not in named
    }
    first = shown.split("commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in first] == [
        *("prepare", "inspect", "crossval", "train", "evaluate", "predict", "timeline", "serve", "export"),
    ]
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("gemoclap ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no command; give one of prepare, inspect"),
        (("crossvl",), "did you mean 'crossval'"),
        (("--debgu",), "--debgu"),
        (("crossval",), "give -o/--output"),
        (("predict",), "give PATHS;"),
        (("crossval", "-o", "r", "--train.lrr", "1"), "--train.lrr (did you mean '--train.lr'?)"),
        (("crossval", "-o", "r", "--lr", "1"), "did you mean '--train.lr'"),
        (("crossval", "-o", "r", "--train.lr", "abc"), "train.lr must be a number, not 'abc'"),
        (("crossval", "-o", "r", "--train.epochs", "2.5"), "train.epochs must be a whole number, not '2.5'"),
        (("crossval", "-o", "r", "--train.epochs", "0"), "train.epochs must be 1 or more, not 0"),
        (("crossval", "-o", "r", "--train.clip_norm", "x"), "train.clip_norm must be a number or null, not 'x'"),
        (("crossval", "-o", "r", "--train.select", "lst"), "one of last, dev, not 'lst' (did you mean 'last'?)"),
        (("crossval", "-o", "r", "--train.trackers", "tensorbord"), "tensorboard, wandb, mlflow, not 'tensorbord'"),
        (("crossval", "-o", "r", "--data.test_speakers", "[a]"), "data.test_speakers must be a list of lists or null"),
        (("crossval", "-o", "r", "--keep_models", "maybe"), "keep_models must be true or false, not 'maybe'"),
        (("crossval", "-o", "r", "--methods", "emo_clap,sl_gemoclap"), "did you mean 'sl_gemo_clap'"),
        (("crossval", "-o", "r", "--methods", ""), "no method to cross-validate"),
        (("train", "-o", "r", "--method", "egemaps_svm"), "method must be one of emo_clap, sl_gemo_clap, ml_gemo_clap"),
        (("crossval", "-o", "r"), "no manifest; make one with 'gemoclap prepare"),
        (("crossval", "-o", "r", "--data.manifest", "none.jsonl"), "none.jsonl: no such manifest"),
        (("crossval", "-o", "r", "--config", "none.yaml"), "none.yaml: no such file"),
        (("predict", "a.wav", "--model", "model", "--batch_size", "0"), "batch_size must be a whole number above 0, not '0'"),
        (("predict", "a.wav", "--model", "model", "--batch_size", "x"), "batch_size must be a whole number above 0, not 'x'"),
        (("predict", "a.wav", "--model", "./model"), "./model: no such folder"),
        (("evaluate", "none.jsonl", "--model", "./model"), "none.jsonl: no such manifest"),
        (("report", "nowhere"), "no such file; name the output folder of a 'gemoclap crossval' run"),
        (("report", "nowhere", "elsewhere"), "several runs needs a folder of its own; name it with -o"),
        (("inspect", "none.jsonl"), "none.jsonl: no such manifest"),
        (("convert", "none.jsonl", "csv", "-o", "c.csv"), "none.jsonl: no such manifest"),
        (("prepare", "ravdes", "."), "no corpus or importer is called 'ravdes' (did you mean 'ravdess'?)"),
        (("prepare", "ravdess", "nowhere"), "nowhere: no such folder"),
        (("prepare", "ravdess", "."), "no Actor_NN/03-01-*.wav"),
    ],
)  # fmt: skip
def test_complaints_are_one_line(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in complaint(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {lrr: 1}", "no setting is called 'train.lrr' (did you mean 'train.lr'?)"),
        ("data:\n  audio:\n    max_second: 3\n", "'data.audio.max_second' (did you mean 'data.audio.max_seconds'?)"),
        ("modell: {pooling: mean}", "no setting is called 'modell.pooling' (did you mean 'model.pooling'?)"),
        ("epochs: 3", "no setting is called 'epochs' (did you mean 'train.epochs'?)"),
        ("train: {lr: abc}", "train.lr must be a number, not 'abc'"),
        ("train: {lr: null}", "train.lr cannot be null"),
        ("train: {epochs: 2024-01-01}", "train.epochs must be a whole number, not '2024-01-01'"),
        ("train: {select: lst}", "(did you mean 'last'?)"),
        ("train: 3", "train must be a mapping of settings, not 3"),
        ("- a\n- b\n", "has no settings"),
        ("train: {lr: 1\nmodel: {", "not YAML"),
        ("train:\n\tlr: 1\n", ":2: not YAML"),
    ],
)
def test_faulty_settings_files_are_named(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    line = complaint(capsys, "crossval", "--config", tmp_path / "bad.yaml", "-o", tmp_path / "run")
    assert says in line
    assert "bad.yaml" in line or "null" in text
    assert not (tmp_path / "run").exists()


def test_a_settings_file_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_tone(tmp_path / "bad.yaml.wav").rename(tmp_path / "bad.yaml")
    assert "bad.yaml: not YAML" in complaint(capsys, "train", "--config", tmp_path / "bad.yaml", "-o", tmp_path / "run")


def test_an_empty_settings_file_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert "no manifest" in complaint(capsys, "train", "--config", tmp_path / "empty.yaml", "-o", tmp_path / "run")


@pytest.mark.parametrize("place", [0, 2, 4])
def test_options_win_over_files_wherever_these_stand(place: int, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "train: {lr: 0.25, epochs: 7}\ngmp: {scales: [8, 16]}\ndata: {manifest: a.jsonl}\n"
    )
    (tmp_path / "two.yaml").write_text("train: {epochs: 9}\n")
    given = ["-o", "run", "--train.lr", "0.5"]
    given[place:place] = ["--config", str(tmp_path / "one.yaml")]
    args = parse("train", [*given, f"--config={tmp_path / 'two.yaml'}", "b.jsonl"])
    assert (args.train.lr, args.train.epochs, args.gmp.scales) == (0.5, 9, [8, 16])
    assert args.data.manifest == "b.jsonl"


def test_files_come_first_in_their_own_order() -> None:
    given = ["m.jsonl", "--config", "a", "-o", "r", "--config=b", "--train.lr", "1"]
    assert files_first(given) == ["--config", "a", "--config=b", "m.jsonl", "-o", "r", "--train.lr", "1"]
    assert files_first(["--config"]) == ["--config"]


@pytest.mark.parametrize("command", ["train", "crossval", "table1", "probe", "pretrain intensity", "gmp cluster"])
def test_a_manifest_may_be_given_by_itself(command: str) -> None:
    assert parse(command, ["m.jsonl", "-o", "run"]).data.manifest == "m.jsonl"
    assert parse(command, ["-o", "run", "--data.manifest", "m.jsonl", "m.jsonl"]).data.manifest == "m.jsonl"
    with pytest.raises(GemoclapError, match="two manifests, m.jsonl and --data.manifest n.jsonl"):
        parse(command, ["-o", "run", "--data.manifest=n.jsonl", "m.jsonl"])


@pytest.mark.parametrize(
    ("command", "option", "nearest"),
    [
        ("train", "--train.epoch", "--train.epochs"),
        ("crossval", "--model.layer", "--model.layers"),
        ("gmp cluster", "--gmp.scale", "--gmp.scales"),
        ("probe", "--head.hidden", "--head.hidden_dim"),
        ("compare ems", "--finetune.train.seed_", "--finetune.train.seed"),
        ("report", "--out", "--output"),
        ("inspect", "--vocab", "--vocabulary"),
    ],
)
def test_no_option_can_be_cut_short(command: str, option: str, nearest: str, capsys: pytest.CaptureFixture) -> None:
    line = complaint(capsys, *command.split(), option, "1")
    assert f"unrecognized arguments: {option}" in line or "give " in line
    if "give " not in line:
        assert f"did you mean '{nearest}'" in line


@pytest.mark.parametrize(
    ("line", "option"),
    [
        (["crosscorpus", "a.jsonl", "b.jsonl", "--within", "-o", "x"], "--within"),
        (["crossval", "a.jsonl", "--seeds"], "--seeds"),
        (["crossval", "a.jsonl", "-o"], "-o/--output"),
    ],
)
def test_an_option_without_its_value_is_named_as_it_is_typed(
    line: list[str], option: str, capsys: pytest.CaptureFixture
) -> None:
    assert complaint(capsys, *line) == f"gemoclap: {option}: give a value after it; see 'gemoclap {line[0]} --help'\n"


def test_method_and_methods_are_one_option() -> None:
    assert (
        parse("train", ["-o", "r", "--methods", "ce"]).method
        == "ce"
        == parse("train", ["-o", "r", "--method=ce"]).method
    )
    for option in ("--method", "--methods"):
        assert parse("crossval", ["-o", "r", option, "ce,emo_clap"]).methods == ["ce", "emo_clap"]
        assert parse("table1", ["-o", "r", f"{option}=ce"]).methods == ["ce"]


@pytest.mark.parametrize("command", ["train", "crossval", "compare ems", "gmp pretrain"])
def test_help_shows_what_people_set_daily_and_all_on_demand(command: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*command.split(), "--help") == 0
    short = capsys.readouterr().out
    assert run(*command.split(), "--help-all") == 0
    full = capsys.readouterr().out
    shown, known = (set(re.findall(r"^  (--[a-z]+\.[\w.]+)", text, re.MULTILINE)) for text in (short, full))
    hidden = int(re.search(rf"'gemoclap {command} --help-all' shows (\d+) more settings", short)[1])  # type: ignore[index]
    assert shown < known and len(known - shown) == hidden and len(shown) < 25
    assert "--train.epochs" in shown and "--train.clip_norm" in known - shown


def test_help_leaves_out_what_the_command_refuses(capsys: pytest.CaptureFixture) -> None:
    assert run("compare", "ems", "--help-all") == 0
    shown = capsys.readouterr().out
    refused = r"(probe\.|finetune\.)?train\.(seeds?|select)|train\.(lr|encoder_lr|chunk_size)"
    assert not re.search(rf"^  --({refused})\b", shown, re.MULTILINE)
    assert "--seeds" in shown and "--finetune.seeds" in shown


@pytest.mark.parametrize("command", ["train", "crosscorpus", "gmp finetune", "pretrain intensity"])
def test_help_leaves_out_what_has_no_effect(command: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*command.split(), "--help-all") == 0
    shown = capsys.readouterr().out
    assert not re.search(r"^  --data\.(folds|n_folds|test_speakers|fold_files)\b", shown, re.MULTILINE)
    assert "--data.dev_speakers" in shown


def test_help_shows_defaults_as_they_are_typed(capsys: pytest.CaptureFixture) -> None:
    assert run("crossval", "--help-all") == 0
    words = " ".join(capsys.readouterr().out.split())
    for default in ("emo_clap,sl_gemo_clap,ml_gemo_clap", "true", "null", "64,512,4096", "empty", "The emotion is {}"):
        assert f"default: {default})" in words
    assert "default: [" not in words and "default: True" not in words
    assert run("timeline", "--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert (
        "default: print a table, in which neighbouring segments of the same emotion are one row --by" in words
    )  # a default that the text names is not added


def test_lists_with_commas() -> None:
    lists = parser_of("crossval").lists() | parser_of("predict").lists()
    assert {
        "--methods",
        "--method",
        "--seeds",
        "--data.emotions",
        "--gmp.scales",
        "--train.trackers",
        "--labels",
    } <= lists
    assert not lists & {"--data.test_speakers", "--model.layers", "--output", "--train.lr"}
    given = ["--methods", "a,b", "--labels=very happy, calm", "--train.lr", "1,5", "--data.emotions", "null"]
    assert spelt_lists(given, lists) == [
        "--methods", '["a", "b"]', '--labels=["very happy", "calm"]', "--train.lr", "1,5", "--data.emotions", "null",
    ]  # fmt: skip
    assert parser_of("crossval").lists_or_single() == {"--model.layers", "--model.layers+"}
    assert spelt_lists(["--l", "3", "--l", "2,3", "--l=1,2", "--l=last", "--l", "[1]"], lists, {"--l"}) == [
        "--l", "3", "--l", '["2", "3"]', '--l=["1", "2"]', "--l=last", "--l", "[1]",
    ]  # fmt: skip
    assert spelt_lists(["--labels", '["no","yes"]', "clip.wav"], lists) == ["--labels", '["no","yes"]', "clip.wav"]


def test_nearest_prefers_the_same_word_in_a_section() -> None:
    known = ["train.lr", "train.epochs", "data.folds"]
    assert "'train.epochs'" in nearest("epochs", known)
    assert "'--data.folds'" in nearest("data.fold", known, "--")
    assert nearest("zzzzzz", known) == ""


@pytest.mark.parametrize(("group", "commands"), [("gmp", 4), ("pretrain", 2)])
def test_the_first_word_of_a_command_lists_what_may_follow(
    capsys: pytest.CaptureFixture, group: str, commands: int
) -> None:
    for given in ([group], [group, "--help"]):
        assert run(*given) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: gemoclap {group} ") and shown.count(f"\n  {group} ") == commands
    assert f"give one of {group} " in complaint(capsys, group, "nonsense")
