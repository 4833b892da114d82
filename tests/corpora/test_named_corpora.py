"""RAVDESS, EmoDB, nEMO and CREMA-D: look-alikes, and the real recordings where they lie beside the repository."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from gemoclap.audio import Recording
from gemoclap.corpora import CORPORA, cremad, emodb, nemo, prepare, ravdess
from gemoclap.errors import GemoclapError
from gemoclap.inference.clips import remark_on
from gemoclap.labels import EMOTIONS, get_vocabulary


def touch(folder: Path, *names: str) -> Path:
    """Make empty files; these parsers go by names and open no audio."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_ravdess_reads_speech_alone_whatever_the_suffix(tmp_path):
    root = touch(
        tmp_path,
        "Audio_Speech_Actors_01-24/Actor_07/03-01-08-01-02-01-07.wav",
        "Actor_08/03-01-01-01-01-02-08.flac",
        "Actor_08/03-02-03-01-01-02-08.wav",  # song
        "Actor_08/01-01-03-01-01-02-08.mp4",  # video
        "Actor_08/03-01-09-01-01-02-08.wav",  # no such emotion
        "Actor_08/._03-01-02-01-01-02-08.wav",  # left by macOS
        "Actor_08/readme.wav",
    )
    surprised, neutral = sorted(ravdess.parse(root), key=lambda row: row.id, reverse=True)
    assert (surprised.id, surprised.speaker, surprised.gender) == ("03-01-08-01-02-01-07", "07", "male")
    assert (surprised.emotion, surprised.text) == ("surprised", "Dogs are sitting by the door")
    assert (neutral.speaker, neutral.gender, neutral.emotion) == ("08", "female", "neutral")
    assert neutral.text == "Kids are talking by the door"


def test_a_corpus_that_was_packed_twice_is_read_once(tmp_path):
    root = touch(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "copy/Actor_01/03-01-01-01-01-01-01.wav")
    (row,) = ravdess.parse(root)
    assert row.path == str(root / "Actor_01" / "03-01-01-01-01-01-01.wav")


def test_links_are_followed_even_in_a_circle(tmp_path):
    touch(tmp_path / "elsewhere", "03a01Fa.wav")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "wav").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "root")
    assert [row.id for row in emodb.parse(tmp_path / "root")] == ["03a01Fa"]


@pytest.mark.parametrize("inside", ["", "wav"])
def test_emodb_reads_all_seven_emotions_from_the_folder_or_its_wavs(tmp_path, inside):
    stems = [
        "03a01Wa",
        "08a02La",
        "09a04Ea",
        "10a05Aa",
        "11a07Fb",
        "12b01Tc",
        "13b02Nd",
        "14b03Wa",
        "15b09Wa",
        "16b10Wa",
    ]
    root = touch(tmp_path, *(f"wav/{stem}.wav" for stem in stems), "erkennung.txt", "wav/notes.wav")
    rows = {row.id: row for row in prepare("emodb", root / inside)}
    assert list(rows) == stems
    assert [row.emotion for row in rows.values()][:7] == [
        "angry", "bored", "disgusted", "fearful", "happy", "sad", "neutral",
    ]  # fmt: skip
    # The genders as corpora/README.md and the publisher list them.
    men = {row.speaker for row in rows.values() if row.gender == "male"}
    women = {row.speaker for row in rows.values() if row.gender == "female"}
    assert (men, women) == ({"03", "10", "11", "12", "15"}, {"08", "09", "13", "14", "16"})
    assert len({row.text for row in rows.values()} - {None}) == 10
    assert rows["12b01Tc"].text == "Was sind denn das für Tüten, die da unter dem Tisch stehen?"


HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def nemo_folder(root: Path, rows: str, header: str = HEADER) -> Path:
    touch(root, "samples/EB0_anger_1.opus", "samples/WR0_sadness_2.wav")
    (root / "data.tsv").write_text(header + rows, encoding="utf-8")
    return root


def test_nemo_strips_padding_and_goes_by_the_stem(tmp_path):
    root = nemo_folder(
        tmp_path / "nemo",
        'EB0_anger_1.wav\tanger\tCo "to" jest?\tco to jest\t        EB0\tfemale\t27\n'
        "WR0_sadness_2.opus\tsadness\tNie wiem.\tnie wiem\t WR0\tmale\t23\n"
        "WR0_sadness_3.wav\tsadness\tNie.\tnie\t WR0\tmale\t23\n",
    )
    first, second, third = prepare("nemo", root)
    assert (first.id, first.speaker, first.gender, first.emotion) == ("EB0_anger_1", "EB0", "female", "angry")
    assert (first.text, first.path) == ('Co "to" jest?', str(root / "samples/EB0_anger_1.opus"))
    assert second.path == str(root / "samples/WR0_sadness_2.wav")
    assert third.path == str(root / "samples/WR0_sadness_3.wav")
    above, inside = prepare("nemo", root.parent), prepare("nemo", root / "samples")
    assert [row.id for row in above] == [row.id for row in inside] == [first.id, second.id, third.id]


def test_nemo_names_the_column_or_row_that_is_wrong(tmp_path):
    nemo_folder(tmp_path, "", header="file_id\temotion\n")
    with pytest.raises(GemoclapError, match=r"data\.tsv: no column 'raw_text'"):
        nemo.parse(tmp_path)
    nemo_folder(tmp_path, "EB0_anger_1.wav\tanger\tCo?\tco\tEB0\tfemale\t27\nEB0_anger_2.wav\tanger\n")
    with pytest.raises(GemoclapError, match=r"data\.tsv:3: the row has no raw_text"):
        nemo.parse(tmp_path)


def test_cremad_prefers_wav_and_takes_the_sex_from_the_table(tmp_path):
    touch(
        tmp_path, "AudioMP3/1001_DFA_ANG_XX.mp3", "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_SAD_LO.wav",
        "AudioWAV/1040_ITH_SAD_X.wav", "AudioWAV/1001_DFA_XXX_XX.wav",
    )  # fmt: skip
    table = '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Female","?","?"\n'  # on purpose not what is published
    (tmp_path / "VideoDemographics.csv").write_text(table)
    first, second, third = prepare("cremad", tmp_path)
    assert first.path == str(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav")
    assert (first.speaker, first.gender, first.emotion, first.text) == (
        "1001",
        "female",
        "angry",
        "Don't forget a jacket",
    )
    assert (second.gender, second.emotion, second.text) == ("female", "sad", "It's eleven o'clock")
    assert (third.id, third.gender) == ("1040_ITH_SAD_X", "male")
    assert prepare("cremad", tmp_path / "AudioWAV")[0].gender == "female"
    (tmp_path / "VideoDemographics.csv").write_text(table.replace("1001,", "1001.0,"))  # as pandas writes it
    assert prepare("cremad", tmp_path)[0].gender == "female"
    (tmp_path / "VideoDemographics.csv").write_text("Actor,Sex\n")
    with pytest.raises(GemoclapError, match="no column 'ActorID'"):
        prepare("cremad", tmp_path)


def test_cremad_s_votes_are_those_of_raters_who_only_heard(tmp_path):
    """Rows begin with 1 for voices alone, 2 for faces and 3 for both."""
    touch(tmp_path / "CREMA-D", *(f"AudioWAV/1001_{name}.wav" for name in ("DFA_ANG_XX", "IEO_SAD_LO", "IEO_HAP_HI")))
    (tmp_path / "CREMA-D" / "processedResults").mkdir()
    table = tmp_path / "CREMA-D" / "processedResults" / "tabulatedVotes.csv"
    table.write_text(
        '"","A","D","F","H","N","S","fileName","numResponses"\n'
        '"100001",6,0,1,0,3,0,"1001_DFA_ANG_XX",10\n"100002",0,0,0,0,0,0,"1001_IEO_SAD_LO",0\n'
        '"200001",0,9,0,0,0,0,"1001_DFA_ANG_XX",9\n"307440",0,0,9,0,0,0,"1001_IEO_HAP_HI",9\n'
    )
    for root in (tmp_path / "CREMA-D", tmp_path / "CREMA-D" / "AudioWAV"):
        votes = {row.id: row.votes for row in prepare("cremad", root)}
        assert votes == {
            "1001_DFA_ANG_XX": {"angry": 6, "fearful": 1, "neutral": 3},
            "1001_IEO_HAP_HI": None,
            "1001_IEO_SAD_LO": None,
        }
    good = table.read_text()
    for wrong, message in (("many", "A must be a finite number"), ("-1", "fewer than no votes for an emotion")):
        table.write_text(good.replace(",6,", f",{wrong},"))
        with pytest.raises(GemoclapError, match=rf"tabulatedVotes\.csv:2: {message}"):
            prepare("cremad", tmp_path / "CREMA-D")


def test_cremad_has_the_published_actors():
    # Cao et al. 2014: 91 actors, 48 male and 43 female; 12 sentences.
    rows = [cremad.describe(f"{actor}_DFA_ANG_XX", "") for actor in range(1000, 1100)]
    genders = Counter(row.gender for row in rows if row is not None)
    assert genders == {"male": 48, "female": 43, None: 9}
    assert len(set(cremad.SENTENCES.values())) == 12


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "synthetic"])  # that one makes itself
def test_a_folder_that_is_not_the_corpus_is_refused_in_one_line(tmp_path, name):
    touch(tmp_path, "song.wav", "notes.txt")
    with pytest.raises(GemoclapError) as caught:
        prepare(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "here" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(GemoclapError, match="no such folder"):
        prepare(name, tmp_path / "nowhere")
    with pytest.raises(GemoclapError, match="is a file, not a folder"):
        prepare(name, tmp_path / "song.wav")


# Counts by emotion as shared/corpora/README.md and the corpora's papers give them.
REAL = {
    "emodb": {"angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fearful": 69, "sad": 62, "disgusted": 46},
    "cremad": {"neutral": 1087} | dict.fromkeys(("angry", "disgusted", "fearful", "happy", "sad"), 1271),
    "ravdess": {"neutral": 96}
    | dict.fromkeys(("calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised"), 192),
    "nemo": {"neutral": 809, "sad": 769, "happy": 749, "angry": 749, "fearful": 736, "surprised": 669},
}
WOMEN_AND_MEN = {"emodb": (5, 5), "ravdess": (12, 12), "nemo": (4, 5), "cremad": (43, 48)}


@pytest.mark.parametrize("name", REAL)
def test_the_real_corpus_has_its_published_counts(shared, name):
    utterances = prepare(name, shared / "corpora" / name)
    assert Counter(row.emotion for row in utterances) == REAL[name]
    assert all(Path(row.path).is_file() and row.text for row in utterances)
    assert len({row.id for row in utterances}) == len(utterances)
    speakers = {(row.speaker, row.gender) for row in utterances}
    assert (sum(g == "female" for _, g in speakers), sum(g == "male" for _, g in speakers)) == WOMEN_AND_MEN[name]
    vocabulary = get_vocabulary(CORPORA[name].vocabulary)
    assert {vocabulary.resolve(row.emotion) for row in utterances} - {None} == set(vocabulary.emotions)


def test_nemo_folds_hold_each_speaker_once_and_both_genders(shared):
    genders = {row.speaker: row.gender for row in prepare("nemo", shared / "corpora" / "nemo")}
    assert sorted(speaker for fold in nemo.FOLDS["test_speakers"] for speaker in fold) == sorted(genders)
    assert all({genders[speaker] for speaker in fold} == {"female", "male"} for fold in nemo.FOLDS["test_speakers"])


def test_ravdess_folds_are_emobox_s(shared):
    published = []
    for number in range(1, 7):
        path = shared / "interop/emobox/ravdess" / f"fold_{number}" / f"ravdess_test_fold_{number}.jsonl"
        published.append(sorted({json.loads(line)["key"][-2:] for line in path.read_text().splitlines()}))
    assert ravdess.FOLDS["test_speakers"] == published


def test_tables_of_emotions_use_the_project_s_words():
    for table in (ravdess.EMOTIONS, emodb.EMOTIONS, cremad.EMOTIONS):
        assert set(table.values()) <= set(EMOTIONS)
    for corpus in CORPORA.values():
        get_vocabulary(corpus.vocabulary)


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "cremad", "nemo", "speech"])
def test_real_speech_is_not_said_to_be_clipped(shared, corpus):
    files = sorted(path for path in (shared / "corpora" / corpus).rglob("*") if path.suffix in (".flac", ".opus"))
    for path in random.Random(0).sample(files, 20):
        assert "clipped" not in (remark_on(Recording(path)) or "")
