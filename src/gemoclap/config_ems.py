"""The settings of EMS: the intensity model, and pre-training with it; plain dataclasses, as in `config.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gemoclap.config import (
    AT_LEAST_0,
    AT_LEAST_1,
    POSITIVE,
    AudioSettings,
    CacheSettings,
    DataSettings,
    Limit,
    TrainSettings,
    check_limits,
)
from gemoclap.errors import GemoclapError

BELOW_1: Limit = (lambda value: 0 <= value < 1, "0 or more and below 1")


@dataclass
class RankingSettings:
    """The rankers that give each training utterance its strength.

    Args:
        neutral: The class without emotion, which all others are ranked above.
        cost: Of a pair that is ranked wrongly [C; S: 0.1].
        max_pairs: Ordered pairs, and similar ones, drawn for each emotion at most [C].
        center_speakers: Take each speaker's mean from the features first, so that voice and microphone do not count [C].
            For a corpus in which speakers show one emotion each, set false.
    """

    neutral: str = "neutral"
    cost: float = 1e-3
    max_pairs: int = 20000
    center_speakers: bool = True

    def __post_init__(self) -> None:
        check_limits("ranking", self, cost=POSITIVE, max_pairs=AT_LEAST_1)


@dataclass
class IntensityModelSettings:
    """The network that spreads the strength over the frames.

    Args:
        size: strengthnet = as large as StrengthNet's [S]; small = trained by a CPU in minutes [C].
        options: Fields of the model's config instead of those of the size ({dropout: 0.1}).
    """

    size: Literal["small", "strengthnet"] = "small"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_limits("model", self)


@dataclass
class IntensitySettings:
    """All settings of a training of the intensity model.

    Args:
        data: Which utterances, which classes; the development speakers are ranked and scored, not trained on.
        ranking: Where the strengths come from.
        model: The network.
        train: Its training [C; S: Adam 1e-4, batch 64, until the loss on held-out utterances has long stopped falling].
        cache: Where audio and functionals are kept.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(dev_speakers=2))
    ranking: RankingSettings = field(default_factory=RankingSettings)
    model: IntensityModelSettings = field(default_factory=IntensityModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        _refuse_chunks(self.train)


@dataclass
class PretrainModelSettings:
    """What is pre-trained, and what is hidden from it.

    Args:
        encoder: mockingjay (Transformer, predicts hidden spans) or npc (convolutions, predicts a frame from around it).
        size: paper = the papers' sizes [S]; small = pre-trained by two cores in about an hour [C].
        options: Fields of the encoder's config instead of those of the size ({mask_size: 7} for npc).
        masking: intensity = where the emotion is most intense (EMS); random = for mockingjay plain, for npc a control
            that treats as many frames, drawn at random, as EMS does; none = plain npc.
        reading: How intensity enters npc's mask, which is not public: wide = a wider mask around the most intense frames,
            or spans = mockingjay's spans hidden at the input [C].
        score_head: Also predict the intensity curve.
        intensity_weight: Of that beside the frames [C].
        intensity_model: Folder that 'gemoclap pretrain intensity' wrote (RUN/model); needed where intensity is.
    """

    encoder: Literal["mockingjay", "npc"] = "mockingjay"
    size: Literal["small", "paper"] = "small"
    options: dict[str, Any] = field(default_factory=dict)
    masking: Literal["intensity", "random", "none"] = "intensity"
    reading: Literal["wide", "spans"] = "wide"
    score_head: bool = False
    intensity_weight: float = 1.0
    intensity_model: str | None = None

    def __post_init__(self) -> None:
        check_limits("model", self, intensity_weight=AT_LEAST_0)
        if self.encoder == "mockingjay" and self.masking == "none":
            raise GemoclapError("model.masking: mockingjay learns from hidden spans alone; choose intensity or random")


def _training() -> TrainSettings:
    return TrainSettings(epochs=20, batch_size=32, lr=2e-4, weight_decay=0.01, warmup_epochs=1.4, schedule="cosine")


@dataclass
class PretrainSettings:
    """All settings of a self-supervised pre-training.

    Args:
        speech: Manifests, and folders of audio files; labels are not looked at.
        leave_out: Corpora and speakers (corpus/speaker) that are not heard: those that a probe will test on.
        held_out: Share of the utterances whose loss is measured after each epoch and not learnt from.
        audio: What is done to every clip; as the intensity model was trained with, if there is one.
        model: The encoder and the masking.
        train: Adam with decoupled weight decay, 2e-4, 7 % warm-up, clip 5 [S].
        cache: Where audio and intensity curves are kept.
    """

    speech: list[str] = field(default_factory=list)
    leave_out: list[str] = field(default_factory=list)
    held_out: float = 0.03
    audio: AudioSettings = field(default_factory=AudioSettings)
    model: PretrainModelSettings = field(default_factory=PretrainModelSettings)
    train: TrainSettings = field(default_factory=_training)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        check_limits("", self, held_out=BELOW_1)
        _refuse_chunks(self.train)
        if self.needs_intensity and self.model.intensity_model is None:
            raise GemoclapError(
                "model.intensity_model: masking by intensity and the score head need one; train it with 'gemoclap pretrain "
                "intensity', or set model.masking to random (npc: none) and model.score_head to false"
            )

    @property
    def needs_intensity(self) -> bool:
        """Whether the intensity curves of the clips are looked at."""
        return self.model.masking == "intensity" or self.model.score_head


def _refuse_chunks(train: TrainSettings) -> None:
    if train.chunk_size is not None:
        raise GemoclapError("train.chunk_size is for contrastive losses; leave it null and lower train.batch_size")
