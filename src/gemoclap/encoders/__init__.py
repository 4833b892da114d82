"""Audio and text encoders. Importing this package registers our own encoders with AutoModel of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from gemoclap.encoders.compact import CompactConfig
from gemoclap.encoders.embedded import EMBEDDED, embedded_encoder
from gemoclap.encoders.layers import Layers
from gemoclap.encoders.mockingjay import MockingJayConfig
from gemoclap.encoders.npc import NPCConfig
from gemoclap.encoders.small import SmallConfig
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError, did_you_mean

UNTRAINED: dict[str, type[PreTrainedConfig]] = {
    "compact": CompactConfig,
    "mockingjay": MockingJayConfig,
    "npc": NPCConfig,
    "small": SmallConfig,
}
"""Name in the settings -> config of an audio encoder that starts from random weights."""


def audio_encoder_source(name: str, also: Sequence[str] = ()) -> str:
    """Return the folder or hub id of a trained audio encoder that settings name.

    The hub is not asked for a name without an owner: it has no speech encoder under such a name, so the name is misspelt.

    Parameters
    ----------
    also : further names that the setting accepts, for the error message.

    Raises
    ------
    GemoclapError : neither a known name, nor a folder, nor of the form of a hub id.
    """
    if name == EMBEDDED:
        return str(embedded_encoder())
    if name and "/" not in name and not Path(name).is_dir():
        known = sorted([*UNTRAINED, EMBEDDED, *also])
        raise GemoclapError(
            f"{name}: no speech encoder has this name{did_you_mean(name, known)}; known: {', '.join(known)}; or give a folder, "
            "or a hub id, which has the form OWNER/MODEL"
        )
    return name


def load_audio_encoder(
    name: str,
    layers: Layers = "last",
    options: dict[str, Any] | None = None,
    keep_layers: int | None = None,
) -> SpeechEncoder:
    """Return one of `UNTRAINED`, ``"default"`` (embedded), or an encoder from a hub id or a folder.

    Parameters
    ----------
    layers, keep_layers : as in `SpeechEncoder.from_pretrained`.
    options : fields to change in the config. An untrained encoder accepts all fields, such as ``{"hidden_size": 256}``. A
        trained one accepts those that fit its weights, such as ``{"padded": true}`` of a Whisper.

    Raises
    ------
    GemoclapError : the encoder cannot be loaded; it has no such option; or it does not accept the value.
    """
    options = options or {}
    if name not in UNTRAINED:
        return SpeechEncoder.from_pretrained(audio_encoder_source(name), layers, keep_layers, options)
    if keep_layers is not None:
        raise GemoclapError(
            f"model.keep_layers: {name} is built from its options; set num_hidden_layers in model.audio_options"
        )
    config_class = UNTRAINED[name]
    known = [field for field in config_class.__annotations__ if field != "model_type"]
    for option in options:
        if option not in known:
            raise GemoclapError(f"model.audio_options: {name} has no {option!r}{did_you_mean(option, known)}")
    try:
        return SpeechEncoder.from_config(config_class(**options), do_normalize=False, layers=layers)
    except (TypeError, ValueError) as error:
        raise GemoclapError(f"model.audio_options: {name}: {str(error).splitlines()[0]}") from error
