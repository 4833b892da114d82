"""Tells transformers of this package's models, once both are imported, in either order.

``import gemoclap`` must stay quick, and must work without transformers and torch, so it cannot import the classes. Here a
class of transformers' own stands in for each config. It imports the real one when a config.json names it; the real one
then takes its place, since its module registers itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

HOMES = {
    "gemoclap": "gemoclap.clap.model",
    "gemoclap-classifier": "gemoclap.heads.classifier",
    "gemoclap-intensity": "gemoclap.ems.intensity",
    "gemoclap-compact": "gemoclap.encoders.compact",
    "gemoclap-mockingjay": "gemoclap.encoders.mockingjay",
    "gemoclap-npc": "gemoclap.encoders.npc",
    "gemoclap-small": "gemoclap.encoders.small",
    "gemoclap-w2v-bert": "gemoclap.encoders.w2v_bert",
    "gemoclap-whisper": "gemoclap.encoders.whisper",
}
"""``model_type`` of each config of this package -> the module that registers it with transformers."""
REGISTRY = "transformers.models.auto.configuration_auto"
"""The module of transformers that knows all configs."""


def register_with_transformers() -> None:
    """Register all models now if transformers' registry is imported, otherwise right after it is."""
    if REGISTRY in sys.modules:
        _register(sys.modules[REGISTRY])
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register(registry: Any) -> None:
    known = registry.CONFIG_MAPPING
    for model_type, home in HOMES.items():
        if model_type not in known:
            registry.AutoConfig.register(model_type, _stand_in(registry, model_type, home))


def _stand_in(registry: Any, model_type: str, home: str) -> type:
    """Return a class of configs that imports the module `home` for its first config, and leaves all to the class there."""

    def real() -> Any:
        import_module(home)
        return registry.CONFIG_MAPPING[model_type]

    class StandIn(registry.PreTrainedConfig):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return real()(*args, **kwargs)

        @classmethod
        def from_dict(cls, *args: Any, **kwargs: Any) -> Any:
            return real().from_dict(*args, **kwargs)

        @classmethod
        def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
            return real().from_pretrained(*args, **kwargs)

    StandIn.model_type = model_type
    return StandIn


class _AfterImport(MetaPathFinder):
    """Finds transformers' registry as Python does, and lets `_register` follow its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(Loader):
    """A loader that calls `_register` after the one it is made of has run a module."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register(module)
