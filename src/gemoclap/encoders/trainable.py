"""A transformers model of speech. Its parts can be frozen, adapted by LoRA, or trained to predict labels of hidden frames."""

from __future__ import annotations

import inspect
from typing import Any, Literal, Self

from torch import nn
from transformers import PreTrainedModel

from gemoclap.config import ModelSettings
from gemoclap.encoders.augmentation import OwnAugmentation
from gemoclap.encoders.freezing import layer_count, parts_to_freeze, unfreeze
from gemoclap.encoders.lora import add_lora
from gemoclap.errors import GemoclapError


class TrainableModel(nn.Module):
    """Wraps a transformers model, and decides which of its parts are trained and how its input is augmented.

    Parameters
    ----------
    model : the model. `freeze` and `settle` change its parts.
    needs_every_layer : whether the output depends on all layers. Then layer drop must be off.
    """

    def __init__(self, model: PreTrainedModel, needs_every_layer: bool) -> None:
        super().__init__()
        self.model = model
        self._frozen: list[nn.Module] = []
        self._frozen_layers: int | None = None
        self._trained_before: list[nn.Parameter] = []
        self._hides_frames = False
        self._augmentation = OwnAugmentation(model, needs_every_layer)

    @property
    def has_front_end(self) -> bool:
        """Whether the model begins with convolutions over the waveform, whose output can replace the waveform as input."""
        return hasattr(self.model, "feature_extractor")

    def is_frozen(self, what: Literal["front_end", "all"]) -> bool:
        """Whether a part is frozen. Then its output for a clip never changes."""
        part: Any = self.model if what == "all" else getattr(self.model, "feature_extractor", self.model)
        return any(part is module for frozen in self._frozen for module in frozen.modules())

    @property
    def frozen_modules(self) -> list[nn.Module]:
        """The parts that `freeze` has frozen, beginning at the input."""
        return list(self._frozen)

    def freeze(self, what: str | int) -> None:
        """Freeze a part of the model: it has no gradient and no dropout, in training mode too. This undoes an earlier call.

        Parameters
        ----------
        what : ``"none"``; ``"front_end"``, which is the convolutions over the waveform; ``"all"``, which is everything except
            the weights of ``layers="weighted"``; or n, which is the front end, its projection and everything up to transformer
            layer n. If n is above 0, SpecAugment and layer drop are switched off, because they would make frozen layers
            random. In a Whisper, which hides mel frames, a frozen front end switches them off too.

        Raises
        ------
        GemoclapError : the word is unknown, or the model has fewer layers.
        """
        unfreeze(self._frozen, self._trained_before)
        self._frozen, self._frozen_layers = [], None
        self._trained_before = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._frozen, self._frozen_layers = parts_to_freeze(self.model, what), layer_count(what)
        for module in self._frozen:
            module.requires_grad_(False)
        self._augmentation.settle(self.is_frozen("front_end"), bool(self._frozen_layers), self.model in self._frozen)
        self.train(self.training)

    def settle(self, settings: ModelSettings) -> None:
        """Augment, freeze and adapt the model as `settings` say. This is called once, before training.

        With low-rank adaptation, the front end is always frozen.

        Raises
        ------
        GemoclapError : as `freeze` and `lora.add_lora`.
        """
        if not settings.augment:
            self.switch_off_augmentation()
        what = settings.freeze
        if settings.lora_rank is not None:
            what = 0 if what in ("none", "front_end") else what
        self.freeze(what)
        if settings.lora_rank is not None:
            first = layer_count(what)
            if first is None:
                raise GemoclapError(
                    f"model.lora_rank: adapters need layers that are not frozen, and model.freeze is {what}; give it a number "
                    "below that of the layers"
                )
            add_lora(self.model, settings.lora_rank, settings.lora_alpha, first)

    def switch_off_augmentation(self) -> None:
        """Train without the SpecAugment and the layer drop of the model, even if its config has them. Dropout stays."""
        self._augmentation.switch_off()

    def expect_hidden_frames(self) -> None:
        """Let the caller choose the hidden frames.

        The model hides no frames itself then, and does not change the tempo. If it has a vector that replaces hidden frames,
        this vector is trained.

        Raises
        ------
        GemoclapError : the model cannot hide frames.
        """
        if "mask_time_indices" not in inspect.signature(self.model.forward).parameters:
            raise GemoclapError(f"a {self.model.config.model_type} encoder cannot hide frames; take another one")
        if self.has_front_end and not hasattr(self.model, "masked_spec_embed"):
            raise GemoclapError(
                f"this {self.model.config.model_type} encoder has nothing to put in the place of hidden frames; set "
                "mask_time_prob above 0 in its config.json"
            )
        self.switch_off_augmentation()
        self._hides_frames = True
        if hasattr(self.model, "masked_spec_embed"):
            self.model.masked_spec_embed.requires_grad_(self.model not in self._frozen)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but not for frozen parts: their dropout stays off."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self
