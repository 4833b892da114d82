"""The model: a speech encoder and a text encoder joined by projections, like transformers' ClapModel."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from gemoclap.clap.saved_prompts import has_prompts, read_prompts, write_prompts
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.cards import read_card
from gemoclap.encoders.lora import merged_state
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.speech_model import (
    Projection,
    SpeechModel,
    SpeechModelConfig,
    as_config,
    check_config,
    check_loaded,
    refuse_field,
    restore_audio,
    speech_fields,
)
from gemoclap.encoders.text import MINILM, TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.labels import GENDERS, Vocabulary

TEXT_PREFIX = "text_encoder."
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
"""Arguments of `from_pretrained` that locate a hub repository; the tokenizer is in the same place as the weights."""


class GEmoClapConfig(SpeechModelConfig):
    """Everything except the weights: both encoders' configs, heads, classes, prompts and how audio is prepared.

    Attributes
    ----------
    text_config, text_pooling : of the text encoder.
    projection_dim, projection_dropout, initial_temperature, max_temperature, emotion_prompt, gender_prompt : as in
        `config.ModelSettings`.
    gender_head : whether there are projections and temperatures for gender (ML-GEmo-CLAP).
    text_weights : ``"saved"``, or ``"minilm"``: the frozen encoder from an installed package, not saved in model.safetensors.
    """

    model_type = "gemoclap"

    text_config: PreTrainedConfig | dict | None = None
    text_pooling: Literal["first", "mean"] = "first"
    projection_dim: int = 512
    projection_dropout: float = 0.0
    initial_temperature: float = 1 / 0.07
    max_temperature: float = 100.0
    gender_head: bool = False
    emotion_prompt: str = "The emotion is {}"
    gender_prompt: str = "The gender is {}"
    text_weights: str = "saved"

    def __post_init__(self, **kwargs: Any) -> None:
        self.text_config = as_config(self.text_config)
        super().__post_init__(**kwargs)


def fill_prompt(template: str, word: str) -> str:
    """Return the prompt of a class: `template` with `word` in the place of its ``{}``.

    Raises
    ------
    GemoclapError : the template has no ``{}``, so that all classes would have the same prompt, or more than one.
    """
    if template.count("{}") != 1:
        raise GemoclapError(f"prompt template {template!r}: write {{}} once, where the class goes")
    return template.replace("{}", word)


class ContrastiveHead(nn.Module):
    """Projections of both sides onto unit length, and the two temperatures: one comparison (emotion, or gender)."""

    def __init__(self, audio_dim: int, text_dim: int, config: GEmoClapConfig) -> None:
        super().__init__()
        self.audio_projection = Projection(audio_dim, config.projection_dim, config.projection_dropout)
        self.text_projection = Projection(text_dim, config.projection_dim, config.projection_dropout)
        start = torch.tensor(math.log(config.initial_temperature))
        self.audio_log_scale = nn.Parameter(start.clone())
        self.text_log_scale = nn.Parameter(start.clone())
        self.max_log_scale = math.log(config.max_temperature)

    def embed_audio(self, features: Tensor) -> Tensor:
        """``(B, D_a) -> (B, E)``, unit length."""
        return nn.functional.normalize(self.audio_projection(features), dim=-1)

    def embed_text(self, features: Tensor) -> Tensor:
        """``(K, D_t) -> (K, E)``, unit length."""
        return nn.functional.normalize(self.text_projection(features), dim=-1)

    def scales(self) -> tuple[Tensor, Tensor]:
        """The temperatures eps_a and eps_t, kept on a log scale and clamped there to [log 1, log max] [S].

        The parameters themselves are clamped before each use, as CLIP does after each step. If only their values were clamped,
        a temperature outside the limits would have no gradient, and could not come back.
        """
        with torch.no_grad():
            self.audio_log_scale.clamp_(0, self.max_log_scale)
            self.text_log_scale.clamp_(0, self.max_log_scale)
        return self.audio_log_scale.exp(), self.text_log_scale.exp()


class GEmoClapModel(SpeechModel):
    """Emo-CLAP, SL-GEmo-CLAP and ML-GEmo-CLAP.

    ``model(waveforms (B, T) float32, lengths (B,))``, or the model called with other inputs of `get_audio_features`, returns
    a dict: ``audio_embedding (B, E)`` and ``text_embedding (K, E)``, one row per class prompt, both of unit length, and the
    temperatures ``audio_scale`` and ``text_scale``. A gender head adds the same four with the prefix ``gender_``, where
    ``gender_text_embedding`` is ``(2, E)``.
    """

    config_class = GEmoClapConfig
    config: GEmoClapConfig
    _keys_to_ignore_on_load_unexpected = [rf"^{re.escape(TEXT_PREFIX)}"]

    def __init__(
        self,
        config: GEmoClapConfig,
        audio_encoder: SpeechEncoder | None = None,
        text_encoder: TextEncoder | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        with_text: bool = True,
    ) -> None:
        super().__init__(config, audio_encoder)
        text_config = cast(PreTrainedConfig, config.text_config)
        self.text_encoder = text_encoder
        if text_encoder is None and with_text:
            self.text_encoder = TextEncoder.from_config(
                text_config, cast(PreTrainedTokenizerBase, tokenizer), config.text_pooling
            )
        dims = self.audio_dim, text_config.hidden_size
        self.emotion_head = ContrastiveHead(*dims, config)
        self.gender_head = ContrastiveHead(*dims, config) if config.gender_head else None
        self._frozen_prompts: dict[tuple[str, ...], Tensor] = {}
        self._saved_prompts: dict[tuple[str, ...], Tensor] = {}
        self._folder: Path | None = None
        self.post_init()

    @classmethod
    def from_audio_text_pretrained(
        cls,
        audio_encoder: str,
        text_encoder: str,
        vocabulary: Vocabulary,
        settings: ModelSettings | None = None,
        *,
        audio: AudioSettings | None = None,
        method: str | None = None,
        gender_head: bool = False,
    ) -> Self:
        """Join two encoders, each from a hub id or a folder, with new heads, initialised from the global torch seed.

        Raises
        ------
        GemoclapError : an encoder cannot be loaded, `settings.freeze` names more layers than there are, a prompt has no
            ``{}``, or the initial temperature is outside its limits.
        """
        settings = settings or ModelSettings()
        _check(settings)
        speech = load_audio_encoder(audio_encoder, settings.layers, settings.audio_options, settings.keep_layers)
        speech.settle(settings)
        text = TextEncoder.from_pretrained(text_encoder, pooling=settings.text_pooling)
        by_reference = settings.freeze_text and text_encoder == MINILM
        config = GEmoClapConfig(
            **speech_fields(speech, vocabulary, settings, audio),
            text_config=text.model.config,
            text_pooling=text.pooling,
            projection_dim=settings.projection_dim,
            projection_dropout=settings.projection_dropout,
            initial_temperature=settings.initial_temperature,
            max_temperature=settings.max_temperature,
            gender_head=gender_head,
            method=method,
            emotion_prompt=settings.emotion_prompt,
            gender_prompt=settings.gender_prompt,
            text_weights=MINILM if by_reference else "saved",
        )
        model = cls(config, speech, text)
        if settings.freeze_text:
            text.freeze()
        return model

    def get_text_features(self, prompts: tuple[str, ...]) -> Tensor:
        """Return the unprojected features ``(K, D_t)`` of K prompts; computed only once if the text encoder is frozen."""
        text_encoder = self._loaded_text_encoder()
        if not text_encoder.is_frozen:
            return text_encoder(list(prompts))
        if prompts not in self._frozen_prompts:
            # No inference mode: features computed in prediction may be used again in training.
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                self._frozen_prompts[prompts] = text_encoder(list(prompts))
        features = self._frozen_prompts[prompts] = self._frozen_prompts[prompts].to(self.device)
        return features

    def embed_prompts(self, prompts: tuple[str, ...]) -> Tensor:
        """Return the embeddings ``(K, E)`` of K emotion prompts, of unit length; saved embeddings need no text encoder."""
        if self.text_encoder is None and prompts in self._saved_prompts:
            return self._saved_prompts[prompts].to(self.device)
        return self.emotion_head.embed_text(self.get_text_features(prompts))

    def _loaded_text_encoder(self) -> TextEncoder:
        """Return the text encoder; a model that was loaded without one loads it at the first call."""
        if self.text_encoder is None:
            whole = type(self).from_pretrained(self._folder)
            self.text_encoder = cast(TextEncoder, whole.text_encoder).to(self.device)
        return self.text_encoder

    @property
    def emotion_prompts(self) -> tuple[str, ...]:
        """One prompt per class, in the order of the classes."""
        return tuple(fill_prompt(self.config.emotion_prompt, emotion) for emotion in self.config.emotions.emotions)

    @property
    def gender_prompts(self) -> tuple[str, ...]:
        """One prompt per gender, in the order of `labels.GENDERS`."""
        return tuple(fill_prompt(self.config.gender_prompt, gender) for gender in GENDERS)

    def forward(
        self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor
    ) -> dict[str, Tensor]:
        features = self.get_audio_features(waveforms, lengths, **cached)
        outputs = _compare(self.emotion_head, features, self.get_text_features(self.emotion_prompts))
        if self.gender_head is not None:
            gender = _compare(self.gender_head, features, self.get_text_features(self.gender_prompts))
            outputs |= {f"gender_{name}": value for name, value in gender.items()}
        return outputs

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike, *, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> None:
        """Write config.json, model.safetensors, class_prompts.safetensors, and the feature extractor's and tokenizer's files.

        The weights of the frozen 'minilm' are not saved, because they are read from its package again.
        """
        text_encoder = self._loaded_text_encoder()
        state = merged_state(self) if state_dict is None else state_dict
        if self.config.text_weights != "saved":
            state = {name: value for name, value in state.items() if not name.startswith(TEXT_PREFIX)}
        super().save_pretrained(save_directory, state_dict=state, **kwargs)
        text_encoder.tokenizer.save_pretrained(save_directory)
        was_training = self.training
        self.eval()
        with torch.no_grad(), readable_errors(str(save_directory)):
            prompts, projection = self.emotion_prompts, self.emotion_head.text_projection
            write_prompts(Path(save_directory), prompts, self.embed_prompts(prompts), projection)
        self.train(was_training)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Self:
        """Load a folder that `save_pretrained` wrote, or such a repository of the hub; only safetensors are read.

        The model is in evaluation mode. A frozen 'minilm' is frozen again; everything else can be trained further.

        Parameters
        ----------
        with_text : False loads the text encoder only when it is needed, if the folder has the prompts' embeddings.

        Raises
        ------
        GemoclapError : there is no model, it is of another kind, or weights are missing or not finite.
        """
        name = str(pretrained_model_name_or_path)
        with_text = kwargs.pop("with_text", True) or not has_prompts(Path(name))
        hub = {option: kwargs[option] for option in HUB_OPTIONS if option in kwargs} | {"trust_remote_code": False}
        with readable_errors(name):
            _check_saved(name, kwargs.get("config") or AutoConfig.from_pretrained(name, **hub))
            if with_text:
                kwargs["tokenizer"] = AutoTokenizer.from_pretrained(name, **hub)
            loaded: Any = super().from_pretrained(
                name, *model_args, with_text=with_text, use_safetensors=True, output_loading_info=True, **kwargs
            )
        model, report = loaded
        by_reference = with_text and model.config.text_weights != "saved"
        missing = restore_audio(model, report["missing_keys"])
        missing = [key for key in missing if not (by_reference and key.startswith(TEXT_PREFIX))]
        if by_reference:
            model.text_encoder = TextEncoder.from_pretrained(model.config.text_weights, model.config.text_pooling)
        check_loaded(name, model, missing)
        if by_reference:
            model.text_encoder.freeze()
        model.card = read_card(name, hub)
        if not with_text:
            model._folder = Path(name).absolute()
            model._saved_prompts = read_prompts(Path(name), model.emotion_head.text_projection)
        return model.eval()


def _check(settings: ModelSettings) -> None:
    """Raise a GemoclapError for prompts and temperatures with which training could not work."""
    for template in (settings.emotion_prompt, settings.gender_prompt):
        fill_prompt(template, "")
    if not 1 <= settings.initial_temperature <= settings.max_temperature:
        raise GemoclapError(
            f"model.initial_temperature: {settings.initial_temperature:g} is not between 1 and model.max_temperature "
            f"({settings.max_temperature:g}); it is the factor on the cosine, 1 / 0.07 for a temperature of 0.07"
        )


def _check_saved(name: str, config: Any) -> None:
    """Raise a GemoclapError if a config.json is not that of a model of this family, or is damaged."""
    if not isinstance(config, GEmoClapConfig):
        raise GemoclapError(
            f"{name}: holds a {getattr(config, 'model_type', 'strange')} model, not one of the GEmo-CLAP family; "
            "give a folder that 'gemoclap train' wrote"
        )
    # Any other word would be looked up on the hub, and a stranger's folder must not decide what is downloaded.
    if config.text_weights not in ("saved", MINILM):
        refuse_field(name, config, "text_weights", f", not 'saved' or {MINILM!r}")
    check_config(name, config)
    for field in ("emotion_prompt", "gender_prompt"):
        if getattr(config, field).count("{}") != 1:
            refuse_field(name, config, field, ", without one {} where the class goes")


def _compare(head: ContrastiveHead, audio_features: Tensor, text_features: Tensor) -> dict[str, Tensor]:
    audio_scale, text_scale = head.scales()
    return {
        "audio_embedding": head.embed_audio(audio_features),
        "text_embedding": head.embed_text(text_features),
        "audio_scale": audio_scale,
        "text_scale": text_scale,
    }


AutoConfig.register(GEmoClapConfig.model_type, GEmoClapConfig)
AutoModel.register(GEmoClapConfig, GEmoClapModel)
