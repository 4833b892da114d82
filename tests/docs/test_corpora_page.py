"""docs/corpora.md: the trees that it draws are made as they stand there, and its commands are run on them."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from pages import Block, blocks_of, text_of
from sound import write_tone
from walking import Walk
from world import Voices, plant_iemocap, plant_ravdess

from gemoclap.cli import main
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import read_manifest

PAGE = "docs/corpora.md"
VALUES = {
    "file_id": "EB0_anger_1.wav", "emotion": "anger", "speaker_id": "EB0", "gender": "female", "age": "30",
    "ActorID": "1001", "Sex": "Male", "Age": "51",
    "FileName": "MSP-PODCAST_0001_0008.wav", "EmoClass": "A", "EmoClass_Major": "Angry", "EmoAct": "5.0", "EmoVal": "2.0",
    "EmoDom": "4.0", "SpkrID": "7", "Gender": "Male", "Split_Set": "Train",
}  # fmt: skip
"""What stands in a column that the page names."""
IEMOCAP = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
"""
MELD = """Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
1,Hi.,Ross,joy,positive,0,0,3,19,"00:14:38,127","00:14:40,378"
"""
CONTENTS = {
    "dialog/EmoEvaluation/Ses01F_impro01.txt": IEMOCAP,
    "dialog/transcriptions/Ses01F_impro01.txt": "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n",
    "Transcripts/MSP-PODCAST_0001_0008.txt": "Excuse me.\n",
    "0011/0011.txt": "0011_000401\tExcuse me.\tAngry\n",
    "train_sent_emo.csv": MELD,
    "tabulatedVotes.csv": '"","A","D","F","H","N","S","fileName","numResponses"\n"100001",6,0,1,0,3,0,"1001_DFA_ANG_XX",10\n',
}
"""End of a path -> what is in the file, where the page does not name the columns."""


def sections() -> dict[str, tuple[Block, Block]]:
    """Return the name of each corpus with a section -> the block of its command, and that of its tree."""
    blocks = blocks_of(PAGE)
    return {
        found[1]: (block, following)
        for block, following in zip(blocks, blocks[1:], strict=False)
        if (found := re.match(r"gemoclap prepare (\w+) \S+ -o \1\.jsonl\n$", block.text)) and not following.is_shell
    }


def drawn(tree: Block) -> dict[str, list[str]]:
    """Return the paths of a tree, with the columns that are named beside each. A path that begins further to the right goes on
    below what stands there in the line above."""
    found: dict[str, list[str]] = {}
    above = ""
    for line in tree.text.splitlines():
        path, _, words = line.strip().partition("  ")
        path = above[: len(line) - len(line.lstrip())] + path
        above = line if not line.startswith(" ") else above
        if "..." not in path:
            found[path] = [
                word.strip() for word in words.partition(":")[0].split(",") if re.fullmatch(r" *\w+ *", word)
            ]
    return found


def plant(folder: Path, tree: Block) -> list[Path]:
    """Make every file of a tree; return the clips."""
    clips = []
    for name, columns in drawn(tree).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = next((text for end, text in CONTENTS.items() if name.endswith(end)), None)
        if path.suffix in (".wav", ".mp4"):
            clips.append(
                write_tone(path.with_suffix(".wav"), seconds=0.3)
            )  # videos need a package: MELD's can be wavs, too
        elif content is not None:
            path.write_text(content, encoding="utf-8")
        else:
            assert columns, f"{tree.where}: nobody says what is in {name}"
            separator = "\t" if path.suffix == ".tsv" else ","
            rows = [columns, [VALUES.get(column, "x") for column in columns]]
            path.write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8")
    return clips


def test_every_corpus_has_a_section() -> None:
    assert sections().keys() == CORPORA.keys() - {"synthetic"}


@pytest.mark.parametrize("name", sorted(sections()))
def test_a_corpus_is_read_from_the_tree_of_the_page(name: str, tmp_path: Path) -> None:
    command, tree = sections()[name]
    clips = plant(tmp_path, tree)
    walk = Walk(PAGE, tmp_path)
    walk.go(command.line, command.line)
    (row,) = read_manifest(tmp_path / f"{name}.jsonl")
    assert [Path(row.path).resolve()] == [clip.resolve() for clip in clips]
    assert row.emotion and row.speaker and row.corpus == name
    said = rf"{name}\.jsonl: 1 utterances?, 1 speakers?; check it with: gemoclap inspect {name}\.jsonl"
    assert re.match(said, walk.printed[command.line])
    shown = StringIO()
    with redirect_stdout(shown):
        assert main(["inspect", str(tmp_path / f"{name}.jsonl")]) == 0, shown.getvalue()


def test_checking_exporting_and_other_toolkits(tmp_path: Path) -> None:
    """Exports first, since the page's other toolkits then have something to be read from."""
    walk = Walk(PAGE, tmp_path)
    voices = Voices(tmp_path / "made")
    plant_ravdess(tmp_path / "ROOT", voices)
    plant_iemocap(tmp_path / "IEMOCAP_full_release", voices)
    first = next(block for block in blocks_of(PAGE) if "--vocabulary ravdess8" in block.text)
    second = next(block for block in blocks_of(PAGE) if block.text.startswith("gemoclap inspect m.jsonl"))
    walk.go(first.line, first.line + 1)
    assert "no faults" in walk.printed[first.line + 1]
    assert main(["prepare", "iemocap", str(tmp_path / "IEMOCAP_full_release"), "-o", str(tmp_path / "m.jsonl")]) == 0
    walk.go(second.line, second.line + 1)
    rows = read_manifest(tmp_path / "m.jsonl")
    exporting = next(block for block in blocks_of(PAGE) if block.text.startswith("gemoclap convert"))
    walk.go(exporting.line, exporting.line + 2)
    bring_other_toolkits(tmp_path)
    importing = next(block for block in blocks_of(PAGE) if block.text.startswith("gemoclap prepare emobox"))
    (tmp_path / "m.jsonl").rename(tmp_path / "first.jsonl")
    walk.go(importing.line, importing.line + 3)
    names = {row.id for row in rows}
    ravdess = {row.id for row in read_manifest(tmp_path / "ravdess.jsonl")}
    for manifest, expected in (
        ("emobox", ravdess),
        ("s3prl", {one for one in names if "Ses01" in one}),
        ("audformat", names),
    ):
        assert {row.id for row in read_manifest(tmp_path / f"{manifest}.jsonl")} == expected, manifest
    assert {row.emotion for row in read_manifest(tmp_path / "m.jsonl")} == {row.emotion for row in rows}


def bring_other_toolkits(place: Path) -> None:
    """Put manifests of other toolkits where the page has them: our own exports, and S3PRL's metadata of a session."""
    folds = ["--data.folds", "kfold", "--data.n_folds", "2"]
    assert main(["convert", str(place / "ravdess.jsonl"), "emobox", "-o", str(place / "data" / "ravdess"), *folds]) == 0
    (place / "EmoBox").mkdir()
    (place / "ROOT").rename(place / "EmoBox" / "ravdess")
    shutil.copytree(place / "exported" / "database", place / "DATABASE")
    shutil.copy(place / "exported" / "table.csv", place / "table.csv")
    (place / "DIR").mkdir()
    folder = place / "meta_data" / "Session1"
    folder.mkdir(parents=True)
    rows = [json.loads(line) for line in (place / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    listed = [
        {
            "path": f"Session1/sentences/wav/Ses01F_impro01/{row['id']}.wav",
            "label": row["emotion"][:3],
            "speaker": "Ses01F",
        }
        for row in rows
        if row["id"].startswith("Ses01")
    ]
    for name, part in (("train", listed[:4]), ("test", listed[4:])):
        text = json.dumps({"labels": {"neu": 0, "hap": 1, "ang": 2, "sad": 3}, "meta_data": part})
        (folder / f"{name}_meta_data.json").write_text(text)


def test_the_table_of_corpora_is_that_of_the_package() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|[^|]*\|$", text_of(PAGE), re.MULTILINE)
    assert dict(rows) == {corpus.name: corpus.vocabulary for corpus in CORPORA.values()}
