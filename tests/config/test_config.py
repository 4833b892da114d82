"""Settings: the files under configs/ against the dataclasses, read by the command line's own parser."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemoclap.cli.commands import parser_of
from gemoclap.cli.typed import spelt_lists, spelt_words
from gemoclap.config import (
    AudioSettings,
    DataSettings,
    GmpSettings,
    ModelSettings,
    ObjectiveSettings,
    Settings,
    TrainSettings,
)
from gemoclap.config.ems import CompareSettings, IntensitySettings
from gemoclap.config.files import FOLDER as CONFIGS
from gemoclap.config.probe import ProbeSettings
from gemoclap.errors import GemoclapError

DIFFS = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.name not in ("base.yaml", "ems.yaml"))
ON_PAPER = ("data2vec_large.yaml", "hubert_base.yaml", "hubert_large.yaml", "wav2vec2_large.yaml")


def read(*arguments: str) -> Settings:
    parser = parser_of("crossval")
    args = parser.instantiate(parser.parse_args(["-o", "run", *arguments]))
    return Settings(args.data, args.model, args.objective, args.gmp, args.train)


def configs(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--config", str(CONFIGS / name))]


def names_of(settings: Any, prefix: str = "") -> list[str]:
    """Dotted names of all fields."""
    return [
        name
        for field in fields(settings)
        for name in (
            names_of(getattr(settings, field.name), f"{prefix}{field.name}.")
            if is_dataclass(getattr(settings, field.name))
            else [f"{prefix}{field.name}"]
        )
    ]


def leaves(data: dict, known: list[str], prefix: str = "") -> list[str]:
    return [
        name
        for key, value in data.items()
        for name in ([f"{prefix}{key}"] if f"{prefix}{key}" in known else leaves(value, known, f"{prefix}{key}."))
    ]


def test_base_holds_every_setting_with_its_default() -> None:
    known = names_of(Settings())
    written = yaml.safe_load((CONFIGS / "base.yaml").read_text(encoding="utf-8"))
    assert leaves(written, known) == known
    assert read(*configs("base.yaml")) == Settings() == read()


def test_base_explains_every_setting() -> None:
    lines = (CONFIGS / "base.yaml").read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if line.startswith("  ") and line.split("#")[0].strip() != "audio:"]
    assert len(settings) == len(names_of(Settings()))
    assert [line for line in settings if "#" not in line] == []


@pytest.mark.parametrize("name", DIFFS)
def test_other_files_are_small_diffs_that_change_something(name: str) -> None:
    below = configs("paper.yaml") if name in ON_PAPER else []
    assert read(*below, *configs(name)) != read(*below)
    lines = (CONFIGS / name).read_text(encoding="utf-8").splitlines()
    assert sum(1 for line in lines if line.strip() and not line.startswith("#")) < 10


@pytest.mark.parametrize("name", ["whisper.yaml", "whisper_finetuned.yaml"])
def test_whisper_is_trained_alike_on_top_of_the_paper_s_settings(name: str) -> None:
    """table1 starts from those; only augmentation differs, which OpenAI's checkpoints have none of."""
    alone, on_paper = read(*configs(name)), read(*configs("paper.yaml"), *configs(name))
    on_paper.model.augment = alone.model.augment
    assert (alone.model, alone.train) == (on_paper.model, on_paper.train)
    assert alone.data.audio == on_paper.data.audio


def test_the_ablations_of_gmp_tl_change_one_thing_each() -> None:
    found = {path.stem: read("--config", str(path)) for path in sorted((CONFIGS / "gmp_tl").glob("*.yaml"))}
    plain = read()
    for name, settings in found.items():
        assert replace(settings, gmp=plain.gmp) == plain
        different = {
            one.name for one in fields(GmpSettings) if getattr(settings.gmp, one.name) != getattr(plain.gmp, one.name)
        }
        assert len(different) == 1 or (name, different) == ("features_only", {"frame_epochs", "start"})
        lines = (CONFIGS / "gmp_tl" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ") and len(lines) < 10
    assert len(found) == 8


def test_the_comparison_of_ways_to_pretrain_has_a_file_of_its_own() -> None:
    parser = parser_of("compare ems")
    args = parser.instantiate(parser.parse_args(["-o", "run", *configs("ems.yaml")]))
    assert (args.train.epochs, args.train.batch_size, args.lr) == (1, 8, {"mockingjay": 2e-3, "npc": 3e-3})
    defaults = parser.instantiate(parser.parse_args(["-o", "run"]))
    assert (
        CompareSettings(**{one.name: getattr(defaults, one.name) for one in fields(CompareSettings)})
        == CompareSettings()
    )


def test_paper_has_the_papers_settings() -> None:
    settings = read(*configs("paper.yaml"))
    assert (settings.train.epochs, settings.train.batch_size, settings.train.lr) == (50, 8, 1e-5)
    assert (settings.train.warmup_epochs, settings.train.weight_decay) == (5, 0)
    assert settings.train.batching == "shuffled"
    assert (settings.model.audio_encoder, settings.model.text_encoder) == ("microsoft/wavlm-large", "roberta-base")
    assert not settings.model.freeze_text and settings.model.freeze == "none"
    assert (settings.model.pooling, settings.model.text_pooling) == ("mean", "first")
    assert (settings.data.vocabulary, settings.data.folds, settings.data.dev_speakers) == ("iemocap4", "session", 0)
    assert settings.data.audio == AudioSettings(max_seconds=14.0, trim_silence_db=None)


def test_files_and_options_count_in_their_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("train: {lr: 1e-3, epochs: 7, seed: 1}\nmodel: {audio_options: {hidden_size: 8}}\n")
    second.write_text("train: {lr: 1e-4, seed: 2}\n")
    both = ["--config", str(first), "--config", str(second)]
    settings = read(*both, "--train.lr", "2e-5")
    assert (settings.train.lr, settings.train.epochs, settings.train.seed) == (2e-5, 7, 2)
    assert settings.model.audio_options == {"hidden_size": 8}
    assert read("--train.lr", "2e-5", *both).train.lr == 1e-4
    assert read(*both[2:], *both[:2]).train.seed == 1


@pytest.mark.parametrize("given", ["angry,calm", "angry, calm", '["angry","calm"]', "[angry, calm]"])
def test_lists_may_be_given_with_commas(given: str) -> None:
    parser = parser_of("crossval")
    for arguments in (["--data.emotions", given], [f"--data.emotions={given}"]):
        assert parser.parse_args(spelt_lists(["-o", "run", *arguments], parser.lists())).data.emotions == [
            "angry",
            "calm",
        ]


NUMBERS = {
    "data.merges": ("{0: angry, 01: happy, 2.0: sad, no: neutral, joy: 5}", {
        "0": "angry", "01": "happy", "2.0": "sad", "no": "neutral", "joy": "5"}),
    "data.emotions": ("[0, 01, yes, 2024-01-01]", ["0", "01", "yes", "2024-01-01"]),
    "data.test_speakers": ("[[007, 010], [7]]", [["007", "010"], ["7"]]),
    "model.audio_options": ("{hidden_size: 8}", {"hidden_size": 8}),
}  # fmt: skip


@pytest.mark.parametrize("setting", NUMBERS)
def test_labels_and_speakers_may_be_numbers(setting: str, tmp_path: Path) -> None:
    """In YAML 0 is a number, 010 is eight and no is false. As labels and names of speakers they are words."""
    given, wanted = NUMBERS[setting]
    section, name = setting.split(".")
    parser = parser_of("crossval")
    for typed in ([f"--{setting}", given], [f"--{setting}={given}"]):
        options = spelt_words(spelt_lists(["-o", "run", *typed], parser.lists()), parser.of_words())
        assert parser.parse_args(options)[setting] == wanted
    in_yaml = [
        f"{{{name}: {given}}}",
        f"{{<<: {{{name}: {given}}}}}",
        f"{{{name}: '{given}'}}",
    ]  # also merged, in quotes
    for written in in_yaml:
        (tmp_path / "own.yaml").write_text(f"{section}: {written}\ntrain: {{epochs: 7}}\n")
        read = parser.parse_args(["--config", str(tmp_path / "own.yaml"), "-o", "run"])
        assert (read[setting], read.train.epochs) == (wanted, 7)
    (tmp_path / "own.yaml").write_text("data: {merges: {}, emotions: null}\n")
    read = parser.parse_args(["--config", str(tmp_path / "own.yaml"), "-o", "run"])
    assert (read.data.merges, read.data.emotions) == ({}, None)


@pytest.mark.parametrize("given", ["{angry: null}", "{angry: [sad]}", "{angry", "[angry]", "{joy: happy, joy: sad}"])
def test_a_mapping_of_words_that_is_none_is_refused(given: str, tmp_path: Path) -> None:
    """Of a key that was there twice, the second value was taken without a word."""
    parser = parser_of("crossval")
    for typed in (["--data.merges", given], [f"--data.merges={given}"]):
        with pytest.raises(GemoclapError, match="data.merges"):
            parser.parse_args(spelt_words(["-o", "run", *typed], parser.of_words()))
    (tmp_path / "own.yaml").write_text(f"data: {{merges: '{given}'}}\n")
    with pytest.raises(GemoclapError, match="own.yaml.*data.merges"):
        parser.parse_args(["--config", str(tmp_path / "own.yaml"), "-o", "run"])


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: TrainSettings(epochs=0), "train.epochs"),
        (lambda: TrainSettings(lr=float("nan")), "train.lr"),
        (lambda: TrainSettings(lr=None), "train.lr"),  # type: ignore[arg-type]
        (lambda: TrainSettings(clip_norm=0.0), "train.clip_norm"),
        (lambda: TrainSettings(seed=-1), "train.seed"),
        (lambda: TrainSettings(batching="shuffled", batch_seconds=60.0), "train.batching shuffled"),
        (lambda: ObjectiveSettings(alpha=1.5), "objective.alpha"),
        (lambda: ModelSettings(projection_dropout=-0.1), "model.projection_dropout"),
        (lambda: DataSettings(dev_speakers=-1), "data.dev_speakers"),
        (
            lambda: ProbeSettings(data=DataSettings(perturbed_copies=1)),
            "data.perturbed_copies has no effect in 'probe'",
        ),
        (
            lambda: TrainSettings(batch_size=1),
            "train.batch_size is 1: with every method a batch has two utterances or more",
        ),
        (lambda: TrainSettings(batch_size=-3), "train.batch_size is -3"),
        (lambda: IntensitySettings(data=DataSettings(perturbed_copies=1)), "no effect in 'pretrain intensity'"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(make: Any, names: str) -> None:
    with pytest.raises(GemoclapError, match=names):
        make()


@pytest.mark.parametrize(
    ("given", "layers"),
    [("3", 3), ("2,3", [2, 3]), ("[2,3]", [2, 3]), ("[3]", 3), ("last", "last"), ("weighted", "weighted")],
)
def test_layers_are_one_or_several(given: str, layers: Any) -> None:
    parser = parser_of("crossval")
    for typed in (["--model.layers", given], [f"--model.layers={given}"]):
        options = spelt_lists(["-o", "run", *typed], parser.lists(), parser.lists_or_single())
        assert parser.instantiate(parser.parse_args(options)).model.layers == layers


@pytest.mark.parametrize("given", ["all", "true", "[true]", "1.5", "2,x", "[1.5]"])
def test_layers_that_are_none(given: str) -> None:
    parser = parser_of("crossval")
    options = spelt_lists(["-o", "run", "--model.layers", given], parser.lists(), parser.lists_or_single())
    with pytest.raises(
        GemoclapError, match="model.layers must be one of last, weighted or a whole number or a list of whole numbers"
    ):
        parser.parse_args(options)
