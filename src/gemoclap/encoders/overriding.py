"""Changes a transformers model during a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def hiding(config: Any, is_on: bool) -> Iterator[None]:
    """Make a transformers model hide exactly the given frames, with any settings of SpecAugment."""
    with config_saying(config, {"apply_spec_augment": True, "mask_feature_prob": 0.0} if is_on else {}):
        yield


@contextmanager
def config_saying(config: Any, wanted: Mapping[str, Any]) -> Iterator[None]:
    """Change fields of a config. Those that it does not have are ignored."""
    before = {name: getattr(config, name) for name in wanted if hasattr(config, name)}
    for name in before:
        setattr(config, name, wanted[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


@contextmanager
def front_end_given(model: Any, features: Tensor, mask: Tensor) -> Iterator[None]:
    """During a call, replace the output of the front end with `features` ``(B, F, C)``, and the mask of frames with `mask`.

    transformers does the rest of the call, so each family keeps its steps between front end and layers.
    """
    model._get_feature_vector_attention_mask = lambda *args, **options: mask
    try:
        with calling_instead(model.feature_extractor, lambda inputs: features.transpose(1, 2)):
            yield
    finally:
        del model._get_feature_vector_attention_mask


@contextmanager
def calling_instead(module: Any, answer: Callable[..., Any]) -> Iterator[None]:
    """Replace the `forward` of a module with `answer`. Hooks and names do not change."""
    module.forward = answer
    try:
        yield
    finally:
        del module.forward
