"""What `gemoclap table1` starts from, against configs/paper.yaml and the corpus's own choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gemoclap.cli.commands import parser_of
from gemoclap.config import METHODS
from gemoclap.config.files import FOLDER as CONFIGS
from gemoclap.config.paper import PAPER_ENCODERS
from gemoclap.corpora import CORPORA
from gemoclap.reports.paper import published
from gemoclap.reports.published import GEMO_CLAP, READINGS, TABLE_1


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_the_defaults_of_table1_are_the_papers() -> None:
    parser = parser_of("table1")
    args = parser.instantiate(parser.parse_args(["iemocap.jsonl", "-o", "run"]))
    iemocap = CORPORA["iemocap"]
    by_corpus = {"data.vocabulary": iemocap.vocabulary, "data.folds": iemocap.folds["folds"]}
    for name, value in flat(yaml.safe_load((CONFIGS / "paper.yaml").read_text())):
        if name == "model.audio_encoder":
            assert value in args.encoders
            continue
        found: Any = args
        for part in name.split("."):
            found = getattr(found, part)
        assert by_corpus.get(name, found) == value, name
    assert args.data.vocabulary is None and args.data.folds == "auto"
    assert tuple(args.methods) == METHODS


def test_the_encoders_are_those_of_the_settings_files() -> None:
    files = ("paper", "hubert_large", "wav2vec2_large", "data2vec_large")
    named = {yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["audio_encoder"] for name in files}
    assert named == set(PAPER_ENCODERS)


def test_a_settings_file_and_options_count_over_the_defaults() -> None:
    parser = parser_of("table1")
    given = ["m.jsonl", "-o", "run", "--config", str(CONFIGS / "frozen.yaml"), "--train.lr", "0.01"]
    args = parser.instantiate(parser.parse_args(given))
    assert (args.model.freeze, args.train.batch_size, args.train.lr, args.train.warmup_epochs) == ("all", 32, 0.01, 5.0)


def test_every_cell_of_the_papers_table_is_found_by_hub_id_name_and_folder() -> None:
    found = [published("any", encoder, method) for encoder in PAPER_ENCODERS for method in METHODS]
    assert [one.encoder for one in found if one] == [title for title in TABLE_1 for _ in METHODS]
    assert published("wavlm-large", "/copies/here", "emo_clap") == published("x", "/copies/wavlm-large", "emo_clap")
    assert published("wavlm-base", "microsoft/wavlm-base", "emo_clap") is None
    assert published("wavlm-large", "microsoft/wavlm-large", "ce") is None


@pytest.mark.parametrize("title", TABLE_1)
def test_the_two_readings_are_each_other_turned_round(title: str) -> None:
    systems = [one for one in GEMO_CLAP.groups[0].systems if one.encoder == title]
    for system, figures in zip(systems, TABLE_1[title].values(), strict=True):
        one, other = (system.read_as(reading) for reading in READINGS)
        assert one == other[::-1] == figures and all(70 < figure < 81 for figure in figures)
