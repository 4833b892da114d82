from __future__ import annotations

import dataclasses

import pytest

from gemoclap.config import DataSettings
from gemoclap.corpora import CORPORA, EXPORTERS, export, prepare
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError


@pytest.mark.parametrize(("typed", "meant"), [("ravdes", "ravdess"), ("emo-db", "emodb"), ("audioformat", "audformat")])
def test_an_unknown_name_gets_a_suggestion(tmp_path, typed, meant):
    with pytest.raises(GemoclapError, match=f"{typed!r} .did you mean '{meant}'"):
        prepare(typed, tmp_path)


def test_an_unknown_exporter_gets_a_suggestion(tmp_path):
    with pytest.raises(GemoclapError, match="no exporter is called 's3prl'; known: emobox, audformat, csv"):
        export("s3prl", [Utterance("a", "a.wav")], tmp_path)


def test_audio_root_is_for_importers_alone(tmp_path):
    with pytest.raises(GemoclapError, match="--audio_root is for emobox"):
        prepare("emodb", tmp_path, audio_root=tmp_path)


@pytest.mark.parametrize("name", sorted(set(EXPORTERS) - {"emobox"}))
def test_folds_go_to_emobox_alone(tmp_path, name):
    with pytest.raises(GemoclapError, match="no place for folds"):
        export(name, [Utterance("a", "a.wav")], tmp_path / "out", folds={"1": (["a"], ["a"])})
    assert not (tmp_path / "out").exists()


def test_default_folds_are_settings_of_the_data_section():
    fields = {field.name for field in dataclasses.fields(DataSettings)}
    for corpus in CORPORA.values():
        assert set(corpus.folds) <= fields
        DataSettings(**corpus.folds)
