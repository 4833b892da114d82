"""A synthetic corpus of emotional speech, to try everything on a machine without recordings. No human spoke it.

Speakers are parametric voices (`gemoclap.corpora.voice`). Emotions are those acoustic correlates on which reviews of acted and
natural speech agree: Murray and Arnott 1993 (J. Acoust. Soc. Am. 93:1097, table I), Banse and Scherer 1996 (J. Pers.
Soc. Psychol. 70:614), Juslin and Laukka 2003 (Psychol. Bull. 129:770, table 7), Scherer 2003 (Speech Commun. 40:227,
table 2). Raised formants in a smile are from Tartter 1980 (Percept. Psychophys. 27:24). The directions of the changes are
theirs. The sizes are our choice [C]. Each speaker and each take varies them, so that the classes overlap, as with people.

A score on this corpus says that the code works. It says nothing about emotion in people.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from gemoclap.audio import SAMPLE_RATE
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.corpora.voice import CONSONANTS, VOWELS, Delivery, speak
from gemoclap.errors import GemoclapError
from gemoclap.files import write_json

VERSION = 1
"""Version of the sound. It is raised when the same settings sound different. A folder of another version is not used."""

FOLDS = {"folds": "kfold", "n_folds": 4}
"""Default folds: four groups of speakers [C]."""

MANIFEST, SETTINGS, README = "manifest.jsonl", "settings.json", "README.txt"

NOTICE = """\
SYNTHETIC SPEECH. No human spoke any of this.

gemoclap computed these clips from formulas: parametric voices say meaningless syllables
({speakers} speakers, 4 emotions, {sentences} sentences, {takes} takes, seed {seed}). The emotions are acoustic
correlates taken from the literature (pitch, loudness, tempo, voice quality); the module
gemoclap.corpora.synthetic names the sources and the sizes.

The corpus shows that the software works. A score on it says nothing about the emotions of
people, and a model trained on it must not be used on them.
"""


@dataclass(frozen=True)
class Correlates:
    """How a voice differs from the neutral voice of its speaker. If all values are zero, it is neutral.

    Attributes
    ----------
    f0 : mean pitch, semitones.
    f0_range : size of pitch accents, octaves (1 doubles it).
    final : pitch movement at the end, semitones.
    rate : syllables a second, octaves.
    level : intensity, dB.
    tilt : source attenuation at 3 kHz, dB; negative is more high-frequency energy.
    onset : rise time of vowels, octaves.
    breath : aspiration noise, octaves.
    open_quotient : of the glottal cycle, absolute.
    formants : shift of all formants, octaves.
    jitter : cycle-to-cycle irregularity, octaves.
    """

    f0: float = 0.0
    f0_range: float = 0.0
    final: float = 0.0
    rate: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    onset: float = 0.0
    breath: float = 0.0
    open_quotient: float = 0.0
    formants: float = 0.0
    jitter: float = 0.0


EMOTIONS: dict[str, Correlates] = {
    "angry": Correlates(
        f0=3.5, f0_range=0.6, final=-1.5, rate=0.18, level=6.0, tilt=-6.0, onset=-1.2, breath=-0.6,
        open_quotient=-0.10, formants=0.0, jitter=0.5,
    ),
    "happy": Correlates(
        f0=3.8, f0_range=0.7, final=3.0, rate=0.15, level=3.0, tilt=-2.0, onset=-0.3, breath=0.0,
        open_quotient=0.0, formants=0.06, jitter=0.0,
    ),
    "neutral": Correlates(),
    "sad": Correlates(
        f0=-1.5, f0_range=-0.8, final=-1.0, rate=-0.25, level=-5.0, tilt=6.0, onset=0.8, breath=1.3,
        open_quotient=0.12, formants=-0.02, jitter=0.3,
    ),
}  # fmt: skip
"""The correlates of each emotion, relative to the neutral voice of the same speaker."""

HABIT = Correlates(
    f0=0.0, f0_range=0.15, final=0.5, rate=0.07, level=1.5, tilt=1.2, onset=0.2, breath=0.3,
    open_quotient=0.02, formants=0.0, jitter=0.3,
)  # fmt: skip
"""Standard deviation between speakers, for every emotion."""

MOOD = Correlates(
    f0=0.9, f0_range=0.25, final=0.9, rate=0.07, level=1.7, tilt=1.6, onset=0.3, breath=0.35,
    open_quotient=0.025, formants=0.012, jitter=0.3,
)  # fmt: skip
"""Standard deviation between the takes of one speaker in one emotion."""


@dataclass(frozen=True)
class SyntheticSpeaker:
    """One voice.

    It has F0 in Hz, a factor for the vocal tract (1 is an average man), habits and expressiveness, each ``(11,)`` in the order
    of `Correlates`, and the level of the microphone in dB.
    """

    name: str
    gender: str
    f0: float
    tract: float
    habit: np.ndarray
    expressiveness: np.ndarray
    microphone: float


def draw_speaker(index: int, seed: int) -> SyntheticSpeaker:
    """Return speaker number `index`. Women and men alternate. F0 and tract lengths follow Peterson and Barney 1952."""
    rng = np.random.default_rng([seed, 0, index])
    gender = ("female", "male")[index % 2]
    low, high = (188.0, 228.0) if gender == "female" else (104.0, 132.0)
    tract = rng.normal(1.17, 0.025) if gender == "female" else rng.normal(1.0, 0.03)
    count = len(astuple(MOOD))
    return SyntheticSpeaker(
        name=f"s{index + 1:02d}",
        gender=gender,
        f0=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        tract=float(tract),
        habit=np.array(astuple(HABIT)) * rng.standard_normal(count),
        expressiveness=rng.uniform(0.75, 1.3) * rng.uniform(0.7, 1.3, count),
        microphone=float(rng.normal(0, 4)),
    )


def draw_sentence(index: int, seed: int) -> list[str]:
    """Return the syllables of sentence number `index`. They are the same for every speaker and emotion."""
    rng = np.random.default_rng([seed, 1, index])
    count = int(rng.integers(6, 9))
    return [
        str(c + v) for c, v in zip(rng.choice(list(CONSONANTS), count), rng.choice(list(VOWELS), count), strict=True)
    ]


def draw_correlates(speaker: SyntheticSpeaker, emotion: str, rng: np.random.Generator) -> Correlates:
    """Return the correlates of a take: habit + strength of this take * expressiveness * those of the emotion + mood."""
    strength = rng.uniform(0.7, 1.3)
    felt = strength * speaker.expressiveness * np.array(astuple(EMOTIONS[emotion]))
    mood = np.array(astuple(MOOD)) * rng.standard_normal(len(felt))
    return Correlates(*(speaker.habit + felt + mood).tolist())


def delivery_of(speaker: SyntheticSpeaker, correlates: Correlates) -> Delivery:
    """Return the parameters of the voice: an average neutral voice, changed by `correlates`, with the speaker's vocal tract."""
    return Delivery(
        f0=speaker.f0 * 2 ** (correlates.f0 / 12),
        f0_range=3.2 * 2**correlates.f0_range,
        final=-1.0 + correlates.final,
        declination=2.5,
        rate=4.9 * 2**correlates.rate,
        onset=0.03 * 2**correlates.onset,
        tilt=max(1.0, 10.0 + correlates.tilt),
        open_quotient=float(np.clip(0.6 + correlates.open_quotient, 0.35, 0.9)),
        breath=0.05 * 2**correlates.breath,
        jitter=0.008 * 2**correlates.jitter,
        shimmer=0.05 * 2**correlates.jitter,
        tract=speaker.tract * 2**correlates.formants,
        accent=4.0 * 2 ** (correlates.f0_range / 2),
    )


def synthesize(speaker: SyntheticSpeaker, emotion: str, sentence: list[str], rng: np.random.Generator) -> np.ndarray:
    """Return one clip ``(T,)``, float64 within [-1, 1] at 16 kHz: a sentence between two short silences, in room noise."""
    correlates = draw_correlates(speaker, emotion, rng)
    speech = speak(sentence, delivery_of(speaker, correlates), rng)
    head, tail = (rng.uniform(0.05, 0.2, 2) * SAMPLE_RATE).astype(int)
    signal_to_noise = rng.uniform(25, 40)
    speech = np.concatenate([np.zeros(head), speech, np.zeros(tail)])
    clip = speech + 10 ** (-signal_to_noise / 20) * rng.standard_normal(len(speech))
    level = -27.0 + correlates.level + speaker.microphone
    return clip * min(10 ** (level / 20), 0.95 / float(np.abs(clip).max()))


def generate(
    root: str | os.PathLike,
    *,
    speakers: int = 12,
    sentences: int = 5,
    takes: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Utterance]:
    """Write the corpus into `root`, or use the finished one with the same settings that is there; return its rows.

    The folder is written completely or not at all. It has ``wav/*.wav`` (16 kHz, 16 bits), `MANIFEST`, `SETTINGS` and `README`.
    The same settings give the same bytes. A clip does not depend on the number of other clips.

    Parameters
    ----------
    root : a folder that does not exist, is empty, or has this corpus.
    speakers, sentences, takes : there are ``speakers * 4 * sentences * takes`` clips, 480 by default.
    seed : seed of all random numbers.
    progress : called with (finished clips, all clips) after each clip.

    Raises
    ------
    GemoclapError : a size is below 1, the seed is negative, or `root` has something else.
    """
    root = Path(root).resolve()
    sizes = {"speakers": speakers, "sentences": sentences, "takes": takes}
    for name, value in sizes.items():
        if value < 1:
            raise GemoclapError(f"synthetic corpus: {name} must be at least 1, not {value}")
    if seed < 0:
        raise GemoclapError(f"synthetic corpus: the seed must not be negative, but is {seed}")
    settings = {"corpus": "synthetic", "version": VERSION, **sizes, "seed": seed}
    if _is_taken(root):
        return _reuse(root, settings)

    root.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".partial", dir=root.parent))
    try:
        utterances = list(_write_clips(beside / "wav", sizes, seed, progress))
        write_manifest(utterances, beside / MANIFEST)
        (beside / README).write_text(NOTICE.format(seed=seed, **sizes), encoding="utf-8")
        write_json(beside / SETTINGS, settings)
        beside.chmod(0o755)
        try:
            os.replace(beside, root)
        except OSError:
            if not _is_taken(root):
                raise
            # Meanwhile another process has filled the folder. Its corpus is used, or refused if it has other settings.
            return _reuse(root, settings)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return read_manifest(root / MANIFEST)


def parse(root: str | os.PathLike, progress: Callable[[int, int], None] | None = None) -> list[Utterance]:
    """Return the rows of a generated corpus with any settings. If `root` is absent or empty, `generate` the corpus first.

    Raises
    ------
    GemoclapError : `root` has something else, or the corpus in it lacks files.
    """
    root = Path(root).resolve()
    return _reuse(root, None) if _is_taken(root) else generate(root, progress=progress)


def _is_taken(root: Path) -> bool:
    return root.exists() and not (root.is_dir() and not any(root.iterdir()))


def _reuse(root: Path, settings: dict | None) -> list[Utterance]:
    """Return the rows of the complete corpus in `root`, if there is one with these settings (None: with any settings)."""
    try:
        found = json.loads((root / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("corpus") != "synthetic":
        raise GemoclapError(f"{root}: holds something other than the synthetic corpus; name a new or empty folder")
    wanted = settings or {"version": VERSION}
    other = [f"{name} {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
    if other:
        raise GemoclapError(f"{root}: holds a synthetic corpus of {'; '.join(other)}; name another folder or delete it")
    utterances = read_manifest(root / MANIFEST)
    missing = [utterance.path for utterance in utterances if not Path(utterance.path).is_file()]
    if missing:
        raise GemoclapError(f"{missing[0]}: is gone from the synthetic corpus; delete {root} and generate it again")
    return utterances


def _write_clips(
    folder: Path, sizes: dict[str, int], seed: int, progress: Callable[[int, int], None] | None
) -> Iterator[Utterance]:
    folder.mkdir()
    voices = [draw_speaker(index, seed) for index in range(sizes["speakers"])]
    texts = [draw_sentence(index, seed) for index in range(sizes["sentences"])]
    cells = list(product(enumerate(voices), enumerate(EMOTIONS), enumerate(texts), range(sizes["takes"])))
    for done, ((v, voice), (e, emotion), (t, text), take) in enumerate(cells, 1):
        clip = synthesize(voice, emotion, text, np.random.default_rng([seed, 2, v, e, t, take]))
        name = f"{voice.name}_{emotion}_{t + 1:02d}_{take + 1}"
        path = folder / f"{name}.wav"
        soundfile.write(path, clip, SAMPLE_RATE, subtype="PCM_16")
        yield Utterance(
            id=name,
            path=str(path),
            corpus="synthetic",
            speaker=voice.name,
            gender=voice.gender,
            emotion=emotion,
            text=" ".join(text),
        )
        if progress is not None:
            progress(done, len(cells))
