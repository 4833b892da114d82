"""Settings of EMS: intensity model, pre-training and comparison. Plain dataclasses, as in the rest of this folder."""

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
from gemoclap.config.data import refuse_perturbed_copies
from gemoclap.config.probe import ProbeHeadSettings, ProbeTrainSettings
from gemoclap.errors import GemoclapError

FOLLOW_INTENSITY = ("intensity", "shifted")
"""Values of `masking` that use intensity curves."""
ScoreHead = Literal["none", "intensity_track", "speech"]
SCORE_HEADS: tuple[ScoreHead, ...] = get_args(ScoreHead)
"""What the score head of pre-training predicts the intensity from; see `PretrainModelSettings`."""
BELOW_1: Limit = (lambda value: 0 <= value < 1, "0 or more and below 1")


@dataclass
class RankingSettings:
    """Ranking: strength of emotion of each utterance ([S] = from a secondary source, [C] = our choice).

    Args:
        neutral: The class without emotion. All other classes are ranked above it.
        cost: Weight in the loss of a pair in the wrong order [C; S: 0.1].
        max_pairs: Largest number of ordered pairs, and of similar pairs, to draw for each emotion [C].
        center_speakers: Subtract each speaker's mean from the features first, to remove the effect of voice and microphone
            [C]. Set it to false if each speaker of the corpus shows only one emotion.
    """

    neutral: str = "neutral"
    cost: float = 1e-3
    max_pairs: int = 20000
    center_speakers: bool = True

    def __post_init__(self) -> None:
        check_limits("ranking", self, cost=POSITIVE, max_pairs=AT_LEAST_1)


@dataclass
class IntensityModelSettings:
    """Intensity model: the network that predicts the intensity of each frame.

    Args:
        size: Size of the network: strengthnet = that of StrengthNet [S]; small = trains in minutes on a CPU [C].
        options: Fields of the model's config to change, such as {dropout: 0.1}.
    """

    size: Literal["small", "strengthnet"] = "small"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_limits("model", self)


@dataclass
class IntensitySettings:
    """All settings for training the intensity model.

    Args:
        data: Utterances and classes. Development speakers are ranked and scored, but not trained on.
        ranking: How the strength of each utterance is measured.
        model: The network.
        train: Training of the network [C; S: Adam 1e-4, batch 64, until the loss on held-out utterances has long stopped
            falling].
        cache: Where audio and functionals are kept.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(dev_speakers=2))
    ranking: RankingSettings = field(default_factory=RankingSettings)
    model: IntensityModelSettings = field(default_factory=IntensityModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        _refuse_supervised(self.train)
        refuse_perturbed_copies(self.data, "pretrain intensity")


@dataclass
class PretrainModelSettings:
    """Encoder and masking ([S] = from a secondary source, [C] = our choice).

    Args:
        encoder: Encoder to pre-train: mockingjay (Transformer; predicts hidden spans), or npc (convolutional; predicts each
            frame from its neighbours).
        size: Size of the encoder: paper = that of its paper [S]; small = pre-trains in about an hour on two cores [C].
        options: Fields of the encoder's config to change, such as {mask_size: 7} for npc.
        masking: Which frames are hidden. intensity = where the emotion is most intense (EMS); shifted = as intensity, but
            all masks of a clip are moved by a random distance (a control); random = random spans for mockingjay (the
            original method), or for npc as many wide masks as EMS uses, at random places (a control); none = plain npc.
        reading: How intensity changes npc's mask, which is not published: wide = a wider mask around the most intense
            frames; spans = hide mockingjay's spans in the input [C].
        score_head: Second head that learns the intensity. speech = predict it from the encoder's output for the speech [C];
            it is our own, and the one measured to help (docs/results_older.md). intensity_track = as in the EMS authors' code
            [S] (mockingjay predicts it in a second pass over the masked intensity without speech; npc's second output is
            compared with features + intensity). none = no second head. true means speech, false means none.
        add_intensity: Add the masked intensity to every dimension of mockingjay's masked input, as in the EMS authors' code
            [S]. The saved encoder takes speech without it [C].
        intensity_weight: Weight of the score head's loss; the loss of the frames has weight 1 [S: 1].
        intensity_model: Folder of an intensity model, RUN/model of 'gemoclap pretrain intensity'. Needed by
            masking=intensity and shifted, by a score head, and by add_intensity.
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
        """Whether pre-training uses the intensity curves of the clips."""
        return self.masking in FOLLOW_INTENSITY or self.score_head != "none" or self.add_intensity


OWN_OPTIMIZER: dict[str, dict[str, float]] = {
    "mockingjay": {"lr": 2e-4, "weight_decay": 0.01},
    "npc": {"lr": 1e-3, "weight_decay": 0.0},
}
"""Default optimiser settings of each encoder: AdamW 2e-4 for mockingjay, Adam 1e-3 for npc [S; C: 0.01]."""


@dataclass
class PretrainTrainSettings(TrainSettings):
    """Training of an encoder without labels.

    Args:
        epochs: Number of passes over the speech [C].
        batch_size: Utterances per batch, in each process. 32 is npc's [S]; for mockingjay it is our choice [C; S: 4 x 4].
        lr: Peak learning rate of Adam. null = the encoder's default: 2e-4 for mockingjay, 1e-3 for npc [S].
        weight_decay: Decoupled weight decay (AdamW). null = the encoder's default: 0.01 for mockingjay [S: that there is
            one; C: how much], 0 for npc, which is plain Adam [S].
        warmup_epochs: Length of the linear warm-up of the learning rate, in epochs. The default is 7 % of the training, as
            for mockingjay [S]; for npc [C].
    """

    epochs: int = 20
    batch_size: int = 32
    lr: float | None = None  # type: ignore[assignment]
    weight_decay: float | None = None  # type: ignore[assignment]
    warmup_epochs: float = 1.4


@dataclass
class PretrainSettings:
    """All settings of self-supervised pre-training.

    Args:
        speech: Manifests, and folders of audio files. Labels are not used.
        leave_out: Corpora and speakers (corpus/speaker) to leave out of pre-training, because a probe will test on them.
        held_out: Share of the utterances that are not trained on. The loss is measured on them after each epoch.
        audio: How each clip is prepared. The intensity model gets the clips prepared this way too, whatever its own
            training used.
        model: Encoder and masking.
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
        """Whether pre-training uses the intensity curves of the clips."""
        return self.model.needs_intensity


@dataclass
class ProbeStage:
    """Probe of the pre-trained encoders.

    Args:
        manifests: Manifests with labels to probe on. Their corpora are left out of pre-training.
        head: Linear head, as in 'gemoclap probe'.
        train: Training of the head, as in 'gemoclap probe'. The seeds are those of the comparison.
    """

    manifests: list[str] = field(default_factory=list)
    head: ProbeHeadSettings = field(default_factory=ProbeHeadSettings)
    train: ProbeTrainSettings = field(default_factory=ProbeTrainSettings)


@dataclass
class FinetuneStage:
    """Fine-tuning that starts from each pre-trained encoder.

    Args:
        manifests: Manifests with labels to fine-tune on. Their corpora are left out of pre-training.
        methods: Methods as in 'gemoclap crossval', except egemaps_svm. Each is cross-validated separately.
        seeds: Seeds of the comparison to fine-tune. null = all.
        train: Training, as in 'gemoclap crossval'. The seed is that of the comparison.
    """

    manifests: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=lambda: ["emo_clap"])
    seeds: list[int] | None = None
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass
class CompareSettings:
    """Comparison of ways to pre-train ([S] = from a secondary source, [C] = our choice).

    Args:
        speech: Manifests, and folders of audio files, to pre-train on. Labels are not used.
        held_out: Share of the utterances that are not trained on. The loss is measured on them after each epoch.
        intensity_model: Folder of an intensity model, RUN/model of 'gemoclap pretrain intensity'.
        size: Size of all encoders, as in 'pretrain ems', except that NPC's kernel is 17 [C].
        variants: Ways to pre-train that are compared; null = all. The report shows only the variants given here. log_mel has
            no encoder. mockingjay, npc5 and npc7 (5 and 7 are NPC's mask size) are plain pre-training. A suffix adds EMS's
            masks (_ems), our score head (_score) or both (_ems_score); _source is EMS with the additions of its authors'
            code. mockingjay_untrained and npc5_untrained keep their initial weights. mockingjay_shifted, npc5_random and
            npc7_random are controls of EMS's masks.
        seeds: Seeds of initialisation, masks, batch order and heads. Every variant is pre-trained with each seed. The report
            shows only the seeds given here.
        lr: Learning rate of mockingjay and of npc, in place of train.lr. The defaults are the papers' [S].
        audio: How each clip is prepared.
        train: Pre-training; the same for all variants. Where weight_decay is null, each encoder has its own.
        probe: A linear head on the frozen encoders.
        finetune: GEmo-CLAP fine-tuned from the encoders.
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
        """Refuse options that a comparison sets itself; they would otherwise be ignored without a word."""
        decided = {
            # A default is no request: settings made in Python have it whether or not somebody asked for it.
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
    """Return the settings with the encoder's default rate and weight decay in place of null; see `PretrainTrainSettings`."""
    own, lr, decay = OWN_OPTIMIZER[encoder], train.lr, train.weight_decay
    lr, decay = own["lr"] if lr is None else lr, own["weight_decay"] if decay is None else decay
    return replace(train, lr=lr, weight_decay=decay)


def _refuse_supervised(train: TrainSettings) -> None:
    if train.chunk_size is not None:
        raise GemoclapError("train.chunk_size is for contrastive losses; leave it null and lower train.batch_size")
    if train.encoder_lr is not None:
        raise GemoclapError("train.encoder_lr is for encoders that come pre-trained; leave it null and set train.lr")
