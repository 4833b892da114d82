"""Settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gemoclap.config.limits import AT_LEAST_1, POSITIVE, SHARE, check_limits


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
