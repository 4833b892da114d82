"""What a model can be asked for, by its config.json.

A command knows it before torch is imported, and refuses there what the model would refuse seconds later. The errors are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.inference.stream_settings import StreamSettings, complete
from gemoclap.labels import class_columns

PLAIN_HEAD = "gemoclap-classifier"
"""The type of models without prompts (`heads.classifier.SpeechClassifierConfig.model_type`)."""


@dataclass(frozen=True)
class Abilities:
    """What a model can be asked for.

    Attributes
    ----------
    max_seconds : of its longest clip; None if there is no limit.
    predicts_gender : whether it was trained on both emotion and gender.
    is_adaptable : whether it standardises its features.
    classes : the only labels of a model with a plain head; None if the model has prompts, and takes any words.
    """

    max_seconds: float | None
    predicts_gender: bool
    is_adaptable: bool
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Abilities:
        """Return those of a model with this config.json.

        Raises
        ------
        TypeError, ValueError, LookupError, AttributeError : it is of another shape.
        """
        longest = AudioSettings(**(config.get("preparation") or {})).max_seconds
        return cls(
            None if longest is None else float(longest),
            bool(config.get("gender_head")),
            bool(config.get("audio_standardize")),
            tuple(map(str, config["vocabulary"]["emotions"])) if config.get("model_type") == PLAIN_HEAD else None,
        )

    def check_gender(self) -> None:
        """Raise a GemoclapError if the model does not predict gender."""
        if not self.predicts_gender:
            raise no_gender()

    def check_adaptable(self) -> None:
        """Raise a GemoclapError if the model cannot be adapted."""
        if not self.is_adaptable:
            raise not_adaptable()

    def check_prompts(self) -> None:
        """Raise a GemoclapError if the model compares clips with no words."""
        if self.classes is not None:
            raise no_prompts()

    def check_labels(self, labels: Sequence[str] | None) -> None:
        """Raise a GemoclapError if the model cannot choose among these labels. What its prompts make of words is not known."""
        if self.classes is not None and labels is not None:
            class_columns(labels, self.classes)

    def check_windows(self, settings: StreamSettings) -> None:
        """Raise a GemoclapError if a window is longer than the model's longest clip, or the hop longer than the window."""
        complete(settings, self.max_seconds)


def abilities_of(source: str) -> Abilities | None:
    """Return the abilities of the model in a folder; None for the hub, or where only loading it says what is wrong."""
    path = Path(source) / "config.json"
    try:
        return Abilities.of(read_json(path, "")) if path.is_file() else None
    except (GemoclapError, OSError, TypeError, ValueError, LookupError, AttributeError):
        return None


def no_gender() -> GemoclapError:
    """Return the error of a model that does not predict gender."""
    return GemoclapError("this model does not predict gender; take one of ml_gemo_clap or multi_task")


def not_adaptable() -> GemoclapError:
    """Return the error of a model whose features are not standardised."""
    return GemoclapError(
        "this model does not standardise its features, so it cannot be adapted; train it frozen",
        for_clients="adapt: the model of this server cannot be adapted; leave adapt out, or set it to none",
    )


def no_prompts() -> GemoclapError:
    """Return the error of a model with a plain head that is asked for words."""
    return GemoclapError("this model has a plain head, which compares with no words; train a contrastive method")
