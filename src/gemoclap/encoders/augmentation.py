"""Switches SpecAugment and layer drop of a transformers model off where they must not be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

from gemoclap.encoders.overriding import config_saying


class OwnAugmentation:
    """Switches SpecAugment and layer drop of a model on and off. It keeps the settings of the checkpoint.

    Parameters
    ----------
    model : the model. Its config is changed.
    needs_every_layer : whether the output depends on all layers. Then no layer can be dropped.
    """

    def __init__(self, model: PreTrainedModel, needs_every_layer: bool) -> None:
        self._model: Any = model
        self._needs_every_layer = needs_every_layer
        config = model.config
        # If a config does not say, transformers augments.
        self._of_checkpoint: dict[str, Any] = {"apply_spec_augment": getattr(config, "apply_spec_augment", True)}
        if hasattr(config, "layerdrop"):
            self._of_checkpoint["layerdrop"] = config.layerdrop
        self._is_wanted = True

    @property
    def fills_hidden_frames(self) -> bool:
        """Whether a learned vector replaces the frames that SpecAugment hides. Whisper hides mel frames instead."""
        return hasattr(self._model, "masked_spec_embed") and not self._augments_input

    @property
    def _augments_input(self) -> bool:
        return getattr(self._model, "spec_augments_input", False)

    def switch_off(self) -> None:
        """Train without augmentation from now on, even if the checkpoint has it. Dropout stays."""
        self._is_wanted = False
        self.settle()

    def settle(self, frozen_front_end: bool = False, frozen_layers: bool = False, frozen_whole: bool = False) -> None:
        """Switch augmentation on, unless it was switched off, or would make the output of frozen layers random."""
        model, known = self._model, self._of_checkpoint
        is_on = self._is_wanted and not frozen_layers and not (self._augments_input and frozen_front_end)
        if "layerdrop" in known:
            model.config.layerdrop = known["layerdrop"] if is_on and not self._needs_every_layer else 0.0
        augments = bool(known["apply_spec_augment"]) and is_on
        if getattr(model.config, "apply_spec_augment", True) != augments:
            model.config.apply_spec_augment = augments
        if hasattr(model, "masked_spec_embed"):
            is_used = augments and self.fills_hidden_frames and model.config.mask_time_prob > 0 and not frozen_whole
            model.masked_spec_embed.requires_grad_(is_used)

    @contextmanager
    def as_loaded(self) -> Iterator[None]:
        """Restore the settings of the checkpoint in the config while it is saved."""
        with config_saying(self._model.config, self._of_checkpoint):
            yield
