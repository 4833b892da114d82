"""Tables of one's own corpora, as people and their programs write them."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from gemoclap.cli import main
from gemoclap.corpora import prepare
from gemoclap.corpora.csv_io import ALIASES
from gemoclap.corpora.inspect import inspect
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.errors import GemoclapError


def table_of(folder: Path, *lines: str, delimiter: str = ",") -> Path:
    (folder / "t.csv").write_text("\n".join(line.replace("|", delimiter) for line in lines) + "\n", encoding="utf-8")
    return folder / "t.csv"


WORDS = ["Złość", "złość", " ZŁOŚĆ ", "θυμός", "ΘΥΜΌΣ", "怒り", "がっかり", "very  angry", "Very angry"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_label_is_one_however_its_accents_are_stored(form: str, tmp_path: Path) -> None:
    """macOS writes accents and the marks of Japanese letters apart (NFD): that made two classes of one label."""
    words = [unicodedata.normalize(form if n % 2 else "NFC", word) for n, word in enumerate(WORDS)]
    table = table_of(tmp_path, "path|emotion", *(f"{n}.wav|{word}" for n, word in enumerate(words)))
    found = [row.emotion for row in prepare("csv", table)]
    assert found == ["złość"] * 3 + ["θυμός"] * 2 + ["怒り", "がっかり"] + ["very angry"] * 2


def test_the_labels_of_a_manifest_are_spelt_alike(tmp_path: Path) -> None:
    """In its first spelling, unless one is the word that the package knows; also the words of votes."""
    apart = unicodedata.normalize("NFD", "Żal")
    labels = ["Żal", apart, "żal", "ANGRY", "angry", None, "Joy", "happy"]
    rows = [Utterance(str(n), f"{n}.wav", emotion=label) for n, label in enumerate(labels)]
    rows[5] = Utterance("5", "5.wav", votes={"Angry": 2.0, "angry": 1.0, apart: 1.5})
    write_manifest(rows, tmp_path / "m.jsonl")
    read = read_manifest(tmp_path / "m.jsonl")
    assert [row.emotion for row in read] == ["Żal"] * 3 + ["angry"] * 2 + [None, "Joy", "happy"]
    assert read[5].votes == {"angry": 3.0, "Żal": 1.5}
    kept = read_manifest(tmp_path / "m.jsonl", as_spelt=True)
    assert [row.emotion for row in kept] == labels
    inspection = inspect(kept)
    assert inspection.emotions == {"(none)": 1, "angry": 2, "happy": 1, "Joy": 1, "Żal": 3}
    assert [(fault.row, fault.message) for fault in inspection.faults if fault.kind == "spelling"] == [
        (2, f"label {apart!r} is taken for 'Żal'; spell them alike (they look the same: accents are stored in two ways, "
         "NFC and NFD)"),
        (3, "label 'żal' is taken for 'Żal'; spell them alike"),
        (4, "label 'ANGRY' is taken for 'angry'; spell them alike"),
        (6, "label 'Angry' is taken for 'angry'; spell them alike"),
    ]  # fmt: skip


def test_votes_are_for_the_words_of_labels(tmp_path: Path) -> None:
    """Votes for Anger were for no class where the label Anger had become angry: training took the label without a word."""
    votes = json.dumps({"Anger": 2, "angry": 1, "Sadness ": 1, "Wut": 1}).replace('"', '""')
    (row,) = prepare("csv", table_of(tmp_path, "path|emotion|votes", f'a.wav|Anger|"{votes}"'))
    assert row.emotion == "angry" and row.votes == {"angry": 3.0, "sad": 1.0, "wut": 1.0}
    line = {
        "key": "a",
        "dataset": "mine",
        "wav": "a.wav",
        "emo": "Anger",
        "votes": {"Anger": 3, "Sadness": 1, "wut": 1},
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    assert prepare("emobox", tmp_path / "mine.jsonl")[0].votes == row.votes


@pytest.mark.parametrize(
    ("word", "partition"),
    [
        ("Train", "train"), ("TRAINING", "train"), ("Validation", "dev"), ("val", "dev"), ("valid", "dev"), ("devel", "dev"),
        ("Development", "dev"), ("dev", "dev"), ("Test", "test"), ("Test1", "test1"), ("spare", "spare"), ("-", None),
    ],
)  # fmt: skip
def test_partitions_have_the_words_of_the_manifest(word: str, partition: str | None, tmp_path: Path) -> None:
    """Rows of 'validation' were neither trained nor developed on, and nothing said so."""
    (row,) = prepare("csv", table_of(tmp_path, "path|split", f"a.wav|{word}"))
    assert row.partition == partition
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "path": "a.wav", "partition": word}))
    assert read_manifest(tmp_path / "m.jsonl")[0].partition == partition


EXCEL = {
    "names": ["File Name|Speaker-ID|EMOTION|valence", "a.wav|007|Wut|3,5", "b.wav|7|Wut|-0,25"],
    "separator": ["sep=;", "path|speaker|emotion|valence", "a.wav|007|Wut|3,5", "b.wav|7|Wut|-,25"],
    "separator and cells": ['"sep=;"||', "path|speaker|emotion|valence", "a.wav|007|Wut|3,5", "b.wav|7|Wut|-0,25"],
    "empty rows": ["||||", "path|speaker|emotion|valence", "a.wav|007|Wut|3,5", " | ||", "b.wav|7|Wut|-0.25", "|||", "|||"],
    "empty columns": ["path||speaker|emotion|valence||", "a.wav||007|Wut|3,5||", "b.wav||7|Wut|-0,25||"],
    "longer rows": ["path|speaker|emotion|valence", "a.wav|007|Wut|3,5||", "b.wav|7|Wut|-0,25| "],
}  # fmt: skip


@pytest.mark.parametrize("kind", EXCEL)
def test_tables_of_excel_are_read(kind: str, tmp_path: Path) -> None:
    rows = prepare("csv", table_of(tmp_path, *EXCEL[kind], delimiter=";"))
    assert [(Path(row.path).name, row.speaker, row.emotion, row.valence) for row in rows] == [
        ("a.wav", "007", "wut", 3.5),
        ("b.wav", "7", "wut", -0.25),
    ]


def test_a_line_keeps_its_number_where_others_are_left_out(tmp_path: Path) -> None:
    table = table_of(tmp_path, "sep=;", "path|start", "|", "a.wav|soon", delimiter=";")
    with pytest.raises(GemoclapError, match="t.csv:4: start must be seconds, not 'soon'"):
        prepare("csv", table)
    with pytest.raises(GemoclapError, match="t.csv:2: column 'text' is there twice"):
        prepare("csv", table_of(tmp_path, "sep=;", "path|text|text", "a.wav|a|b", delimiter=";"))


def test_a_comma_is_a_decimal_point_only_where_it_separates_nothing(tmp_path: Path) -> None:
    """1,250 in a table with commas may be 1250."""
    (row,) = prepare("csv", table_of(tmp_path, "path|start|end|text", "a.wav|1,250|2,5|1,5", delimiter="\t"))
    assert (row.start, row.end, row.text) == (1.25, 2.5, "1,5")
    with pytest.raises(GemoclapError, match="start must be seconds, not '1,250'"):
        prepare("csv", table_of(tmp_path, "path|start", 'a.wav|"1,250"'))


def test_columns_of_other_names_are_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(tmp_path, "Datei|Gefühl|label|Person|Sex", "a.wav|Anger|3|1|w", "b.wav|Wut|4|2|männlich")
    given = {"path": "Datei", "emotion": "gefühl", "speaker": "PERSON"}
    rows = prepare("csv", table, columns=given)
    assert [(row.emotion, row.speaker, row.gender) for row in rows] == [("angry", "1", "female"), ("wut", "2", "male")]
    assert caplog.messages == [f"{table}: columns that were not used: label"]
    assert prepare("csv", table, columns={"path": "Datei", "session": "label", "text": "Sex"})[0] == Utterance(
        "a", str(tmp_path / "a.wav"), session="3", text="w"
    )
    out = tmp_path / "m.jsonl"
    typed = "{path: Datei, emotion: Gefühl, speaker: Person}"
    assert main(["prepare", "csv", str(table), "--columns", typed, "-o", str(out)]) == 0
    assert read_manifest(out) == rows


@pytest.mark.parametrize(
    ("name", "columns", "says"),
    [
        ("csv", {}, r"no column path or file or filename among Datei, Gefühl; .* --columns '\{path: NAME\}'"),
        ("csv", {"path": "Date"}, r"no column 'Date' \(did you mean 'Datei'\?\) for the path; columns: Datei, Gefühl"),
        ("csv", {"pth": "Datei"}, r"--columns: no field is called 'pth' \(did you mean 'path'\?\)"),
        ("emodb", {"path": "Datei"}, "--columns is for csv"),
    ],
)
def test_columns_that_are_not_there_are_named(name: str, columns: dict[str, str], says: str, tmp_path: Path) -> None:
    table = table_of(tmp_path, "Datei|Gefühl", "a.wav|Wut")
    with pytest.raises(GemoclapError, match=says):
        prepare(name, table, columns=columns)


def test_a_table_in_another_encoding_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_bytes("Dateipfäd;Gefühl\na.wav;Wut\n".encode("cp1252"))
    with pytest.raises(
        GemoclapError, match=r"among Dateipf.xe4d, Gef.xfchl \(not UTF-8 text; save the table as UTF-8\)"
    ):
        prepare("csv", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes("path;Größe\na.wav;1\n".encode("cp1252"))
    prepare("csv", tmp_path / "t.csv")
    assert caplog.messages[-1].endswith(r"columns that were not used: Gr\xf6\xdfe")


def test_folders_of_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "sesja 1").mkdir()
    (tmp_path / "sesja 1" / "ż.wav").touch()
    there, gone = prepare("csv", table_of(tmp_path, "path", "sesja 1\\ż.wav", "sesja 2\\a.wav"))
    assert (there.id, there.path) == ("sesja 1/ż", str(tmp_path / "sesja 1" / "ż.wav"))
    assert gone.id == "sesja 2/a"
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "path": unicodedata.normalize("NFD", "sesja 1\\ż.wav")}))
    assert read_manifest(tmp_path / "m.jsonl")[0].path == there.path
    (tmp_path / "odd\\name.wav").touch()
    assert prepare("csv", table_of(tmp_path, "path", "odd\\name.wav"))[0].path == str(tmp_path / "odd\\name.wav")


def test_rows_of_one_clip_are_told_what_to_do(tmp_path: Path) -> None:
    """Without times they would be the whole file each, and an id for each would count the clip several times."""
    table = table_of(tmp_path, "path|begin|stop|emotion", "a.wav|0|1|Wut", "a.wav|1|2|Trauer")
    says = (
        r"t.csv:3: the same clip as on line 2, a; if the rows are parts .* \(columns that were not used: begin, stop; "
    )
    with pytest.raises(GemoclapError, match=says):
        prepare("csv", table)
    assert [row.id for row in prepare("csv", table, columns={"start": "begin", "end": "stop"})] == ["a#0-1", "a#1-2"]


def test_parts_of_a_recording_of_hours_have_names_of_their_own(tmp_path: Path) -> None:
    """Six digits of the time are not enough after the first 1000 s."""
    table = table_of(
        tmp_path, "path|start|end", "a.wav|12345.671|12346", "a.wav|12345.672|12346.5", "a.wav|0.3|12346.5"
    )
    names = [row.id for row in prepare("csv", table)]
    assert names == ["a#12345.671-12346", "a#12345.672-12346.5", "a#0.3-12346.5"]


def test_two_clips_with_one_name_are_not_said_to_be_the_same(tmp_path: Path) -> None:
    """Names are made without the suffix. The message took such clips for one with two raters."""
    rows = ["a/s.wav|0|1", "a/s.mp3|0|1"]
    with pytest.raises(GemoclapError, match=r"t.csv:3: another clip on line 2 is called a.* too; .* in a column id"):
        prepare("csv", table_of(tmp_path, "path|start|end", *rows))
    named = [f"{row}|{n}" for n, row in enumerate(rows)]
    assert [row.id for row in prepare("csv", table_of(tmp_path, "path|start|end|id", *named))] == ["0", "1"]


def test_labels_that_pandas_made_floats_are_whole_numbers(tmp_path: Path) -> None:
    rows = prepare("csv", table_of(tmp_path, "path|label", "a.wav|0.0", "b.wav|12.0", "c.wav|1.5", "d.wav|"))
    assert [row.emotion for row in rows] == ["0", "12", "1.5", None]


def test_the_rows_of_raters_are_joined(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(
        tmp_path, "path|speaker|annotator|label|valence|arousal|text",
        "a.wav|1|x|Anger|2||hm", "b.wav|2|x|joy|5|1|", "a.wav|1|y|sad|3||other", "a.wav|1|z|angry|4||", "b.wav|2|y|sad||2|",
        "c.wav|3|x||||", "d.wav|3|y|Wut|1||", "d.wav|3|x|wut|2||",
    )  # fmt: skip
    rows = prepare("csv", table)
    assert [(row.id, row.emotion, row.votes, row.valence, row.arousal) for row in rows] == [
        ("a", "angry", {"angry": 2.0, "sad": 1.0}, 3.0, None),
        ("b", None, {"happy": 1.0, "sad": 1.0}, 5.0, 1.5),
        ("c", None, None, None, None),
        ("d", "wut", {"wut": 2.0}, 1.5, None),
    ]
    assert rows[0].text == "hm"
    assert caplog.messages == [
        f"{table}: 8 judgements of 4 clips joined; labels are the emotions with the most votes; 1 clip without a label, "
        "because several emotions have the most votes; 1 clip without a label, because nobody voted"
    ]


def test_judgements_in_several_spellings_are_of_one_speaker_and_emotion(tmp_path: Path) -> None:
    """A speaker in two spellings was refused, and votes for two spellings of a label were a tie between them."""
    table = table_of(
        tmp_path, "path|speaker|gender|rater|label",
        "a.wav|Ses05F|f|x|Spaß", "a.wav|ses05f |Female|y|SPASS", "a.wav|SES05F|w|z|sad",
    )  # fmt: skip
    (row,) = prepare("csv", table)
    assert (row.speaker, row.emotion, row.votes) == ("Ses05F", "spaß", {"spaß": 2.0, "sad": 1.0})


def test_sums_of_fractions_that_are_equal_are_a_tie(tmp_path: Path) -> None:
    """0.1 + 0.2 is 0.30000000000000004, so that the order of additions chose the label."""
    lines = ["path|rater|n_anger|n_sad", "a.wav|x|0.1|0.3", "a.wav|y|0.2|0", "b.wav|x|0.31|0.3"]
    rows = prepare("csv", table_of(tmp_path, *lines), votes={"angry": "n_anger", "sad": "n_sad"})
    assert [row.emotion for row in rows] == [None, "angry"]


def test_raters_of_valence_alone_are_not_said_to_give_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(tmp_path, "path|rater|valence", "a.wav|x|1", "a.wav|y|4")
    assert [(row.valence, row.emotion, row.votes) for row in prepare("csv", table)] == [(2.5, None, None)]
    assert caplog.messages == [f"{table}: 2 judgements of 1 clip joined; no judgement names an emotion"]


def test_words_for_genders_are_known_however_accents_are_stored(tmp_path: Path) -> None:
    words = [
        unicodedata.normalize(form, word) for form in ("NFC", "NFD") for word in ("Männlich", "MĘŻCZYZNA", " männlich ")
    ]
    rows = prepare("csv", table_of(tmp_path, "path|gender", *(f"{n}.wav|{word}" for n, word in enumerate(words))))
    assert [row.gender for row in rows] == ["male"] * 6


def test_with_one_row_for_each_clip_a_rater_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(tmp_path, "path|rater|label", "a.wav|x|sad", "b.wav|y|angry")
    assert [(row.emotion, row.votes) for row in prepare("csv", table)] == [("sad", None), ("angry", None)]
    assert caplog.messages == [f"{table}: columns that were not used: rater"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            ["a.wav|1|x|sad", "a.wav|2|y|sad"],
            r"t.csv:3: the speaker of clip a is '2' here and '1' at .*t.csv:2; correct one",
        ),
        (
            ["a.wav|1|x|sad", "a.wav|1| x|sad"],
            r"t.csv:3: rater 'x' has judged clip a at .*t.csv:2 already; drop one row",
        ),
        (
            ["a.wav|1|Ania|sad", "a.wav|1|ania |happy"],
            r"t.csv:3: rater 'ania' has judged clip a at .*t.csv:2 already; drop one row",
        ),
    ],
)
def test_judgements_that_contradict_each_other_are_named(rows: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match=says):
        prepare("csv", table_of(tmp_path, "path|speaker|rater|label", *rows))


def test_a_column_of_votes_for_each_emotion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["path|n_anger|n_joy|n_sad", "a.wav|3|0|1", "b.wav|1|1|", "c.wav|||0", "d.wav|0,5|0,25|0,25"]
    table = table_of(tmp_path, *lines, delimiter=";")
    given = {"Anger": "n_anger", "joy": "N_Joy", "sad": "n_sad"}
    rows = prepare("csv", table, votes=given)
    wanted = [
        ("angry", {"angry": 3.0, "sad": 1.0}),
        (None, {"angry": 1.0, "happy": 1.0}),
        (None, None),
        ("angry", {"angry": 0.5, "happy": 0.25, "sad": 0.25}),
    ]
    assert [(row.emotion, row.votes) for row in rows] == wanted
    assert caplog.messages[-1].endswith(
        "1 clip without a label, because several emotions have the most votes; 1 clip without a label, because nobody voted"
    )
    labelled = table_of(
        tmp_path, *(f"{line}|{'label' if not n else 'sad'}" for n, line in enumerate(lines)), delimiter=";"
    )
    assert [(row.emotion, row.votes) for row in prepare("csv", labelled, votes=given)] == [
        ("sad", votes) for _, votes in wanted
    ]
    typed = ["--votes", "{angry: n_anger, happy: n_joy, sad: n_sad}"]
    assert main(["prepare", "csv", str(labelled), *typed, "-o", str(tmp_path / "m.jsonl")]) == 0
    assert read_manifest(tmp_path / "m.jsonl")[0].votes == wanted[0][1]


@pytest.mark.parametrize(
    ("name", "votes", "says"),
    [
        (
            "csv",
            {"angry": "n_angr"},
            r"no column 'n_angr' \(did you mean 'n_anger'\?\) for votes for angry; columns: path, ",
        ),
        (
            "csv",
            {"angry": "n_anger", "Anger": "n_joy"},
            "--votes: Anger is the emotion angry, which has a column already",
        ),
        ("csv", {"angry": "n_anger", "sad": "N_anger"}, "--votes: two emotions have the column 'n_anger'"),
        ("csv", {"angry": "path"}, "t.csv:2: the number of votes for 'angry' must be a finite number"),
        ("csv", {"angry": "n_joy"}, "t.csv:2: votes must be numbers, 0 or more"),
        ("emodb", {"angry": "n_joy"}, "--votes is for csv"),
    ],
)
def test_columns_of_votes_that_are_none_are_named(name: str, votes: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match=says):
        prepare(name, table_of(tmp_path, "path|n_anger|n_joy", "a.wav|1|-1"), votes=votes)


def test_files_are_found_beside_whatever_their_suffix(tmp_path: Path) -> None:
    """As MSP-Podcast's and CREMA-D's tables of raters name clips, and after a conversion. Never in another folder."""
    for name in (
        "a/one.FLAC",
        "a/s1.02.wav",
        "a/s1.03.wav",
        "a/both.mp3",
        "a/both.wav",
        "a/no.txt",
        "b/two.wav",
        "ż/ż.opus",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {
        "a/one.wav": ("a/one", "a/one.FLAC"), "a/s1.02": ("a/s1.02", "a/s1.02.wav"), "a/s1.03": ("a/s1.03", "a/s1.03.wav"),
        "a/both": ("a/both", "a/both.wav"), "a/no": ("a/no", "a/no"), "a/two.wav": ("a/two", "a/two.wav"),
        unicodedata.normalize("NFD", "ż\\ż"): (unicodedata.normalize("NFD", "ż/ż"), "ż/ż.opus"),
    }  # fmt: skip
    rows = prepare("csv", table_of(tmp_path, "path", *found))
    assert [(row.id, row.path) for row in rows] == [(one, str(tmp_path / path)) for one, path in found.values()]


def test_audio_that_is_not_there_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.wav").touch()
    table = table_of(tmp_path, "path", "a.wav", "b.wav", "c/d.wav")
    assert main(["prepare", "csv", str(table), "-o", str(tmp_path / "m.jsonl")]) == 0
    said = f"the audio of 2 of 3 utterances is not there, such as {tmp_path}/b.wav; --audio_root names the folder"
    assert caplog.messages == [f"{said} that the paths start from"]
    caplog.clear()
    table_of(tmp_path, "path", "a.wav")
    assert main(["prepare", "csv", str(table), "-o", str(tmp_path / "m.jsonl"), "--overwrite"]) == 0
    assert not caplog.messages


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"PK\x03\x04\x14\0",
            "t.csv: is a workbook of Excel or LibreOffice, or a zip archive, .* save the sheet as CSV UTF-8",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "t.csv: is an old workbook of Excel"),
        (b'{"id": "a", "path": "a.wav"}\n', "t.csv: is JSON, not a table of text; a manifest is read as it is"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(GemoclapError, match=says):
        prepare("csv", tmp_path / "t.csv")
    with pytest.raises(GemoclapError, match="is a folder; name a CSV"):
        prepare("csv", tmp_path)


def test_the_page_lists_every_name_of_a_column() -> None:
    """--help of prepare refers to it."""
    page = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    table = page.split("### Names of columns", 1)[1].split("\n## ", 1)[0]
    listed = {
        field: [field, *re.findall(r"`(\w+)`", names)] for field, names in re.findall(r"\| `(\w+)` \| (.*) \|", table)
    }
    assert listed == {field: list(names) for field, names in ALIASES.items() if len(names) > 1}
