"""Every setting of the project, as plain dataclasses; jsonargparse turns them into options, YAML keys and their help.

The defaults are for the compact encoder, which needs no download; `configs/paper.yaml` has the paper's.
`configs/base.yaml` lists all of them with the same defaults. Marks: [P] the paper's, [S] a secondary source's, [C] our
choice; see docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from gemoclap.errors import GemoclapError

METHODS = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
"""The contrastive methods, in the paper's order."""
HEADS = ("ce", "am_softmax", "multi_task")
"""Plain heads on the same speech encoder, trained alike: what contrast with prompts is to be compared with."""
TRAINED = (*METHODS, *HEADS, "gmp_tl")
"""All methods with gradient descent."""
BASELINES = ("egemaps_svm",)
"""Methods fitted without gradient descent, evaluated in the same folds."""
TITLES = {
    "emo_clap": "Emo-CLAP",
    "sl_gemo_clap": "SL-GEmo-CLAP",
    "ml_gemo_clap": "ML-GEmo-CLAP",
    "ce": "Cross-entropy",
    "am_softmax": "AM-Softmax",
    "multi_task": "Cross-entropy, emotion and gender",
    "gmp_tl": "GMP-TL",
    "egemaps_svm": "eGeMAPS + SVM",
}
"""How the papers write the methods, and reports the baselines."""
OF_PROMPTS = (
    "text_encoder", "freeze_text", "text_pooling", "emotion_prompt", "gender_prompt", "initial_temperature", "max_temperature",
)  # fmt: skip
"""Settings of a model that mean nothing to one without prompts."""
OF_PROJECTION = ("projection_dim", "projection_dropout")
"""Settings of a model that mean nothing to one without a projection."""


def meaningless_to_heads(projects: bool) -> tuple[str, ...]:
    """Return the settings of a model that mean nothing to one with a plain head, whether or not it projects."""
    return OF_PROMPTS if projects else OF_PROMPTS + OF_PROJECTION


Limit = tuple[Callable[[float], bool], str]
POSITIVE: Limit = (lambda value: value > 0, "above 0")
AT_LEAST_0: Limit = (lambda value: value >= 0, "0 or more")
AT_LEAST_1: Limit = (lambda value: value >= 1, "1 or more")
INSIDE_0_1: Limit = (lambda value: 0 < value < 1, "above 0 and below 1")
SHARE: Limit = (lambda value: 0 <= value <= 1, "between 0 and 1")


def check_limits(section: str, settings: Any, **limits: Limit) -> None:
    """Raise a GemoclapError that names the first setting which is null or outside its limit and may not be."""
    for one in fields(settings):
        name, value = f"{section}.{one.name}".strip("."), getattr(settings, one.name)
        if value is None:
            if "None" not in str(one.type):
                raise GemoclapError(f"{name} cannot be null; leave it out for its default")
        elif one.name in limits:
            holds, words = limits[one.name]
            if not holds(value):
                raise GemoclapError(f"{name} must be {words}, not {value}")


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
        allow_speaker_overlap: Let a speaker stand on both sides of a split; the report then says so in its first line.
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
class ModelSettings:
    """The two encoders and what joins them.

    Args:
        audio_encoder: 'compact' (ours, trained from scratch), a hub id such as microsoft/wavlm-large or
            openai/whisper-base, or a folder.
        audio_options: Fields of the encoder's config: of an untrained one all ({hidden_size: 256} for 'compact'), of another
            those that fit its weights (SpecAugment's mask_*, dropouts; {padded: true} gives a Whisper 30 s clips).
        keep_layers: Build only so many of the first layers of a pre-trained encoder; null builds all that are used.
        augment: The audio encoder's own augmentation while training: SpecAugment and layer drop as its config says; for
            'compact' also tempo and vocal tract [C]. The paper names none.
        text_encoder: 'minilm' (embedded, needs no hub), a hub id such as roberta-base, or a folder.
        freeze: What of the audio encoder stays as it was: none, front_end, all, or a number of layers, counted from the
            input.
        lora_rank: Train low-rank adapters of this rank beside the attention of the layers that are not frozen, and nothing
            else of the audio encoder; needs peft. Null trains the layers themselves.
        lora_alpha: Factor of the adapters, divided by their rank [C].
        freeze_text: Keep the text encoder as it was; its projection is trained all the same [C; P: trained].
        layers: Which hidden layer is pooled: the last, the output of layer N (0 is the input of the first), or a learned
            weighted sum of all.
        attention: Of a WavLM: sdpa, or flex = FlexAttention, compiled, on a GPU and where the encoder's attention dropout
            is 0; less memory. Other encoders have transformers' own.
        pooling: Frames -> utterance: mean over the valid frames [P], mean and standard deviation side by side [C], or both
            with learned weights of the frames, attention [C].
        pooling_heads: Of attention: each weighs the frames for a part of their dimensions [C].
        standardize: Bring each dimension of the pooled features to zero mean and unit variance over the training utterances,
            measured once before training; null: where the audio encoder is frozen as a whole [C].
        text_pooling: first token [P], mean over tokens, or auto: mean for the embedded encoder, first token else.
        projection_dim: Size of the joint embedding [S].
        project_plain_heads: Put a projection of the same form, with its dropout, under the plain heads too: then contrast is
            all in which a contrastive method and cross-entropy differ [C].
        projection_dropout: Dropout before each projection while training [C].
        emotion_prompt: Prompt template of an emotion [P]; {} is the class.
        gender_prompt: Prompt template of a gender, for ML-GEmo-CLAP [C].
        initial_temperature: Start of both learnable temperatures (the factor on the cosine) [S: 1/0.07].
        max_temperature: Upper clamp of the temperatures [S].
    """

    audio_encoder: str = "compact"
    audio_options: dict[str, Any] = field(default_factory=dict)
    keep_layers: int | None = None
    augment: bool = True
    text_encoder: str = "minilm"
    freeze: str | int = "none"
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    freeze_text: bool = True
    layers: Literal["last", "weighted"] | int = "last"
    attention: Literal["sdpa", "flex"] = "sdpa"
    pooling: Literal["mean", "mean_std", "attention"] = "mean_std"
    pooling_heads: int = 4
    standardize: bool | None = None
    text_pooling: Literal["auto", "first", "mean"] = "auto"
    projection_dim: int = 512
    project_plain_heads: bool = False
    projection_dropout: float = 0.0
    emotion_prompt: str = "The emotion is {}"
    gender_prompt: str = "The gender is {}"
    initial_temperature: float = 1 / 0.07
    max_temperature: float = 100.0

    def __post_init__(self) -> None:
        check_limits(
            "model",
            self,
            keep_layers=AT_LEAST_1,
            lora_rank=AT_LEAST_1,
            lora_alpha=POSITIVE,
            pooling_heads=AT_LEAST_1,
            projection_dim=AT_LEAST_1,
            projection_dropout=SHARE,
            max_temperature=AT_LEAST_1,
        )


@dataclass
class ObjectiveSettings:
    """The loss; docs/methods.md has it in full.

    Args:
        alpha: Weight of emotion against gender in SL- and ML-GEmo-CLAP [S, C] and in multi_task [C].
        target: Normaliser of the target matrix rows of the contrastive methods: softmax [P] or row_sum [C].
        scale: Of the cosines in AM-Softmax, s [C].
        margin: That AM-Softmax takes from the cosine of the true class, m [C].
    """

    alpha: float = 0.9
    target: Literal["softmax", "row_sum"] = "softmax"
    scale: float = 30.0
    margin: float = 0.2

    def __post_init__(self) -> None:
        check_limits("objective", self, alpha=SHARE, scale=POSITIVE, margin=AT_LEAST_0)


@dataclass
class TrainSettings:
    """One training run.

    Args:
        epochs: Passes over the training set [C; P: 50].
        batch_size: Utterances a batch and process [C; P: 8].
        batch_seconds: Seconds of audio a batch and process may hold with its padding, in place of batch_size: many
            short clips, few long ones.
        batching: Who rides together: dealt = clips of like length, with emotions and genders dealt out evenly, which
            changes what a contrastive batch has to tell apart [C]; bucketed = clips of like length, at random
            otherwise [C]; shuffled = at random [P], with the more padding.
        chunk_size: Utterances that go through the encoders at a time, with the loss over the whole batch all the same;
            the gradients are those of the batch in one piece, at the cost of a second forward pass. Null: all at once.
        balance: Draw as many utterances of every class in an epoch, for UAR where a class is rare [C]; an epoch stays
            as long.
        lr: Peak learning rate of Adam [C; P: 1e-5].
        encoder_lr: Peak learning rate of the encoders' own weights, where heads and projections have 'lr'; null: the same [C].
        weight_decay: Decoupled weight decay [C]; 0 is plain Adam [P].
        warmup_epochs: Linear warm-up [C; P: 5].
        schedule: After the warm-up: constant [C] or cosine down to zero.
        accumulate: Batches whose gradients are added before a step.
        clip_norm: Largest gradient norm; null leaves gradients alone.
        gather: Gather embeddings and labels of all processes for the loss, with gradient, so that the matrix does not
            shrink.
        gradient_checkpointing: Keep the output of each transformer layer only and compute the rest again in the backward
            pass: less memory, about a third slower.
        compile: torch.compile the transformer layers; pays on a GPU, after minutes of compiling.
        precision: auto picks bf16 on devices that have it and no (float32) on a CPU.
        select: Which epoch is reported: the last, or the one with the best UAR on the development speakers (needs
            data.dev_speakers).
        seed: Of initialisation, batch order, dropout and augmentation.
        checkpoint_steps: Also checkpoint within an epoch every so many steps; null only at the end of each epoch.
        trackers: Any of tensorboard, wandb, mlflow.
    """

    epochs: int = 25
    batch_size: int = 16
    batch_seconds: float | None = None
    batching: Literal["dealt", "bucketed", "shuffled"] = "dealt"
    chunk_size: int | None = None
    balance: bool = False
    lr: float = 1e-3
    encoder_lr: float | None = None
    weight_decay: float = 0.01
    warmup_epochs: float = 3.0
    schedule: Literal["constant", "cosine"] = "cosine"
    accumulate: int = 1
    clip_norm: float | None = 5.0
    gather: bool = True
    gradient_checkpointing: bool = False
    compile: bool = False
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    select: Literal["last", "dev"] = "last"
    seed: int = 0
    checkpoint_steps: int | None = None
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_limits(
            "train",
            self,
            epochs=AT_LEAST_1,
            batch_seconds=POSITIVE,
            chunk_size=AT_LEAST_1,
            lr=POSITIVE,
            encoder_lr=POSITIVE,
            weight_decay=AT_LEAST_0,
            warmup_epochs=AT_LEAST_0,
            accumulate=AT_LEAST_1,
            clip_norm=POSITIVE,
            seed=AT_LEAST_0,
            checkpoint_steps=AT_LEAST_1,
        )
        if self.compile and self.gradient_checkpointing:
            raise GemoclapError("train.compile and train.gradient_checkpointing do not go together; set one of them")
        if self.batching == "shuffled" and self.batch_seconds is not None:
            raise GemoclapError(
                "train.batching shuffled takes batches of train.batch_size clips, because as many seconds at random are "
                "another number of batches in every epoch; set train.batch_seconds to null, or train.batching to bucketed"
            )


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


@dataclass
class GmpSettings:
    """GMP-TL: frame pseudo-labels, and fine-tuning in two stages; its last stage is trained as `train` says.

    Args:
        gender: Whether the model whose frames are clustered also learns gender [P]; false: emotion alone.
        feature_epochs: Of that model's training; null: as many as train.epochs [C].
        features: Folder of another run of gmp_tl over the same folds, whose model of that kind is taken instead of
            training one, if it was trained with the same settings: for comparing what comes after it.
        layer: Whose frames are clustered: 0 is the input of the first layer, -1 the last, -3 the third-last [S].
        scales: Numbers of clusters, each its own pseudo-label and head [P: several; C: these].
        passes: Of k-means over all training frames at most [C].
        start: What the first stage, or without it the second, starts from: the pre-trained encoder [S], or that of the
            features [C].
        span_seconds: How much is hidden together in the first stage; 15 of HuBERT's frames [C].
        hidden_share: Of the frames that are hidden, on average, in long clips: 0.6 [C]; P-TAPT hides about 0.13 [S].
        frame_epochs: Of the first stage, on pseudo-labels of hidden frames; 0 leaves it out [C].
        frame_lr: Learning rate of the first stage, encoder and heads; null: train.lr and train.encoder_lr [C].
        head: Of the second stage: am_softmax [S] or ce.
    """

    gender: bool = True
    feature_epochs: int | None = None
    features: str | None = None
    layer: int = -3
    scales: list[int] = field(default_factory=lambda: [64, 512, 4096])
    passes: int = 10
    start: Literal["pretrained", "features"] = "pretrained"
    span_seconds: float = 0.3
    hidden_share: float = 0.6
    frame_epochs: int = 25
    frame_lr: float | None = None
    head: Literal["am_softmax", "ce"] = "am_softmax"

    def __post_init__(self) -> None:
        limits = {"feature_epochs": AT_LEAST_1, "passes": AT_LEAST_1, "frame_epochs": AT_LEAST_0, "frame_lr": POSITIVE}
        check_limits("gmp", self, **limits, span_seconds=POSITIVE, hidden_share=INSIDE_0_1)
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise GemoclapError(f"gmp.scales must be one or more numbers, 2 or more, each once, not {self.scales}")


@dataclass
class Settings:
    """All settings of a run, as they are saved beside its results."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    gmp: GmpSettings = field(default_factory=GmpSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def to_dict(self) -> dict:
        """Return plain nested data for YAML and JSON."""
        return asdict(self)


def check_seeds(name: str, seeds: list[int]) -> None:
    """Raise a GemoclapError, which calls them `name`, unless there are seeds, 0 or more, each once."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise GemoclapError(f"{name} must be one or more numbers, 0 or more, each once, not {seeds}")
