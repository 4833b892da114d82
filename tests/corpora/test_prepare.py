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


JUDGED = {"partition": "test1", "valence": 3.5, "arousal": 1.0, "dominance": 2.25, "votes": {"angry": 1.5, "sad": 2.0}}


@pytest.mark.parametrize(("name", "file"), [("csv", "t.csv"), ("emobox", "out"), ("audformat", "out")])
def test_judgements_are_exported_where_there_are_some_and_read_back(tmp_path, write_clip, name, file):
    clips = [str(write_clip(tmp_path / f"{word}.wav", seed)) for seed, word in enumerate(("a", "b"))]
    plain = [
        Utterance(word, clip, corpus="mine", speaker="1", emotion="sad") for word, clip in zip("ab", clips, strict=True)
    ]
    judged = [dataclasses.replace(plain[0], **JUDGED), plain[1]]
    for rows, folder in ((judged, "judged"), (plain, "plain")):
        (tmp_path / folder).mkdir()
        export(name, rows, tmp_path / folder / file)
        assert prepare(name, tmp_path / folder / file, tmp_path / folder / file if name != "csv" else None) == rows
    written = [path for path in (tmp_path / "plain").rglob("*") if path.is_file()]
    assert written and not any("valence" in path.read_text() for path in written)


@pytest.mark.parametrize("cell", ["angry", "[1]", '{"angry": -1}', "{"])
def test_votes_in_a_table_that_are_none_are_named(tmp_path, cell):
    quoted = cell.replace('"', '""')
    (tmp_path / "t.csv").write_text(f'path,votes\na.wav,"{quoted}"\n')
    with pytest.raises(GemoclapError, match=r"t\.csv:2: votes must be"):
        prepare("csv", tmp_path / "t.csv")


def test_default_folds_are_settings_of_the_data_section():
    fields = {field.name for field in dataclasses.fields(DataSettings)}
    for corpus in CORPORA.values():
        assert set(corpus.folds) <= fields
        DataSettings(**corpus.folds)
