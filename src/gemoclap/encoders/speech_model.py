"""The base of all emotion models: classes, preparation of audio, a speech encoder and its pooling."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Any, Literal, NoReturn, Union, cast, get_args, get_origin

from huggingface_hub import HfApi
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.encoders.cards import plain_card, published, write_card
from gemoclap.encoders.checks import REMEDY, check_weights
from gemoclap.encoders.clip_extractor import ClipExtractor
from gemoclap.encoders.embedded import CONVOLUTIONS, EMBEDDED, OF_CONVOLUTIONS, embedded_convolutions, embedded_weights
from gemoclap.encoders.layers import used_layers
from gemoclap.encoders.lora import merged_state
from gemoclap.encoders.pooling import make_pooling, make_standardizer, pooled_dim
from gemoclap.encoders.pretrained import quiet_transformers
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, write_json
from gemoclap.labels import Vocabulary
from gemoclap.wording import counted
from gemoclap.writing import readable_write_errors

AUDIO_PREFIX = "audio_encoder.model."
"""How the names of the encoder's weights begin in a model."""


class LabelledConfig(PreTrainedConfig):
    """Config of an emotion model: classes, preparation of audio and training speakers.

    Attributes
    ----------
    vocabulary : `labels.Vocabulary.to_dict()`. Other tools find the classes in `id2label`.
    preparation : `config.AudioSettings` as a dict. Clips were prepared so in training, and must be prepared so in prediction.
    trained_speakers : all training and development speakers, as "corpus/speaker". With them, an evaluation can warn.
    clip_seconds : 99 of 100 training clips are not longer than this, after silence was trimmed. None if this is unknown.
    """

    vocabulary: dict | None = None
    preparation: dict | None = None
    trained_speakers: list[str] | None = None
    clip_seconds: float | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.vocabulary is not None:
            self.id2label = dict(enumerate(self.vocabulary["emotions"]))
            self.label2id = {label: index for index, label in self.id2label.items()}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:  # type: ignore[override]
        """Write config.json, without the paths of the encoders on the machine where the model was trained."""
        super().save_pretrained(save_directory, **kwargs)
        path = Path(save_directory) / "config.json"
        write_json(path, _without_places(read_json(path, REMEDY)))

    @property
    def emotions(self) -> Vocabulary:
        """The classes in order, and how the training labels were merged."""
        return Vocabulary.from_dict(self.vocabulary or {"name": "none", "emotions": (), "merges": {}})

    @property
    def audio_settings(self) -> AudioSettings:
        """How a clip was prepared in training."""
        return AudioSettings(**(self.preparation or {}))

    @property
    def clip_settings(self) -> AudioSettings:
        """How a clip is prepared in prediction: as in training, but one longer than almost all of training's is cut [C].

        A model that was trained on sentences can be wrong about whole paragraphs: see docs/performance.md.
        """
        trained = self.audio_settings
        return replace(trained, max_seconds=self.clip_seconds or trained.max_seconds)


class SpeechModelConfig(LabelledConfig):
    """A speech encoder and how its frames become one vector.

    Attributes
    ----------
    method : the method with which it was trained, as in `config.TITLES`.
    audio_config : config of the encoder.
    audio_normalize : whether each clip is first scaled to zero mean and unit variance, because the encoder needs this.
    audio_layers, audio_pooling, audio_pooling_heads : as in `config.ModelSettings`.
    audio_weights : where the weights of the encoder are. "saved" is with the model. "default" means that the encoder is the
        frozen one that comes with this package, and is read from there. "convolutions" means the same for the frozen
        convolutions of an encoder only.
    audio_standardize : whether pooled features are standardised with the statistics of the training utterances. "running" is
        with those of the batches in training. "speaker" is with those of the training utterances, and the heads were trained
        on features that were then standardised over each speaker's clips (`group_statistics`), which the caller has to do.
    calibration : how the probabilities of the trained classes were calibrated: ``temperature``, by which the logits are
        divided; ``fitted_on``, in words; and ``utterances``, their number. None if no temperature was fitted.
    """

    method: str | None = None
    audio_config: PreTrainedConfig | dict | None = None
    audio_normalize: bool = False
    audio_layers: Literal["last", "weighted"] | int | list[int] = "last"
    audio_pooling: Literal["mean", "mean_std", "quantiles", "attention"] = "mean"
    audio_pooling_heads: int = 4
    audio_weights: Literal["saved", "default", "convolutions"] = "saved"
    audio_standardize: bool | Literal["running", "speaker"] = False
    calibration: dict[str, Any] | None = None

    @property
    def softmax_temperature(self) -> float:
        """The number by which the logits of the trained classes are divided; 1 if no temperature was fitted.

        Raises
        ------
        GemoclapError : the temperature in config.json is not a positive number.
        """
        value = (self.calibration or {}).get("temperature", 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise GemoclapError(
                f"config.json: calibration.temperature is {value!r}, not a positive number; restore the file"
            )
        return float(value)

    def __post_init__(self, **kwargs: Any) -> None:
        self.audio_config = as_config(self.audio_config)
        super().__post_init__(**kwargs)


def as_config(config: PreTrainedConfig | dict | None) -> PreTrainedConfig | None:
    """Return the config of an inner model. In config.json it is a mapping."""
    if not isinstance(config, dict):
        return config
    options = {name: value for name, value in config.items() if name != "model_type"}
    return AutoConfig.for_model(config["model_type"], **options)


class Projection(nn.Sequential):
    """Linear-ReLU-Linear to the shared space of embeddings [P: multi-layer; S: this form, 512]."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))


class SpeechModel(PreTrainedModel):
    """A model on the pooled frames of a speech encoder. Subclasses add a head.

    Attributes
    ----------
    card : the README.md of the folder that the model was loaded from, or None. It is saved with the model.
    """

    base_model_prefix = ""
    main_input_name = "waveforms"
    config: SpeechModelConfig
    card: str | None = None

    def __init__(self, config: SpeechModelConfig, audio_encoder: SpeechEncoder | None = None) -> None:
        super().__init__(config)
        self.audio_encoder = audio_encoder or SpeechEncoder.from_config(
            cast(PreTrainedConfig, config.audio_config), config.audio_normalize, config.audio_layers
        )
        self.pooling = make_pooling(config.audio_pooling, self.audio_encoder.output_dim, config.audio_pooling_heads)
        self.standardizer = make_standardizer(config.audio_standardize, self.audio_dim)

    @property
    def audio_dim(self) -> int:
        """D_a, the size of the pooled features."""
        return pooled_dim(self.config.audio_pooling, self.audio_encoder.output_dim)

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing. The modules keep the initialisation of PyTorch, and the encoders initialise themselves."""

    def get_audio_features(
        self,
        waveforms: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        frozen_frames: Tensor | None = None,
        frame_counts: Tensor | None = None,
        layer_features: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Return the pooled audio features before the projection, ``(B, D_a)``, standardised if the model does this.

        Parameters
        ----------
        waveforms, lengths : raw audio ``(B, T)``, zero-padded, and the numbers of samples ``(B,)``.
        frozen_frames, frame_counts : in place of the audio, the result of ``audio_encoder.frozen_frames``.
        layer_features : in place of the audio, the pooled frames of each layer that is used, ``(B, L, P)``.
        features : in place of the audio, what this method returned for it, such as adapted to a speaker, ``(B, D_a)``.
        """
        if features is not None:
            return features
        if layer_features is not None:
            features = self.audio_encoder.join(layer_features.unbind(1))
        elif frozen_frames is not None:
            features = self.pooling(*self.audio_encoder.from_frozen_frames(frozen_frames, cast(Tensor, frame_counts)))
        else:
            features = self.pooling(*self.audio_encoder(waveforms, lengths))
        return features if self.standardizer is None else self.standardizer(features)

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike, *, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> None:
        """Write config.json, model.safetensors, preprocessor_config.json and the card. Adapters are merged into the weights.

        If the encoder comes with this package and is frozen, its weights are left out. Loading reads them from the package.

        Raises
        ------
        GemoclapError : ``push_to_hub=True``, which would upload before all files are written; or a file cannot be written.
        """
        if kwargs.pop("push_to_hub", False):
            raise GemoclapError("save_pretrained does not upload; call push_to_hub(repo_id) of the model")
        state = merged_state(self) if state_dict is None else state_dict
        if self.config.audio_weights != "saved":
            left_out = AUDIO_PREFIX + (OF_CONVOLUTIONS[0] if self.config.audio_weights == CONVOLUTIONS else "")
            state = {name: value for name, value in state.items() if not name.startswith(left_out)}
        with quiet_transformers(), readable_write_errors(save_directory):
            super().save_pretrained(save_directory, state_dict=state, **kwargs)
            ClipExtractor(**asdict(self.config.clip_settings)).save_pretrained(save_directory)
            if self.card is not None:
                write_card(save_directory, self.card)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str = "50GB",
        tags: Sequence[str] | None = None,
    ) -> str:
        """Upload the files of `save_pretrained`, including the card, and return the address of the commit.

        The method of transformers would replace the card by an empty one. The arguments are the same.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            card = self.card or plain_card(repo_id, self.config.emotions.emotions, self.config.clip_settings)
            write_card(folder, published(card, repo_id, tags))
            return str(
                api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message or "Upload model",
                    commit_description=commit_description,
                    revision=revision,
                    create_pr=create_pr,
                )
            )


def speech_fields(
    speech: SpeechEncoder, vocabulary: Vocabulary, settings: ModelSettings, audio: AudioSettings | None
) -> dict[str, Any]:
    """Return the fields of `SpeechModelConfig` for an encoder, its settings, the classes and the preparation."""
    return {
        "audio_config": speech.model.config,
        "audio_normalize": speech.do_normalize,
        "audio_layers": settings.layers,
        "audio_pooling": settings.pooling,
        "audio_pooling_heads": settings.pooling_heads,
        "audio_weights": _place_of_weights(speech, settings),
        "audio_standardize": speech.is_frozen("all") if settings.standardize is None else settings.standardize,
        "vocabulary": vocabulary.to_dict(),
        "preparation": asdict(audio or AudioSettings()),
    }


def _place_of_weights(speech: SpeechEncoder, settings: ModelSettings) -> str:
    """Return `SpeechModelConfig.audio_weights`."""
    if settings.audio_encoder == EMBEDDED and speech.is_frozen("all"):
        return EMBEDDED
    return CONVOLUTIONS if settings.audio_encoder == "small" and settings.freeze == "front_end" else "saved"


def _without_places(value: Any) -> Any:
    """Return JSON data without the fields in which transformers stores the name or folder that a model was loaded from."""
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_places(one) for name, one in value.items() if name != "_name_or_path"}


def restore_audio(model: SpeechModel, missing: Sequence[str]) -> list[str]:
    """Give a model without weights of its encoder those of the embedded encoder. Return the names that are still missing."""
    if model.config.audio_weights == "saved":
        return list(missing)
    of_convolutions = model.config.audio_weights == CONVOLUTIONS
    own = model.audio_encoder.model.state_dict()
    embedded = embedded_convolutions() if of_convolutions else embedded_weights()
    found = {name: tensor for name, tensor in embedded.items() if name in own}
    model.audio_encoder.model.load_state_dict(found, strict=False)
    model.audio_encoder.freeze("front_end" if of_convolutions else "all")
    return [name for name in missing if name.removeprefix(AUDIO_PREFIX) not in found]


def check_loaded(name: str, model: PreTrainedModel, missing: Sequence[str]) -> None:
    """Raise a GemoclapError if a model loaded from `name` is incomplete.

    Parameters
    ----------
    missing : names of weights that the file does not have. transformers initialises them at random.
    """
    if missing:
        raise GemoclapError(
            f"{name}: model.safetensors lacks {counted(len(missing), 'weight')}, such as {min(missing)}; {REMEDY}"
        )
    check_weights(name, model)


def check_config(name: str, config: LabelledConfig) -> None:
    """Raise a GemoclapError if a config.json has values that no training writes.

    This comes before a model is built from them. Otherwise the error would name an option, such as model.layers, which the user
    has not given.
    """
    own = [
        inspect.get_annotations(kind, eval_str=True)
        for kind in type(config).__mro__
        if issubclass(kind, LabelledConfig)
    ]
    for field, hint in chain(*(hints.items() for hints in own)):
        if not _fits(getattr(config, field), hint):
            refuse_field(name, config, field)
    if isinstance(config, SpeechModelConfig):
        _check_layers(name, config)
    try:
        merges, speakers = dict(config.emotions.merges), config.trained_speakers or ()
        words = (*config.emotions.emotions, *merges, *merges.values(), *speakers)
        amounts = asdict(config.audio_settings).values()
        sound = all(isinstance(word, str) for word in words) and all(_fits(one, float | None) for one in amounts)
    except (TypeError, ValueError, LookupError, AttributeError):
        sound = False
    if not sound:
        raise GemoclapError(
            f"{name}: in its config.json vocabulary, preparation or trained_speakers is of another shape; {REMEDY}"
        )


def refuse_field(name: str, config: LabelledConfig, field: str, why: str = "") -> NoReturn:
    """Raise a GemoclapError that names a value in the config.json of `name`; `why` comes after the value."""
    raise GemoclapError(f"{name}: in its config.json {field} is {getattr(config, field)!r}{why}; {REMEDY}")


def _check_layers(name: str, config: SpeechModelConfig) -> None:
    """Raise a GemoclapError if the encoder has no such layers."""
    total = getattr(config.audio_config, "num_hidden_layers", None)
    if not isinstance(total, int):
        refuse_field(name, config, "audio_config", ", which has no number of layers")
    try:
        used_layers(config.audio_layers, total)
    except GemoclapError:
        why = f", but its audio encoder has {counted(total, 'layer')}, and several are listed from the lowest"
        refuse_field(name, config, "audio_layers", why)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has an annotated type. The elements of a mapping are not checked."""
    kind = get_origin(hint) or hint
    if kind is list and get_args(hint):
        return isinstance(value, list) and all(_fits(one, get_args(hint)[0]) for one in value)
    if kind is Literal:
        return any(value is known or value == known for known in get_args(hint))
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind if kind in (int, bool, str) else isinstance(value, kind)
