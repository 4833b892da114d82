"""Settings of the data and of the caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, check_limits


@dataclass
class AudioSettings:
    """What is done to a clip before any encoder sees it; saved with the model and applied again at prediction.

    Args:
        max_seconds: Longer clips are trimmed to their first seconds [P]; null keeps everything.
        trim_silence_db: Cut head and tail quieter than this many dB below the clip's loudest frame; null leaves
            silence [C].
    """

    max_seconds: float | None = 14.0
    trim_silence_db: float | None = 35.0


@dataclass
class DataSettings:
    """Which utterances, which classes, who is tested.

    Args:
        manifest: JSONL manifest written by 'gemoclap prepare'.
        vocabulary: Named set of emotions (iemocap4, ravdess8, ...); null takes the corpus's usual one, or every label
            of a manifest that is of no known corpus.
        emotions: The classes, spelt out, instead of a named vocabulary.
        merges: Label -> class, applied first, with 'emotions' ({excited: happy}).
        folds: auto = as the corpus is usually divided, else kfold; session = leave one session out; speaker = leave one
            speaker out; kfold = k groups of speakers stratified by emotion; lists = 'test_speakers'; files =
            'fold_files'.
        n_folds: Number of folds for kfold, and kfold instead of auto; null = the corpus's own number, or 5.
        test_speakers: One list of test speakers a fold, for 'lists'.
        fold_files: Folder with EmoBox's fold_1, fold_2, ... for 'files'.
        dev_speakers: Speakers taken out of training for development in every fold; 0 = no development set.
        allow_speaker_overlap: Let a speaker, or the same audio under two ids, stand on both sides of a split; the report
            then says so of speakers in its first line.
        audio: What is done to every clip.
    """

    manifest: str | None = None
    vocabulary: str | None = None
    emotions: list[str] | None = None
    merges: dict[str, str] = field(default_factory=dict)
    folds: Literal["auto", "session", "speaker", "kfold", "lists", "files"] = "auto"
    n_folds: int | None = None
    test_speakers: list[list[str]] | None = None
    fold_files: str | None = None
    dev_speakers: int = 0
    allow_speaker_overlap: bool = False
    audio: AudioSettings = field(default_factory=AudioSettings)

    def __post_init__(self) -> None:
        check_limits("data", self, dev_speakers=AT_LEAST_0)


@dataclass
class CacheSettings:
    """What is computed once and kept, for speed; but for the precision of the frames it changes no number.

    Args:
        folder: Where caches on disk lie, for all runs; null is $GEMOCLAP_CACHE, or else gemoclap in the user's own cache
            folder. They may be deleted at any time.
        audio: Decoded audio in memory (115 MB an hour), or on disk, mapped into memory.
        frames: What comes out of a frozen front end and of the frozen layers above it: on the GPU, in memory, on disk,
            auto = the first of these with room enough, or never = computed again in each step.
        frames_dtype: Precision it is kept in; auto = that of the training.
        layers: Pooled layers of an encoder that is frozen as a whole: on disk, for all runs, in memory, or never.
    """

    folder: str | None = None
    audio: Literal["memory", "disk"] = "memory"
    frames: Literal["auto", "device", "memory", "disk", "never"] = "auto"
    frames_dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    layers: Literal["disk", "memory", "never"] = "disk"

    def __post_init__(self) -> None:
        check_limits("cache", self)
