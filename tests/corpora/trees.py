"""Look-alikes of corpora: trees of files with the right names, every clip a link to one of a tenth of a second."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sound import write_tone


def plant(root: Path, names: Iterable[str]) -> Path:
    """Make the named files below `root`."""
    clip = write_tone(root.parent / f"{root.name}.clip.wav", seconds=0.1)
    made: set[Path] = set()
    for name in names:
        path = root / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        os.link(clip, path)
    return root
