from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from gemoclap.corpora import emobox, export, prepare
from gemoclap.corpora.emobox import read_emobox, write_emobox
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.fold_files import read_fold_files
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary
from gemoclap.writing import atomic_write


def write_manifest(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def cremad_row(stem: str = "1002_IEO_SAD_LO", emotion: str = "SAD") -> dict:
    return {
        "key": f"cremad-{stem.replace('_', '-')}",  # as EmoBox has it
        "dataset": "cremad",
        "wav": f"downloads/cremad/AudioWAV/{stem}.wav",
        "emo": emotion,
    }


def test_speaker_gender_and_text_are_filled_from_the_name(tmp_path):
    (row,) = read_emobox(write_manifest(tmp_path / "cremad.jsonl", [cremad_row()]))
    assert (row.id, row.speaker, row.gender, row.emotion) == ("1002_IEO_SAD_LO", "1002", "female", "sad")
    assert (row.corpus, row.text) == ("cremad", "It's eleven o'clock")


@pytest.mark.parametrize(
    ("dataset", "wav", "emo", "expected"),
    [
        ("tess", "tess/OA_bite_neutral.wav", "neutral", ("OA_bite_neutral", "OAF", "female", "neutral")),
        ("tess", "tess/YAF_wag_ps.wav", "ps", ("YAF_wag_ps", "YAF", "female", "surprised")),
        ("savee", "savee/JE_sa08.wav", "sa", ("JE_sa08", "JE", "male", "sad")),
        ("emovo", "emovo/f2/gio-f2-b2.wav", "gio", ("gio-f2-b2", "f2", "female", "happy")),
        ("esd", "esd/0016/Surprise/0016_001715.wav", "Surprise", ("0016_001715", "0016", "female", "surprised")),
    ],
)
def test_rows_of_more_corpora_are_described_by_their_names(tmp_path, dataset, wav, emo, expected):
    """As EmoBox writes them; its map of labels need not be there."""
    row = {
        "key": f"{dataset}-{Path(wav).stem.replace('_', '-')}",
        "dataset": dataset,
        "wav": f"downloads/{wav}",
        "emo": emo,
    }
    (found,) = read_emobox(write_manifest(tmp_path / f"{dataset}.jsonl", [row]))
    assert (found.id, found.speaker, found.gender, found.emotion) == expected


def test_the_label_map_is_asked_only_for_words_that_are_none(tmp_path):
    rows = [
        {"key": "emodb-08a02La", "dataset": "emodb", "wav": "wav/08a02La.wav", "emo": "boredem"},
        {"key": "iemocap-Ses01F_impro01_M000", "dataset": "iemocap", "wav": "Ses01F_impro01_M000.wav", "emo": "exc"},
    ]
    (tmp_path / "label_map.json").write_text(json.dumps({"boredem": "Boredom", "exc": "Happy"}))
    bored, excited = read_emobox(write_manifest(tmp_path / "mixed.jsonl", rows))
    assert (bored.emotion, excited.emotion, excited.speaker) == ("bored", "excited", "Ses01M")


def test_audio_is_found_above_the_manifest_under_a_given_root_or_by_its_stem(tmp_path, write_clip):
    manifest = write_manifest(tmp_path / "EmoBox/data/cremad/cremad.jsonl", [cremad_row()])
    clip = write_clip(tmp_path / "EmoBox/downloads/cremad/AudioWAV/1002_IEO_SAD_LO.wav")
    assert read_emobox(manifest)[0].path == str(clip)
    assert read_emobox(manifest.parent, tmp_path / "EmoBox")[0].path == str(clip)
    other = write_clip(tmp_path / "CREMA-D/1002_IEO_SAD_LO.flac")
    assert read_emobox(manifest, tmp_path / "CREMA-D")[0].path == str(other)
    absent = read_emobox(manifest, tmp_path / "nowhere")[0].path
    assert absent == str(tmp_path / "nowhere/downloads/cremad/AudioWAV/1002_IEO_SAD_LO.wav")


def test_clips_of_an_unknown_corpus_are_never_guessed_by_their_stem(tmp_path, write_clip):
    row = {"key": "mine-ann/1", "dataset": "mine", "wav": "ann/001.wav", "emo": "happy", "speaker": "ann"}
    write_clip(tmp_path / "audio/bob/001.wav")
    (read,) = read_emobox(write_manifest(tmp_path / "mine.jsonl", [row]), tmp_path / "audio")
    assert (read.id, read.speaker, read.path) == ("ann/1", "ann", str(tmp_path / "audio/ann/001.wav"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ('{"key": "a", "wav": "a.wav", "emo": "sad"}\nwav;emo\n', r"m.jsonl:2: not JSON"),
        ('{"key": "a", "wav": "a.wav"}\n', r"m.jsonl:1: field 'emo' is missing"),
        ("[1, 2]\n", r"m.jsonl:1: field 'key' is missing"),
        ('{"key": "a", "wav": "a.wav", "emo": "sad", "gender": "f"}\n', r"m.jsonl:1: gender 'f' is not"),
    ],
)
def test_bad_manifests_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(GemoclapError, match=message):
        prepare("emobox", tmp_path / "m.jsonl")


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    (tmp_path / "label_map.json").write_text("{}")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(GemoclapError, match=r"name an EmoBox manifest such as data/ravdess/ravdess.jsonl"):
            prepare("emobox", place)


@pytest.fixture
def utterances(tmp_path, write_clip) -> list[Utterance]:
    stems = ["03-01-01-01-01-01-01", "03-01-05-01-02-01-02", "03-01-08-02-01-02-03"]
    for seed, stem in enumerate(stems):
        write_clip(tmp_path / "corpus" / f"{stem}.wav", seed, seconds=0.1 * (seed + 1))
    return prepare("ravdess", tmp_path / "corpus")


def test_what_is_exported_is_read_back(tmp_path, utterances):
    segment = replace(utterances[0], id="cut", corpus="mine", start=0.02, end=0.05, text=None)
    named = [replace(row, corpus="mine", session="s") for row in utterances] + [segment]
    unlabelled = replace(utterances[1], id="unlabelled", corpus="mine", emotion=None)
    export("emobox", [*named, unlabelled], tmp_path / "out")
    assert read_emobox(tmp_path / "out") == [replace(row, path=str(Path(row.path).resolve())) for row in named]


def test_the_export_has_emobox_s_own_fields(tmp_path, utterances):
    folder = tmp_path / "corpus" / "emobox"
    write_emobox(utterances, tmp_path / "corpus", {"a": (["03-01-01-01-01-01-01"], ["03-01-05-01-02-01-02"])})
    rows = [json.loads(line) for line in (tmp_path / "corpus/ravdess.jsonl").read_text().splitlines()]
    assert rows[1]["key"] == "ravdess-03-01-05-01-02-01-02"
    assert {name: rows[1][name] for name in ("wav", "sample_rate", "num_frame", "length", "emo", "channel")} == {
        "wav": "03-01-05-01-02-01-02.wav", "sample_rate": 16000, "num_frame": 3200, "length": 0.2,
        "emo": "angry", "channel": 1,
    }  # fmt: skip
    label_map = json.loads((tmp_path / "corpus/label_map.json").read_text())
    assert label_map == {"angry": "Angry", "neutral": "Neutral", "surprised": "Surprise"}
    test = (tmp_path / "corpus/fold_1/ravdess_test_fold_1.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in test] == ["ravdess-03-01-05-01-02-01-02"]
    assert read_emobox(tmp_path / "corpus/fold_1/ravdess_train_fold_1.jsonl")[0].emotion == "neutral"
    assert not folder.exists()


def test_the_development_part_of_a_fold_is_exported_too(tmp_path, utterances):
    names = [row.id for row in utterances]
    write_emobox(
        utterances, tmp_path / "out", {"a": (names[:1], names[1:2], names[2:]), "b": (names[:2], names[2:], [])}
    )
    first, second = (sorted(path.name for path in (tmp_path / "out" / fold).iterdir()) for fold in ("fold_1", "fold_2"))
    assert [name.split("_")[1] for name in first] == ["test", "train", "valid"]
    assert [name.split("_")[1] for name in second] == ["test", "train"]
    parts = read_fold_files(tmp_path / "out", names)["fold_1"]
    assert parts == {"train": names[:1], "valid": names[2:], "test": names[1:2]}


def test_export_refuses_what_it_cannot_write(tmp_path, utterances):
    out = tmp_path / "out"
    with pytest.raises(GemoclapError, match="no row has an emotion"):
        write_emobox([replace(utterances[0], emotion=None)], out)
    with pytest.raises(GemoclapError, match=r"row gone: .*no such audio file"):
        write_emobox([replace(utterances[0], id="gone", path=str(tmp_path / "gone.wav"))], out)
    with pytest.raises(GemoclapError, match="fold id 'who' is not a labelled row"):
        write_emobox(utterances, out, {"1": (["who"], [])})
    assert not out.exists()
    write_emobox(utterances, out)
    before = (out / "ravdess.jsonl").read_bytes()
    with pytest.raises(GemoclapError, match="is there already"):
        write_emobox(utterances[:1], out)
    assert (out / "ravdess.jsonl").read_bytes() == before


def test_published_iemocap_manifest(shared):
    rows = read_emobox(shared / "interop/emobox/iemocap")
    assert len(rows) == 5531
    assert Counter(row.emotion for row in rows) == {
        "neutral": 1708, "angry": 1103, "sad": 1084, "excited": 1041, "happy": 595,
    }  # fmt: skip
    assert Counter(row.gender for row in rows) == {"female": 2649, "male": 2882}
    assert Counter(row.session for row in rows) == {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}
    as_json = read_emobox(shared / "interop/emobox/iemocap/fold_1/iemocap_test_fold_1.json")
    assert [replace(row, path="") for row in as_json] == [
        replace(row, path="") for row in read_emobox(shared / "interop/emobox/iemocap/fold_1/iemocap_test_fold_1.jsonl")
    ]


def test_published_ravdess_manifest_equals_the_parsed_corpus(shared):
    rows = read_emobox(shared / "interop/emobox/ravdess/ravdess.jsonl", shared / "corpora/ravdess")
    assert sorted(rows, key=lambda row: row.id) == prepare("ravdess", shared / "corpora/ravdess")
    vocabulary = get_vocabulary("ravdess8")
    assert all(vocabulary.index(row.emotion) is not None for row in rows)


def test_times_and_names_of_any_type_are_read_or_named(tmp_path):
    base = {"key": "mine-a", "dataset": "mine", "wav": "a.wav", "emo": "sad"}
    good = base | {"start_time": "0 days 00:00:00.5", "end_time": 1, "speaker": 3.0, "session": 2, "gender": "N/A"}
    (row,) = read_emobox(write_manifest(tmp_path / "m.jsonl", [good]))
    assert (row.start, row.end, row.speaker, row.session, row.gender) == (0.5, 1.0, "3", "2", None)
    times = [
        ("start_time", True),
        ("end_time", [1]),
        ("end_time", "soon"),
        ("start_time", {"a": 1}),
        ("end_time", float("inf")),
    ]
    words = [("speaker", ["a"]), ("wav", "."), ("wav", "a\0.wav"), ("key", " ")]
    for field, value in (*times, *words):
        rows = [base, base | {"key": "mine-b", field: value}]
        with pytest.raises(GemoclapError, match=rf"m.jsonl:2: .*{field}"):
            read_emobox(write_manifest(tmp_path / "m.jsonl", rows))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"key": "a", "key": "b", "wav": "a.wav", "emo": "sad"}', "'key' is there twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"key": "a", "wav": "a.wav", "emo": "sad", "length": ' + "9" * 5000 + "}", "thousands of digits"),
    ],
)
def test_json_that_is_none_is_one_line(tmp_path, line, says):
    for name, text in (("m.jsonl", line), ("m.json", line)):
        (tmp_path / name).write_text(text)
        with pytest.raises(GemoclapError, match=rf"{name}.*not JSON.*{says}"):
            read_emobox(tmp_path / name)


def test_a_disk_that_fills_up_leaves_nothing_of_an_export(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an export would be refused by the next command, with advice to remove it."""
    written: list[Path] = []

    @contextmanager
    def failing(path: Path) -> Iterator[IO[str]]:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        with atomic_write(path) as file:
            yield file

    out = tmp_path / "out"
    folds = {"a": (["03-01-01-01-01-01-01"], ["03-01-05-01-02-01-02"])}
    monkeypatch.setattr(emobox, "atomic_write", failing)
    with pytest.raises(GemoclapError, match="the disk is full"):
        write_emobox(utterances, out, folds)
    assert len(written) == 2 and list(out.iterdir()) == []
    monkeypatch.undo()
    write_emobox(utterances, out, folds)
    assert {path.name for path in out.iterdir()} == {"fold_1", "label_map.json", "ravdess.jsonl"}
