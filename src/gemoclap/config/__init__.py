"""Every setting of the project, as plain dataclasses.

jsonargparse turns each field into an option and a YAML key. The ``Args:`` blocks of the docstrings are their help.

The defaults are for the compact encoder, which needs no download. `configs/base.yaml` lists all settings with these
defaults; `configs/paper.yaml` has the paper's settings. Marks: [P] = from the paper, [S] = from a secondary source,
[C] = our choice; see docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from gemoclap.config.data import OF_FOLDS, AudioSettings, CacheSettings, DataSettings, idle_folds
from gemoclap.config.gmp import GmpSettings
from gemoclap.config.limits import AT_LEAST_0, AT_LEAST_1, INSIDE_0_1, POSITIVE, SHARE, Limit, check_limits, check_seeds
from gemoclap.config.methods import (
    BASELINES,
    HEADS,
    METHODS,
    OF_PROJECTION,
    OF_PROMPTS,
    ONE_TRAINING,
    TITLES,
    TRAINED,
    VOTED,
    affected,
    check_methods,
    meaningless_to_heads,
)
from gemoclap.config.model import ModelSettings
from gemoclap.config.training import ObjectiveSettings, TrainSettings

__all__ = [
    "AT_LEAST_0",
    "AT_LEAST_1",
    "AudioSettings",
    "BASELINES",
    "CacheSettings",
    "DataSettings",
    "GmpSettings",
    "HEADS",
    "INSIDE_0_1",
    "Limit",
    "METHODS",
    "ModelSettings",
    "OF_FOLDS",
    "OF_PROJECTION",
    "OF_PROMPTS",
    "ONE_TRAINING",
    "ObjectiveSettings",
    "POSITIVE",
    "SHARE",
    "Settings",
    "TITLES",
    "TRAINED",
    "VOTED",
    "TrainSettings",
    "check_limits",
    "check_methods",
    "check_seeds",
    "affected",
    "idle_folds",
    "idle_settings",
    "meaningless_to_heads",
]


@dataclass
class Settings:
    """All settings of a run. They are saved in the run's folder, beside its results."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    gmp: GmpSettings = field(default_factory=GmpSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def to_dict(self) -> dict:
        """Return the settings as nested dicts and lists, for YAML and JSON."""
        return asdict(self)


def idle_settings(settings: Settings, methods: Sequence[str]) -> list[str]:
    """Return the settings of `objective` and `gmp` that are not the default and have no effect on any of the methods."""
    own, default = settings.to_dict(), Settings().to_dict()
    changed = [
        f"{section}.{name}"
        for section in ("objective", "gmp")
        for name, value in own[section].items()
        if value != default[section][name]
    ]
    projects = settings.model.project_plain_heads
    return [name for name in changed if not {*affected(name, projects)} & {*methods}]
