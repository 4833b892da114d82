"""One rule for what audio lies below a folder, whichever command asks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemoclap.cli.predicting import clips_of
from gemoclap.corpora import emodb, prepare
from gemoclap.corpora.layout import audio_below, list_audio
from gemoclap.corpora.manifest import AUDIO_SUFFIXES
from gemoclap.errors import GemoclapError
from gemoclap.recipes.pretrain import read_source


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Audio that counts: here.wav, sub/there.FLAC, linked/far.ogg, one.mp3 (a link to a file); and much that does not."""
    root, far = tmp_path / "root", tmp_path / "far"
    for folder in (root / "sub", root / ".git", far):
        folder.mkdir(parents=True)
    names = (
        "here.wav",
        "sub/there.FLAC",
        "._here.wav",
        ".hidden.wav",
        ".git/inside.wav",
        "notes.txt",
        "table.csv",
        "x",
    )
    for name in names:
        (root / name).touch()
    (far / "far.ogg").touch()
    (root / "linked").symlink_to(far)
    (root / "one.mp3").symlink_to(far / "far.ogg")
    (root / "sub" / "loop").symlink_to(root)
    (root / "gone.wav").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe.wav")
    return root


def test_links_are_followed_and_what_is_no_audio_is_counted(tree: Path) -> None:
    found = audio_below(tree)
    assert [str(path.relative_to(tree)) for path in found.files] == [
        "here.wav",
        "linked/far.ogg",
        "one.mp3",
        "sub/there.FLAC",
    ]
    assert {why: len(names) for why, names in found.passed_over.items()} == {
        "hidden": 3, "not audio by its suffix": 3, "link to nothing": 1, "no file but a pipe, device or socket": 1,
        "folder that is linked twice": 1,
    }  # fmt: skip


def test_a_folder_keeps_its_own_name_before_that_of_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.wav").touch()
    (tmp_path / "a").symlink_to("z")
    assert audio_below(tmp_path).files == [tmp_path / "z" / "a.wav"]


def test_predict_pretrain_and_prepare_see_the_same(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = [str(path) for path in audio_below(tree).files]
    for rows in (clips_of([str(tree)]), read_source(tree)):
        assert [row.path for row in rows] == expected
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and said[0] == said[1]
    assert "4 audio files; passed over: " in said[0] and "3 hidden" in said[0] and "pipe.wav" in said[0]


def test_all_that_is_read_is_listed(tmp_path: Path) -> None:
    for number, suffix in enumerate(AUDIO_SUFFIXES):
        (tmp_path / f"{number}{suffix.upper()}").touch()
    assert len(list_audio(tmp_path)) == len(AUDIO_SUFFIXES) == len(set(AUDIO_SUFFIXES))
    assert {".w64", ".au", ".caf", ".aifc", ".oga", ".aac", ".webm", ".wma"} <= set(AUDIO_SUFFIXES)


def test_a_folder_without_audio_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "._a.wav").touch()
    with pytest.raises(GemoclapError, match=r"no audio files below it.*passed over: 1 hidden \(\._a\.wav\)"):
        list_audio(tmp_path)


def test_second_downloads_and_other_names_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [
        "03a01Fa.wav",
        "03a01Fa.mp3",
        "03a01Fa (1).wav",
        "03a01Wa(2).wav",
        "song.wav",
        "readme.txt",
        "._03a01Nc.wav",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert [row.id for row in emodb.parse(tmp_path)] == ["03a01Fa"]
    (said,) = [record.getMessage() for record in caplog.records]
    for part in ("1 clip;", "2 called like a second download", "1 audio of another name (song.wav)", "1 hidden",
                 "1 not audio by its suffix (readme.txt)", "1 second under the same name (03a01Fa.mp3)"):  # fmt: skip
        assert part in said
    list_audio(tmp_path)
    assert "2 of the files are called like second downloads (03a01Fa (1).wav, 03a01Wa(2).wav)" in caplog.text


def test_a_corpus_of_links_keeps_the_names_of_the_links(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "f00d1").touch()
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "03a01Fa.wav").symlink_to("../blobs/f00d1")
    (row,) = prepare("EmoDB", tmp_path)
    assert (row.id, Path(row.path).name) == ("03a01Fa", "03a01Fa.wav")


def test_a_misspelt_corpus_is_hinted_at_in_any_case(tmp_path: Path) -> None:
    for word in ("RAVDES", "ravdes", "Ravdess8"):
        with pytest.raises(GemoclapError, match="did you mean 'ravdess'"):
            prepare(word, tmp_path)


def test_many_skipped_files_are_counted_by_suffix_and_few_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number}.{suffix}" for suffix, count in (("txt", 9), ("pdf", 5), ("json", 4)) for number in range(count)]
    names += [
        "a.zip",
        "b.md",
        "c.tex",
        "d.png",
        "Makefile",
        "03a01Fa.wav",
        *(f"song{number}.mp3" for number in range(7)),
    ]
    for name in names:
        (tmp_path / name).touch()
    assert [row.id for row in emodb.parse(tmp_path)] == ["03a01Fa"]
    [line] = [record.getMessage() for record in caplog.records]
    assert "23 not audio by its suffix (.txt 9, .pdf 5, .json 4 and 5 more)" in line
    assert "7 audio of another name (song0.mp3, song1.mp3, song2.mp3 and 4 more)" in line
    assert line.startswith(f"{tmp_path}: 1 clip; ")
