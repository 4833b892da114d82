from __future__ import annotations

import csv
import json

import pytest

from gemoclap.corpora import prepare
from gemoclap.errors import GemoclapError
from gemoclap.labels import canonical_emotion, get_vocabulary


def meta_data(*rows: dict) -> str:
    return json.dumps({"labels": {"neu": 0, "hap": 1, "ang": 2, "sad": 3}, "meta_data": list(rows)})


def test_the_speaker_is_taken_from_the_id(tmp_path, write_clip):
    name = "Ses01F_impro01_M003"
    row = {"path": f"Session1/sentences/wav/Ses01F_impro01/{name}.wav", "label": "hap", "speaker": "Ses01F"}
    (tmp_path / "test_meta_data.json").write_text(meta_data(row))
    clip = write_clip(tmp_path / "IEMOCAP/Session1/sentences/wav/Ses01F_impro01" / f"{name}.wav")
    (read,) = prepare("s3prl", tmp_path, tmp_path / "IEMOCAP")
    assert (read.id, read.speaker, read.gender, read.session) == (name, "Ses01M", "male", "1")
    assert (read.emotion, read.path) == ("happy", str(clip))


def test_all_sessions_are_their_test_rows(tmp_path):
    for session in "12":
        row = {"path": f"Session{session}/Ses0{session}F_impro01_F000.wav", "label": "neu", "speaker": "?"}
        folder = tmp_path / f"Session{session}"
        folder.mkdir()
        (folder / "test_meta_data.json").write_text(meta_data(row))
        (folder / "train_meta_data.json").write_text(meta_data())
    assert [row.speaker for row in prepare("s3prl", tmp_path)] == ["Ses01F", "Ses02F"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not S3PRL's metadata"),
        ("path,label", "not S3PRL's metadata"),
        (meta_data({"path": "a.wav"}), "test_meta_data.json: row 1: field 'path' or 'label' is missing"),
        (meta_data({"path": "a.wav", "label": "neu"}), "row 1: a.wav is not an IEMOCAP utterance"),
    ],
)
def test_bad_metadata_is_refused(tmp_path, text, message):
    (tmp_path / "test_meta_data.json").write_text(text)
    with pytest.raises(GemoclapError, match=message):
        prepare("s3prl", tmp_path / "test_meta_data.json")


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(GemoclapError, match=r"no train_meta_data\.json or test_meta_data\.json here"):
        prepare("s3prl", tmp_path)


def test_the_published_session_agrees_with_the_list_of_utterances(shared):
    with (shared / "iemocap/utterances.tsv").open() as file:
        listed = {
            row["utterance_id"]: canonical_emotion(row["emotion"]) for row in csv.DictReader(file, delimiter="\t")
        }
    merge = get_vocabulary("iemocap4").resolve
    rows = prepare("s3prl", shared / "interop/s3prl/Session1")
    assert {row.id: row.emotion for row in rows} == {name: merge(emotion) for name, emotion in listed.items()}
    assert all((row.speaker or "")[-1] == row.id.rsplit("_", 1)[1][0] for row in rows)
