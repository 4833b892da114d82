"""Settings of the data and of the caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class AudioSettings:
    """How each clip is prepared before it reaches the encoder; saved with the model and repeated at prediction.

    Args:
        max_seconds: Use only this many seconds from the start of a longer clip [P]. null uses the whole clip.
        trim_silence_db: Cut off the start and the end of a clip where they are more than this many dB below its loudest
            frame [C]. null cuts nothing.
    """

    max_seconds: float | None = 14.0
    trim_silence_db: float | None = 35.0


@dataclass
class DataSettings:
    """Data: utterances, classes and folds.

    Args:
        manifest: JSONL manifest written by 'gemoclap prepare'.
        vocabulary: Named set of classes to predict, such as iemocap4 or ravdess8. null uses the corpus's default set. For a
            corpus that gemoclap does not know, null uses every label in the manifest.
        emotions: List of classes to predict, in place of a named vocabulary. A label in another case, or another word for the
            class that 'prepare' knows, belongs to it: the label angry to the class Anger. Another word does not if some label
            is the class itself: then the manifest keeps the two apart.
        merges: Labels to rename before training, such as {excited: happy}.
        folds: How speakers are divided into test folds. auto = the corpus's standard folds, or kfold where there are none;
            session = leave one session out; speaker = leave one speaker out; kfold = groups of speakers with similar
            shares of each emotion; lists = the speakers in 'test_speakers'; files = the folds in 'fold_files'; partitions =
            one fold from the partitions that the corpus comes with (train, dev, test).
        n_folds: Number of folds for kfold. With folds=auto, a number here selects kfold. null = the corpus's standard
            number, or 5.
        test_speakers: Test speakers of each fold, one list per fold. For folds=lists.
        fold_files: Folder with EmoBox's fold_1, fold_2, ... For folds=files.
        test_partitions: Partitions to test on, such as [test1]. For folds=partitions. null = all that begin with test.
        dev_speakers: Number of speakers to set aside as a development set in every fold. They are not trained on. 0 = no
            development set.
        allow_speaker_overlap: Allow a speaker, or the same audio under two ids, on both sides of a split. If a speaker is
            shared, the report says so in its first line.
        perturbed_copies: Number of perturbed copies of each training utterance to train on as well [C]. The first has another
            speed, room, microphone, noise, telephone line or codec. The second only has noise added, and in the third the
            background is removed. The fourth is made as the first is, and so on. Test and development speakers are not
            perturbed. Every method that trains on labels uses the copies, with these exceptions: egemaps_svm does not, and
            gmp_tl does not in the steps 'cluster' and 'pretrain'.
        audio: How each clip is prepared.
    """

    manifest: str | None = None
    vocabulary: str | None = None
    emotions: list[str] | None = None
    merges: dict[str, str] = field(default_factory=dict)
    folds: Literal["auto", "session", "speaker", "kfold", "lists", "files", "partitions"] = "auto"
    n_folds: int | None = None
    test_speakers: list[list[str]] | None = None
    fold_files: str | None = None
    test_partitions: list[str] | None = None
    dev_speakers: int = 0
    allow_speaker_overlap: bool = False
    perturbed_copies: int = 0
    audio: AudioSettings = field(default_factory=AudioSettings)

    def __post_init__(self) -> None:
        check_limits("data", self, dev_speakers=AT_LEAST_0, perturbed_copies=AT_LEAST_0)


OF_FOLDS = ("folds", "n_folds", "test_speakers", "fold_files", "test_partitions")
"""Settings that have no effect where nothing is divided into folds."""


def idle_folds(data: DataSettings) -> list[str]:
    """Return the settings of folds that are not the default, for a command that makes no folds."""
    default = DataSettings()
    return [f"data.{name}" for name in OF_FOLDS if getattr(data, name) != getattr(default, name)]


def refuse_perturbed_copies(data: DataSettings, command: str) -> None:
    """Raise a GemoclapError if copies are asked for in a command that would ignore them."""
    if data.perturbed_copies:
        raise GemoclapError(f"data.perturbed_copies has no effect in '{command}'; leave it out")


@dataclass
class CacheSettings:
    """Caches: what is computed once and reused. Results stay the same, unless frames_dtype lowers the precision.

    Args:
        folder: Folder for caches on disk, shared by all runs. null = $GEMOCLAP_CACHE if it is set, otherwise a folder
            'gemoclap' in the user's cache folder. It can be deleted at any time.
        audio: Where to keep decoded audio: memory (115 MB per hour of audio), or disk (mapped into memory).
        frames: Where to keep the output of the encoder's frozen front end and frozen layers. device = on the GPU; auto =
            the first of device, memory and disk that has enough room; never = compute it again in every step.
        frames_dtype: Precision of the kept frames. auto = the precision of the training.
        layers: Where to keep the pooled layers of a fully frozen encoder: disk (shared by all runs), memory, or never.
    """

    folder: str | None = None
    audio: Literal["memory", "disk"] = "memory"
    frames: Literal["auto", "device", "memory", "disk", "never"] = "auto"
    frames_dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    layers: Literal["disk", "memory", "never"] = "disk"

    def __post_init__(self) -> None:
        check_limits("cache", self)
