"""A fold from the partitions that a corpus comes divided into, such as MSP-Podcast's Train, Development and Test1."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.values import partition
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.wording import counted

logger = logging.getLogger(__name__)

TRAIN, DEV, TEST = "train", "dev", "test"
KEEP = "with --data.allow_speaker_overlap true"

Parts = tuple[tuple[Utterance, ...], tuple[Utterance, ...], tuple[Utterance, ...]]


def divide_by_partition(rows: Sequence[Utterance], tested: Sequence[str] | None, unnamed: bool) -> Parts:
    """Return the rows to train on, to develop on and to test on, by their field `partition`; others are left out.

    Parameters
    ----------
    tested : names of the partitions to test on; by default all that begin with ``test``.
    unnamed : keep rows without a speaker. Otherwise they are left out with a warning, because their speakers could be on both
        sides.

    Raises
    ------
    GemoclapError : no row has a partition, none is called ``train``, or one of `tested` is not there; or no row of the training
        or the test part has a speaker.
    """
    names = sorted({row.partition for row in rows if row.partition})
    if TRAIN not in names:
        found = f"only {', '.join(names)}" if names else "none"
        raise GemoclapError(
            f"--data.folds partitions needs rows with the partition {TRAIN!r}; the manifest has {found}; choose another "
            "--data.folds, or fill the field 'partition' in"
        )
    tests = [name for name in names if name.startswith(TEST)]
    testable = [name for name in names if name not in (TRAIN, DEV)]
    chosen = tests if tested is None else [partition(name) or name for name in tested]
    for name in chosen:
        if name not in testable:
            raise GemoclapError(
                f"data.test_partitions: no partition to test on is called {name!r}{did_you_mean(name, testable)}; "
                f"partitions of the manifest: {', '.join(names)}"
            )
    if rest := [row for row in rows if row.partition and row.partition not in {TRAIN, DEV, *tests, *chosen}]:
        logger.warning(
            "left out: %s, because the partition is not train, dev or a test: %s",
            counted(len(rest), "row"),
            ", ".join(
                f"{name} {count:,}" for name, count in sorted(Counter(str(row.partition) for row in rest).items())
            ),
        )
    parts = [[row for row in rows if row.partition in part] for part in ((TRAIN,), (DEV,), chosen)]
    train, dev, test = map(tuple, parts if unnamed else _named(parts, chosen))
    return train, dev, test


def _named(parts: Sequence[Sequence[Utterance]], tested: Sequence[str]) -> list[list[Utterance]]:
    """Return the rows that name a speaker, and warn of the others."""
    named = [[row for row in part if row.speaker] for part in parts]
    for names, before, after in zip(((TRAIN,), (DEV,), tested), parts, named, strict=True):
        if before and not after and names != (DEV,):
            raise GemoclapError(
                f"{counted(len(before), 'row')} of {', '.join(names)}, and none names a speaker, who may be on both sides of "
                f"the split; fill the field 'speaker' in, or keep such rows {KEEP}"
            )
    if left := sum(map(len, parts)) - sum(map(len, named)):
        logger.warning(
            "left out: %s without a speaker, because the speaker may be on both sides of the split; %s keeps such rows",
            counted(left, "row"),
            KEEP.removeprefix("with "),
        )
    return named
