"""Audio and text encoders; importing this package registers our own with transformers' AutoModel."""

from __future__ import annotations

from typing import Any, Literal

from transformers import PreTrainedConfig

from gemoclap.encoders.compact import CompactConfig
from gemoclap.encoders.mockingjay import MockingJayConfig
from gemoclap.encoders.npc import NPCConfig
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError, did_you_mean

UNTRAINED: dict[str, type[PreTrainedConfig]] = {
    "compact": CompactConfig,
    "mockingjay": MockingJayConfig,
    "npc": NPCConfig,
}
"""Audio encoders that start from random weights, by the name that settings give them."""


def load_audio_encoder(
    name: str, layers: Literal["last", "weighted"] = "last", options: dict[str, Any] | None = None
) -> SpeechEncoder:
    """Return one of `UNTRAINED`, or an encoder from a hub id or a folder.

    Parameters
    ----------
    options : fields of the config of an untrained encoder, such as ``{"hidden_size": 256}``.

    Raises
    ------
    GemoclapError : the encoder cannot be loaded, or it has no such option, or not with that value.
    """
    options = options or {}
    if name not in UNTRAINED:
        if options:
            untrained = ", ".join(UNTRAINED)
            raise GemoclapError(f"model.audio_options is for untrained encoders ({untrained}), not for {name}")
        return SpeechEncoder.from_pretrained(name, layers)
    config_class = UNTRAINED[name]
    known = [field for field in config_class.__annotations__ if field != "model_type"]
    for option in options:
        if option not in known:
            raise GemoclapError(f"model.audio_options: {name} has no {option!r}{did_you_mean(option, known)}")
    try:
        return SpeechEncoder.from_config(config_class(**options), do_normalize=False, layers=layers)
    except (TypeError, ValueError) as error:
        raise GemoclapError(f"model.audio_options: {name}: {str(error).splitlines()[0]}") from error
