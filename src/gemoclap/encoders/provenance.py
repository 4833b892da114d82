"""Whom an encoder has heard, with and without labels: kept in its config.json, so that it goes wherever the encoder goes.

An encoder that was trained with the labels of a speaker gives that speaker's emotions away to whatever is put on it. No
split of a later training's own can mend that, so those who test say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedConfig

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import common_speakers, speaker_name

LABELLED, HEARD = "labelled_speakers", "heard_speakers"
"""Fields of an encoder's config: lists of ``"corpus/speaker"``."""


def named_speakers(rows: Iterable[Utterance]) -> set[str]:
    """Return the speakers of `rows` that have a name."""
    return {speaker_name(row) for row in rows if row.speaker}


def remember(config: PreTrainedConfig, *, labelled: Iterable[str] = (), heard: Iterable[str] = ()) -> None:
    """Add speakers to those an encoder was trained with: with labels, or without."""
    fields: Any = config
    for name, new in ((LABELLED, labelled), (HEARD, heard)):
        known = {*getattr(config, name, ()), *new}
        if known:
            setattr(fields, name, sorted(known))


def known_speakers(config: PreTrainedConfig | None, among: Sequence[Utterance]) -> dict[str, list[str]]:
    """Return which speakers of some utterances an encoder knows: `LABELLED` and `HEARD`, each only where there are some."""
    present = named_speakers(among)
    labelled = common_speakers(getattr(config, LABELLED, None) or (), present)
    heard = common_speakers(getattr(config, HEARD, None) or (), present) - labelled
    return {name: sorted(found) for name, found in ((LABELLED, labelled), (HEARD, heard)) if found}


def warnings_of(encoders: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return a sentence for each encoder, by name, that knows speakers who are tested: what `known_speakers` found."""
    sentences = []
    for name, known in encoders.items():
        if labelled := known.get(LABELLED):
            sentences.append(
                f"the encoder {name} was trained with labels of speakers who are tested ({_few(labelled)}): the figures "
                "are not speaker-independent"
            )
        if heard := known.get(HEARD):
            sentences.append(f"the encoder {name} has heard speakers who are tested, without labels ({_few(heard)})")
    return sentences


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
