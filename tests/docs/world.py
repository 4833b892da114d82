"""What a reader of the pages has: corpora, recordings, predictions of another toolkit. All of it is small, and made here."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakehub import offline_hub, snapshot
from sound import write
from tiny import save_speech_encoder, save_text_encoder, save_whisper

from gemoclap.audio import SAMPLE_RATE, load_audio
from gemoclap.corpora.manifest import Utterance, write_manifest
from gemoclap.corpora.synthetic import generate

EMODB = {"W": "angry", "L": "sad", "E": "angry", "A": "happy", "F": "happy", "T": "sad", "N": "neutral"}
"""Letter of EmoDB -> emotion of a synthetic voice that stands in for it."""
RAVDESS = {1: "neutral", 2: "neutral", 3: "happy", 4: "sad", 5: "angry", 6: "sad", 7: "angry", 8: "happy"}
NEMO = {
    "neutral": "neutral", "sadness": "sad", "happiness": "happy", "anger": "angry", "fear": "sad", "surprised": "happy",
}  # fmt: skip
CREMAD = {"ANG": "angry", "DIS": "angry", "FEA": "sad", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
IEMOCAP = {"ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad"}

FAMILIES = {
    "facebook/hubert-base-ls960": "hubert", "microsoft/wavlm-large": "wavlm",
    "facebook/wav2vec2-large": "wav2vec2", "facebook/data2vec-audio-large": "data2vec-audio",
    "facebook/hubert-large-ll60k": "hubert",
}  # fmt: skip
"""Encoders that the pages take from the hub."""


class Voices:
    """Clips of a few synthetic voices, handed out one after another, no two the same."""

    def __init__(self, folder: Path) -> None:
        rows = generate(folder, speakers=6, sentences=1, takes=1)
        self.sounds = {(row.speaker, row.emotion): load_audio(row.path) for row in rows}
        self.speakers = sorted({str(row.speaker) for row in rows})
        self.random = np.random.default_rng(0)

    def sound(self, speaker: int, emotion: str) -> np.ndarray:
        """Return a voice in an emotion, ``(T,)``, with a noise of its own that nobody hears."""
        found = self.sounds[self.speakers[speaker % len(self.speakers)], emotion]
        return found + 1e-3 * self.random.standard_normal(len(found))

    def save(self, path: Path, speaker: int = 0, emotion: str = "angry") -> Path:
        return write(path, self.sound(speaker, emotion), SAMPLE_RATE)


def plant_ravdess(root: Path, voices: Voices) -> None:
    for actor, (code, emotion) in itertools.product(range(1, 7), RAVDESS.items()):
        voices.save(root / f"Actor_{actor:02}" / f"03-01-{code:02}-01-01-01-{actor:02}.wav", actor, emotion)


def plant_emodb(root: Path, voices: Voices) -> None:
    for speaker, (letter, emotion) in itertools.product(("03", "08", "09", "10", "11", "12"), EMODB.items()):
        voices.save(root / "wav" / f"{speaker}a01{letter}a.wav", int(speaker), emotion)


def plant_nemo(root: Path, voices: Voices) -> None:
    rows = [("file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age")]
    speakers = (("EB0", "female"), ("KS0", "female"), ("SM0", "male"), ("IC0", "female"), ("MK0", "male"))
    for number, ((speaker, gender), (word, emotion)) in enumerate(itertools.product(speakers, NEMO.items())):
        name = f"{speaker}_{word}_{number}.wav"
        voices.save(root / "samples" / name, number // len(NEMO), emotion)
        rows.append((name, word, "Tak.", "tak", speaker, gender, "30"))
    with (root / "data.tsv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(rows)


def plant_cremad(root: Path, voices: Voices) -> None:
    for actor, (code, emotion) in itertools.product((1001, 1002, 1003, 1004), CREMAD.items()):
        voices.save(root / "AudioWAV" / f"{actor}_DFA_{code}_XX.wav", actor, emotion)


def plant_iemocap(root: Path, voices: Voices) -> None:
    for session in range(1, 6):
        dialogue = f"Ses0{session}F_impro01"
        turns = [(letter, code) for letter in "FM" for code in IEMOCAP]
        labels = root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        labels.parent.mkdir(parents=True)
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
        for number, (letter, code) in enumerate(turns):
            name = f"{dialogue}_{letter}{number:03}"
            level = 2 + number % 3
            lines.append(
                f"[6.2901 - 8.2357]\t{name}\t{code}\t[{level}.0000, {level}.5000, 2.5000]\n"
                f"C-E2:\tNeutral;\t()\nA-E3:\tval {level}; act {level}; dom  2;\t()\n"
            )
            clip = root / f"Session{session}" / "sentences" / "wav" / dialogue / f"{name}.wav"
            voices.save(clip, 2 * session + (letter == "M"), IEMOCAP[code])
        labels.write_text("\n".join(lines))


PLANT = {
    "ravdess": plant_ravdess, "emodb": plant_emodb, "nemo": plant_nemo, "cremad": plant_cremad, "iemocap": plant_iemocap,
}  # fmt: skip


def save_clips(folder: Path, voices: Voices, count: int, seconds: float = 1.0) -> list[Utterance]:
    """Write recordings of two speakers to a folder, and return their rows."""
    rows = []
    for number in range(count):
        emotion = ("angry", "sad", "happy", "neutral")[number % 4]
        path = folder / f"call_{number:02}.wav"
        write(path, voices.sound(number % 2, emotion)[: round(seconds * SAMPLE_RATE)], SAMPLE_RATE)
        rows.append(Utterance(f"call_{number:02}", str(path), speaker="AB"[number % 2], emotion=emotion))
    return rows


def two_channels(voices: Voices) -> np.ndarray:
    """Return a call of two speakers, one in each channel, ``(T, 2)``; they speak one after another."""
    first, second = voices.sound(0, "angry"), voices.sound(1, "sad")
    left, right = np.concatenate([first, 0 * second]), np.concatenate([0 * first, second])
    return np.stack([left, right], axis=1)


def save_recordings(place: Path, voices: Voices) -> None:
    """Write what the pages call clip.wav, call.wav, calls/ and so on; where they are lists, as manifests."""
    voices.save(place / "clip.wav")
    write(place / "call.wav", two_channels(voices), SAMPLE_RATE)
    write(place / "meeting.flac", two_channels(voices).mean(axis=1), SAMPLE_RATE)
    turns = "SPEAKER meeting 1 0.1 1.0 <NA> <NA> Ann <NA> <NA>\nSPEAKER meeting 1 1.2 0.8 <NA> <NA> Bob <NA> <NA>\n"
    (place / "meeting.rttm").write_text(turns)
    write_manifest(save_clips(place / "calls", voices, 4), place / "calls.jsonl")
    write_manifest(save_clips(place / "meetings", voices, 4), place / "meetings.jsonl")
    write_manifest(save_clips(place / "recordings", voices, 6), place / "recordings.jsonl")
    save_clips(place / "more_calls", voices, 2)
    labelled = save_clips(place / "labelled", voices, 8)
    for name in ("other", "test"):
        write_manifest(labelled, place / f"{name}.jsonl")


def save_other_toolkits(rows: list[Utterance], path: Path) -> None:
    """Write the predictions of a toolkit that always hears the first emotion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "prediction", "truth", "speaker"])
        table.writerows([row.id, rows[0].emotion, row.emotion, f"{row.corpus}/{row.speaker}"] for row in rows)


def save_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put tiny encoders into the hub's cache, under the names of those that the pages take from it."""
    offline_hub(cache, monkeypatch)
    for name in ("base", "tiny", "tiny.en"):
        save_whisper(snapshot(cache, f"openai/whisper-{name}"), seed=len(name))
    for name, family in FAMILIES.items():
        # A frame every 20 ms, as in the real ones; a shorter hop would make long sequences.
        save_speech_encoder(snapshot(cache, name), family, "layer", conv_stride=(8, 8, 5))
    save_text_encoder(snapshot(cache, "roberta-base"))


def prepared(place: Path, *corpora: str) -> Iterator[tuple[str, Path]]:
    """Plant corpora; yield each with the folder that its page names."""
    voices = Voices(place / "made")
    save_recordings(place, voices)
    for name in corpora:
        root = {"ravdess": place / "path" / "to" / "RAVDESS", "iemocap": place / "IEMOCAP_full_release"}
        folder = root.get(name, place / name)
        PLANT[name](folder, voices)
        yield name, folder
    shutil.rmtree(place / "made")
