"""Settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gemoclap.config.limits import AT_LEAST_1, POSITIVE, SHARE, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class ModelSettings:
    """Model: encoders, pooling, projections ([P] = from the paper, [S] = from a secondary source, [C] = our choice).

    Args:
        audio_encoder: Speech encoder: 'compact' (this project's own, trained from scratch), 'small' (Whisper's convolutions
            below layers of our own), 'default' (the first layers of Whisper base, which come with gemoclap), a Hugging Face
            id such as microsoft/wavlm-large, openai/whisper-base or facebook/w2v-bert-2.0, or a folder.
        audio_options: Fields of the speech encoder's config to change, such as {hidden_size: 256} for 'compact'. A
            pre-trained encoder accepts only fields that fit its weights: SpecAugment's mask_*, dropouts, and
            {padded: true}, which pads every clip of a Whisper to 30 s.
        keep_layers: Load only this many layers of a pre-trained encoder, counted from the input. null loads all layers that
            are used.
        augment: Use the speech encoder's own augmentation in training: SpecAugment and layer drop as set in its config;
            for 'compact' also random tempo and vocal tract length [C]. The paper names none.
        text_encoder: Text encoder of the prompts: 'minilm' (installed with gemoclap), a Hugging Face id such as
            roberta-base, or a folder.
        freeze: Part of the speech encoder that is not trained: none, front_end (what comes before the layers), a number of
            layers (the front end and that many layers, counted from the input), or all.
        lora_rank: Rank of LoRA adapters, trained in the attention of the layers that are not frozen, in place of the
            encoder's own weights. Needs peft. null trains the weights themselves.
        lora_alpha: Scale of the LoRA adapters; it is divided by their rank [C].
        freeze_text: Do not train the text encoder [C; P: trained]. Its projection is trained in any case.
        layers: Layer of the speech encoder to use: last, the output of layer N (0 = the input of the first layer), several
            such as [2, 3] (their numbers joined, frame by frame) [C], or weighted (a learned sum of all).
        attention: Attention kernel of a WavLM: sdpa, or flex (compiled FlexAttention, which takes less memory; needs a GPU
            and an attention dropout of 0). Other encoders use the kernel of transformers.
        pooling: How the frames of a clip become one vector: mean [P], mean_std (mean and standard deviation, concatenated)
            [C], quantiles (10 %, 50 % and 90 %, concatenated) [C], or attention (mean and standard deviation with learned
            weights of the frames) [C]. Padding is left out.
        pooling_heads: Number of heads of pooling=attention. Each head weights the frames for its own part of their
            dimensions [C].
        standardize: Scale each dimension of the pooled features to mean 0 and variance 1 over the training utterances,
            measured once before training; running = over each batch in training, for an encoder that is trained [C];
            speaker = then also over the clips of each speaker, in training and in tests, for a frozen encoder [C]: a test
            speaker's clips are used together, without labels. null does so (once) only if the whole speech encoder is frozen.
        text_pooling: How the tokens of a prompt become one vector: first (the first token) [P], mean (over all tokens), or
            auto (mean for 'minilm', first for others).
        projection_dim: Size of the shared space of audio and text embeddings [S].
        project_plain_heads: Put the same projection and its dropout below the plain heads (ce, am_softmax, multi_task) too.
            Contrastive methods and cross-entropy then differ in their loss alone [C].
        projection_dropout: Dropout before each projection in training [C].
        emotion_prompt: Template of the emotion prompts [P]; {} is replaced with the class.
        gender_prompt: Template of the gender prompts of ML-GEmo-CLAP [C]; {} is replaced with the gender.
        initial_temperature: Initial value of both learnable temperatures, which multiply the cosine similarity
            [S: 1/0.07].
        max_temperature: Largest value that a temperature can reach [S].
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
    layers: Literal["last", "weighted"] | int | list[int] = "last"
    attention: Literal["sdpa", "flex"] = "sdpa"
    pooling: Literal["mean", "mean_std", "quantiles", "attention"] = "mean_std"
    pooling_heads: int = 4
    standardize: bool | Literal["running", "speaker"] | None = None
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
        if isinstance(self.layers, list) and len(self.layers) == 1:  # one name for one model
            self.layers = self.layers[0]
        if self.standardize == "speaker" and not self.has_constant_features:
            raise GemoclapError(
                "model.standardize: speaker is for features that training does not change; set model.freeze to all, "
                "model.layers to last or to one or several numbers, and model.pooling to mean, mean_std or quantiles"
            )

    @property
    def has_constant_features(self) -> bool:
        """Whether training leaves the pooled features of a clip as they are."""
        return self.freeze == "all" and self.layers != "weighted" and self.pooling != "attention"
