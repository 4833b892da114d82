"""The same audio on both sides of a fold is refused as a shared speaker is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small import complaint, crossval, run

from gemoclap.config import AudioSettings, DataSettings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.folds import Fold
from gemoclap.data.same_audio import refuse_same_audio
from gemoclap.errors import GemoclapError

SETTINGS = DataSettings(manifest="m.jsonl")


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    """Noise 0 to 3, 0 again in another format, and two of silence; all of other speakers."""
    names = ["0.wav", "1.wav", "2.wav", "3.wav", "copy.flac", "silent.wav", "still.wav"]
    noise = [(0.1 * np.random.default_rng(n).standard_normal(4000) * 32767).astype(np.int16) for n in range(4)]
    for name, samples in zip(names, [*noise, noise[0], 0 * noise[0], 0 * noise[0]], strict=True):
        soundfile.write(tmp_path / name, samples, 16000)
    return [Utterance(name, str(tmp_path / name), speaker=name) for name in names]


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_copy_on_the_other_side_is_refused_by_name(rows: list[Utterance], on_disk: bool, tmp_path: Path) -> None:
    store = AudioStore(AudioSettings(), tmp_path / "cache" if on_disk else None)
    first, one, two, three, copy, silent, still = rows
    good = [Fold("a", (first, copy, silent), (one,), (two, still)), Fold("b", (two, one), (), (first, copy))]
    assert refuse_same_audio(good, store, SETTINGS) == []
    for bad, said in (
        (Fold("c", (first, one), (), (copy, two)), "c: the same audio is trained on and tested on"),
        (Fold("d", (two,), (first,), (copy, one)), "d: the same audio is developed on and tested on"),
        (Fold("e", (first,), (copy,), ()), "e: the same audio is trained on and developed on"),
    ):
        with pytest.raises(GemoclapError) as caught:
            refuse_same_audio([*good, bad], store, SETTINGS)
        for part in (said, "'0.wav'", "copy.flac", "1 time(s)", "inspect m.jsonl", "--data.allow_speaker_overlap true"):
            assert part in str(caught.value)
        (told,) = refuse_same_audio([*good, bad], store, replace(SETTINGS, allow_speaker_overlap=True))
        assert told.startswith(said)


def test_stretches_of_one_file_are_compared_too(rows: list[Utterance]) -> None:
    store = AudioStore(AudioSettings(trim_silence_db=None))
    begin = replace(rows[0], id="begin", start=0.0, end=0.1)
    again, rest = replace(rows[4], id="again", start=0.0, end=0.1), replace(rows[4], id="rest", start=0.1)
    assert refuse_same_audio([Fold("a", (begin,), (), (rest,))], store, SETTINGS) == []
    with pytest.raises(GemoclapError, match="'begin'"):
        refuse_same_audio([Fold("a", (begin,), (), (rest, again))], store, SETTINGS)


@pytest.mark.parametrize("method", ["emo_clap", "egemaps_svm"])
def test_crossval_trains_nothing_on_it(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture, method: str
) -> None:
    """Every speaker says one clip of every other's: whatever the folds, it is on both sides."""
    rows = read_manifest(small_manifest)
    shutil.copy(rows[0].path, tmp_path / "copy.wav")
    speakers = sorted({str(row.speaker) for row in rows})
    copies = [
        replace(rows[0], id=f"copy{n}", speaker=name, path=str(tmp_path / "copy.wav"))
        for n, name in enumerate(speakers)
    ]
    write_manifest([*rows, *copies], tmp_path / "m.jsonl")
    said = complaint(capsys, *crossval(tmp_path / "m.jsonl", method, tmp_path / "run"))
    assert "fold_1: the same audio is trained on and tested on" in said
    assert not (tmp_path / "run").exists()
    if method == "egemaps_svm":
        allowed = crossval(tmp_path / "m.jsonl", method, tmp_path / "run", "--data.allow_speaker_overlap", "true")
        assert run(*allowed) == 0
        assert "beware: fold_1: the same audio is trained on and tested on" in capsys.readouterr().out
