"""The settings of EMS: intensity model, pre-training, probe, and the comparison; plain dataclasses, as those of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

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
    check_seeds,
)
from gemoclap.errors import GemoclapError

LOG_MEL = "log_mel"
"""Name of the baseline without an encoder: the mean log-mel spectrum of a clip, 80 bands, through the same head.

S3PRL's ``fbank_no_cmvn``, not its ``fbank``: that one takes each band's mean over the clip away, so that every clip has
the same pooled vector, zero (s3prl issue 316) [S]. Without its deltas, whose mean over a clip telescopes to a difference
of the clip's ends [C]. What is left is the long-term spectrum and the level, which a strong voice raises."""
FOLLOW_INTENSITY = ("intensity", "shifted")
"""Maskings that look at intensity curves."""
ScoreHead = Literal["none", "intensity_track", "speech"]
SCORE_HEADS: tuple[ScoreHead, ...] = get_args(ScoreHead)
"""What a second head of pre-training learns the intensity from; see `PretrainModelSettings`."""
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
        _refuse_supervised(self.train)


@dataclass
class PretrainModelSettings:
    """What is pre-trained, and what is hidden from it.

    Args:
        encoder: mockingjay (Transformer, predicts hidden spans) or npc (convolutions, predicts a frame from around it).
        size: paper = the papers' sizes [S]; small = pre-trained by two cores in about an hour [C].
        options: Fields of the encoder's config instead of those of the size ({mask_size: 7} for npc).
        masking: intensity = where the emotion is most intense (EMS); shifted = its masks, each clip's moved round the
            clip by a random distance: a control; random = for mockingjay plain, for npc a control that treats as many
            frames, drawn at random, as EMS does; none = plain npc.
        reading: How intensity enters npc's mask, which is not public: wide = a wider mask around the most intense frames,
            or spans = mockingjay's spans hidden at the input [C].
        score_head: Also learn the intensity. speech = predict it from what the encoder makes of the speech [C]: ours, the one
            measured to help (docs/results.md). intensity_track = as the code of EMS's authors [S]: mockingjay predicts
            it in a second run that is given the masked intensity alone and no speech; npc's second output is held
            against features + intensity. none = do not. true is speech, false none.
        add_intensity: Add the masked intensity to every dimension of mockingjay's masked input, as the code of EMS's
            authors does [S]. The encoder that is kept hears speech without it [C].
        intensity_weight: Of the score head's loss beside that of the frames [S: 1].
        intensity_model: Folder that 'gemoclap pretrain intensity' wrote (RUN/model); needed where intensity is.
    """

    encoder: Literal["mockingjay", "npc"] = "mockingjay"
    size: Literal["small", "paper"] = "small"
    options: dict[str, Any] = field(default_factory=dict)
    masking: Literal["intensity", "shifted", "random", "none"] = "intensity"
    reading: Literal["wide", "spans"] = "wide"
    score_head: ScoreHead | bool = "none"
    add_intensity: bool = False
    intensity_weight: float = 1.0
    intensity_model: str | None = None

    def __post_init__(self) -> None:
        check_limits("model", self, intensity_weight=AT_LEAST_0)
        if isinstance(self.score_head, bool):
            self.score_head = "speech" if self.score_head else "none"
        if self.encoder == "mockingjay" and self.masking == "none":
            raise GemoclapError(
                "model.masking: mockingjay learns from hidden spans alone; choose intensity, shifted or random"
            )
        if self.encoder == "npc" and self.add_intensity:
            raise GemoclapError(
                "model.add_intensity: is mockingjay's; for npc choose model.score_head intensity_track, or leave it out"
            )

    @property
    def needs_intensity(self) -> bool:
        """Whether the intensity curves of the clips are looked at."""
        return self.masking in FOLLOW_INTENSITY or self.score_head != "none" or self.add_intensity


OWN_OPTIMIZER: dict[str, dict[str, float]] = {
    "mockingjay": {"lr": 2e-4, "weight_decay": 0.01},
    "npc": {"lr": 1e-3, "weight_decay": 0.0},
}
"""What each encoder is pre-trained with where nothing else is asked for: AdamW 2e-4, and Adam 1e-3 [S; C: 0.01]."""


@dataclass
class PretrainTrainSettings(TrainSettings):
    """The training of an encoder without labels.

    Args:
        epochs: Passes over the speech [C].
        batch_size: Utterances a batch and process; npc 32 [S], mockingjay [C; S: 4 x 4].
        lr: Peak learning rate of Adam; null: the encoder's own, mockingjay 2e-4, npc 1e-3 [S].
        weight_decay: Decoupled weight decay; null: the encoder's own, mockingjay 0.01 [S: that there is one; C: how much],
            npc 0, which is plain Adam [S].
        warmup_epochs: Linear warm-up, here 7 % of the passes, as for mockingjay [S]; for npc [C].
    """

    epochs: int = 20
    batch_size: int = 32
    lr: float | None = None  # type: ignore[assignment]
    weight_decay: float | None = None  # type: ignore[assignment]
    warmup_epochs: float = 1.4


@dataclass
class PretrainSettings:
    """All settings of a self-supervised pre-training.

    Args:
        speech: Manifests, and folders of audio files; labels are not looked at.
        leave_out: Corpora and speakers (corpus/speaker) that are not heard: those that a probe will test on.
        held_out: Share of the utterances whose loss is measured after each epoch and not learnt from.
        audio: What is done to every clip; the intensity model, if there is one, hears it so, however it was trained.
        model: The encoder and the masking.
        train: mockingjay: Adam with decoupled weight decay, 2e-4, 7 % warm-up, clip 5; npc: Adam 1e-3, batch 32 [S].
        cache: Where audio and intensity curves are kept.
    """

    speech: list[str] = field(default_factory=list)
    leave_out: list[str] = field(default_factory=list)
    held_out: float = 0.03
    audio: AudioSettings = field(default_factory=AudioSettings)
    model: PretrainModelSettings = field(default_factory=PretrainModelSettings)
    train: TrainSettings = field(default_factory=PretrainTrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        check_limits("", self, held_out=BELOW_1)
        _refuse_supervised(self.train)
        self.train = _with_own_optimizer(self.train, self.model.encoder)
        if self.needs_intensity and self.model.intensity_model is None:
            raise GemoclapError(
                "model.intensity_model: masking by intensity, a score head and model.add_intensity need one; train it with "
                "'gemoclap pretrain intensity', or set model.masking to random (npc: none), model.score_head to none and "
                "model.add_intensity to false"
            )

    @property
    def needs_intensity(self) -> bool:
        """Whether the intensity curves of the clips are looked at."""
        return self.model.needs_intensity


@dataclass
class ProbeHeadSettings:
    """The linear head.

    Args:
        layers: A learned 'weighted' sum of all layers of the encoder [S], or the 'last' one.
        rescale: Divide the features by one number, their root mean square over the training part, so that encoders of
            any scale learn as fast [C; S: not done].
        hidden_dim: Width between the two linear layers [S].
    """

    layers: Literal["weighted", "last"] = "weighted"
    rescale: bool = True
    hidden_dim: int = 256

    def __post_init__(self) -> None:
        check_limits("head", self, hidden_dim=AT_LEAST_1)


@dataclass
class ProbeTrainSettings:
    """The training of the head.

    Args:
        steps: Optimiser steps; the last epoch is gone through to its end [C; S: 30,000]. On development speakers of
            EmoDB more of them gained nothing, nor did 10,000 at a rate of 1e-4; on nEMO log_mel rose by 3 points to 5,000.
        batch_size: Utterances a step [S: 4, with the gradients of 8 batches added].
        lr: Learning rate of Adam [C; S: 1e-4], constant [S].
        clip_norm: Largest gradient norm [S]; null leaves gradients alone.
        class_weights: Weights of the classes in the cross-entropy: none [S], or balanced = inverse to their frequency.
        select: Which epoch is reported: the last [C], or the one with the best UAR on the development speakers (needs
            data.dev_speakers) [S: the best accuracy on its development set].
        seeds: Of initialisation and batch order, one head each. Reports show the first; seeds.json and seeds.csv have
            the mean over all with its interval.
    """

    steps: int = 2000
    batch_size: int = 32
    lr: float = 1e-3
    clip_norm: float | None = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    select: Literal["last", "dev"] = "last"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])

    def __post_init__(self) -> None:
        limits = {"steps": AT_LEAST_1, "batch_size": AT_LEAST_1, "lr": POSITIVE, "clip_norm": POSITIVE}
        check_limits("train", self, **limits)
        check_seeds("train.seeds", self.seeds)


@dataclass
class ProbeSettings:
    """All settings of a probe.

    Args:
        data: Which utterances, which classes, who is tested.
        encoders: PLACE or NAME=PLACE, the name being for folders and tables. Places are log_mel (the baseline without an
            encoder), compact and other untrained ones (their weights are drawn from the first seed), hub ids and folders;
            the first is what the others are compared with.
        head: What is put on the encoders.
        train: How it is trained.
        cache: Where audio and pooled layers are kept.
    """

    data: DataSettings = field(default_factory=DataSettings)
    encoders: list[str] = field(default_factory=lambda: [LOG_MEL])
    head: ProbeHeadSettings = field(default_factory=ProbeHeadSettings)
    train: ProbeTrainSettings = field(default_factory=ProbeTrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        if not self.encoders:
            raise GemoclapError(f"no encoder to probe; give hub ids, folders or {LOG_MEL} with --encoders")


@dataclass
class ProbeStage:
    """What the pre-trained encoders are probed on.

    Args:
        manifests: Labelled speech; its corpora are left out of pre-training.
        head: As in a probe.
        train: As in a probe, but for the seeds, which are the comparison's.
    """

    manifests: list[str] = field(default_factory=list)
    head: ProbeHeadSettings = field(default_factory=ProbeHeadSettings)
    train: ProbeTrainSettings = field(default_factory=ProbeTrainSettings)


@dataclass
class FinetuneStage:
    """What GEmo-CLAP is fine-tuned on, starting from each pre-trained encoder.

    Args:
        manifests: Labelled speech; its corpora are left out of pre-training.
        methods: As 'gemoclap crossval' takes them, but for egemaps_svm; each is a cross-validation of its own.
        seeds: Those of the comparison's that are fine-tuned; null: all.
        train: As in a cross-validation, but for the seed.
    """

    manifests: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=lambda: ["emo_clap"])
    seeds: list[int] | None = None
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass
class CompareSettings:
    """All settings of a comparison of ways to pre-train.

    Args:
        speech: Manifests, and folders of audio files, to pre-train on; labels are not looked at.
        held_out: Share of the utterances whose loss is measured after each epoch and not learnt from.
        intensity_model: Folder that 'gemoclap pretrain intensity' wrote (RUN/model).
        size: Of all encoders, as in 'pretrain ems', but for NPC's kernel, which is 17 [C].
        variants: What to compare; null: everything there is. The report shows those that are named. log_mel has no encoder;
            mockingjay, npc5 and npc7 (its mask size) are plain pre-training, and with _ems, _score or _ems_score behind them
            EMS's masks, our score head, or both; with _source EMS has the additions of its authors' code instead.
            mockingjay_untrained and npc5_untrained stay as they were initialised; mockingjay_shifted,
            npc5_random and npc7_random are controls of EMS's masks.
        seeds: Of initialisation, masks, batch order and heads; every variant is pre-trained with each, and the report shows
            those that are named.
        lr: Learning rate of each kind of encoder, in place of train.lr; the defaults are the papers' [S].
        audio: What is done to every clip.
        train: Of pre-training: the same for all variants, but for the weight decay where it is null.
        probe: A linear head on the frozen encoders.
        finetune: GEmo-CLAP from the encoders.
        cache: Where audio, curves and pooled layers are kept.
    """

    speech: list[str] = field(default_factory=list)
    held_out: float = 0.03
    intensity_model: str | None = None
    size: Literal["small", "paper"] = "small"
    variants: list[str] | None = None
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    lr: dict[str, float] = field(default_factory=lambda: {name: own["lr"] for name, own in OWN_OPTIMIZER.items()})
    audio: AudioSettings = field(default_factory=AudioSettings)
    train: PretrainTrainSettings = field(default_factory=PretrainTrainSettings)
    probe: ProbeStage = field(default_factory=ProbeStage)
    finetune: FinetuneStage = field(default_factory=FinetuneStage)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        check_limits("", self, held_out=BELOW_1)
        _refuse_supervised(self.train)
        check_seeds("seeds", self.seeds)
        for seed in self.finetune.seeds or []:
            if seed not in self.seeds:
                raise GemoclapError(f"finetune.seeds: {seed} is none of the seeds pre-trained with, {self.seeds}")
        if set(self.lr) != {"mockingjay", "npc"} or not all(
            isinstance(value, float) and value > 0 for value in self.lr.values()
        ):
            raise GemoclapError(f"lr: give both learning rates, '{{mockingjay: 2e-4, npc: 1e-3}}', not {self.lr}")
        self._refuse_what_it_decides()

    def _refuse_what_it_decides(self) -> None:
        """Refuse options of the other recipes that a comparison sets itself, which would be passed over in silence."""
        decided = {
            # Not the defaults, which a training in Python has whether or not they were asked for.
            "train.lr": (self.train.lr not in (None, OWN_OPTIMIZER["mockingjay"]["lr"], TrainSettings().lr), "lr"),
            "train.seed": (self.train.seed != 0, "seeds"),
            "probe.train.seeds": (self.probe.train.seeds != ProbeTrainSettings().seeds, "seeds"),
            "finetune.train.seed": (self.finetune.train.seed != 0, "seeds"),
            "train.select": (self.train.select != "last", None),
            "probe.train.select": (self.probe.train.select != "last", None),
            "finetune.train.select": (self.finetune.train.select != "last", None),
        }
        for name, (is_given, instead) in decided.items():
            if is_given:
                remedy = f"give {instead}" if instead else "a comparison has no development speakers"
                raise GemoclapError(f"{name}: is not for a comparison; leave it out, {remedy}")


def _with_own_optimizer(train: TrainSettings, encoder: str) -> TrainSettings:
    """Return the settings with the encoder's own rate and weight decay where they are null, as `PretrainTrainSettings` says."""
    own, lr, decay = OWN_OPTIMIZER[encoder], train.lr, train.weight_decay
    lr, decay = own["lr"] if lr is None else lr, own["weight_decay"] if decay is None else decay
    return replace(train, lr=lr, weight_decay=decay)


def _refuse_supervised(train: TrainSettings) -> None:
    if train.chunk_size is not None:
        raise GemoclapError("train.chunk_size is for contrastive losses; leave it null and lower train.batch_size")
    if train.encoder_lr is not None:
        raise GemoclapError("train.encoder_lr is for encoders that come pre-trained; leave it null and set train.lr")
