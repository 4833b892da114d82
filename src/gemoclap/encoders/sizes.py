"""Checks the sizes in an encoder's config before a network is built from them."""

from __future__ import annotations

from typing import Any


def refuse_impossible(config: Any, *names: str) -> None:
    """Raise a ValueError unless the fields `names` of `config` are whole numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def refuse_even_kernel(config: Any) -> None:
    """Raise a ValueError unless ``config.kernel_size`` is odd."""
    if not isinstance(config.kernel_size, int) or config.kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, not {config.kernel_size!r}")
