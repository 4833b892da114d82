"""The speakers that an encoder was trained on, with and without labels. They are stored in its config.json.

If an encoder was trained with the labels of a speaker, scores on that speaker are too good, even if a later training leaves the
speaker out. So reports say this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedConfig

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import common_speakers, speaker_name

LABELLED, HEARD = "labelled_speakers", "heard_speakers"
"""Fields in the config of an encoder. They are lists of ``"corpus/speaker"``."""


def named_speakers(rows: Iterable[Utterance]) -> set[str]:
    """Return the speakers of `rows` that have a name."""
    return {speaker_name(row) for row in rows if row.speaker}


def remember(config: PreTrainedConfig, *, labelled: Iterable[str] = (), heard: Iterable[str] = ()) -> None:
    """Add training speakers to the config of an encoder, those with labels or those without."""
    fields: Any = config
    for name, new in ((LABELLED, labelled), (HEARD, heard)):
        known = {*getattr(config, name, ()), *new}
        if known:
            setattr(fields, name, sorted(known))


def known_speakers(config: PreTrainedConfig | None, among: Sequence[Utterance]) -> dict[str, list[str]]:
    """Return the speakers of some utterances that an encoder was trained on, under `LABELLED` and `HEARD`, if there are any."""
    present = named_speakers(among)
    labelled = common_speakers(getattr(config, LABELLED, None) or (), present)
    heard = common_speakers(getattr(config, HEARD, None) or (), present) - labelled
    return {name: sorted(found) for name, found in ((LABELLED, labelled), (HEARD, heard)) if found}


def warnings_of(encoders: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return a warning for each encoder that was trained on test speakers, from name -> result of `known_speakers`."""
    sentences = []
    for name, known in encoders.items():
        if labelled := known.get(LABELLED):
            sentences.append(
                f"the encoder {name} was trained with labels of speakers who are tested ({_few(labelled)}): the figures "
                "are not speaker-independent"
            )
        if heard := known.get(HEARD):
            sentences.append(
                f"the encoder {name} was trained on speakers who are tested, without labels ({_few(heard)})"
            )
    return sentences


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
