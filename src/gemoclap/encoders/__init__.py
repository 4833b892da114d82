"""Audio and text encoders; importing this package registers our own with transformers' AutoModel."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from gemoclap.encoders.compact import CompactConfig
from gemoclap.encoders.embedded import encoder_source
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
"""Audio encoders that start from random weights, by the name that settings give them."""


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
    options : fields of the config of an untrained encoder, such as ``{"hidden_size": 256}``; of another, those that fit
        its weights, such as ``{"padded": true}`` of a Whisper.

    Raises
    ------
    GemoclapError : the encoder cannot be loaded, or it has no such option, or not with that value.
    """
    options = options or {}
    if name not in UNTRAINED:
        return SpeechEncoder.from_pretrained(encoder_source(name), layers, keep_layers, options)
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
