"""Puts speakers into groups that are alike in emotions, genders and numbers of speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import row_speakers, shown_speakers
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary

EXCHANGED = 300
"""Largest number of speakers that are exchanged to balance groups. They are those with the fewest utterances."""


def balanced_groups(rows: Sequence[Utterance], number: int, vocabulary: Vocabulary) -> list[list[str]]:
    """Put whole speakers into `number` groups with similar emotions, genders and numbers of speakers.

    StratifiedGroupKFold of scikit-learn balances the emotions only, so we use our own method. It makes a sum of squares small:
    the squares of the share that each group has of each class, of the speakers of each gender, and of all speakers. Speakers
    are placed one by one, those with the most utterances first. Each goes into the group where the sum grows least. Then pairs
    of speakers in different groups are exchanged as long as this makes the sum smaller. If there are more than `EXCHANGED`
    speakers, only so many of those with the fewest utterances are exchanged. So the time is proportional to the number of
    speakers.

    Raises
    ------
    GemoclapError : fewer than two groups, or fewer speakers than groups.
    """
    shown = shown_speakers(rows)
    speakers = list(shown.values())
    if len(speakers) < 2:
        raise GemoclapError(
            f"the manifest has one speaker only ({', '.join(speakers)}), who cannot be both trained and tested on; add "
            "utterances of others, or divide by fold files (--data.folds files) with --data.allow_speaker_overlap true"
        )
    if not 2 <= number <= len(speakers):
        raise GemoclapError(
            f"data.n_folds is {number}, but {len(speakers)} speakers allow 2 to {len(speakers)} folds; set --data.n_folds"
        )
    place = {speaker: index for index, speaker in enumerate(speakers)}
    places = [place[str(name)] for name in row_speakers(rows, shown)]
    shares = _speaker_shares(rows, places, len(speakers), vocabulary)
    sizes = Counter(places)
    place_of = np.full(len(speakers), -1)
    totals = np.zeros((number, shares.shape[1]))
    order = sorted(range(len(speakers)), key=lambda index: -sizes[index])
    for speaker in order:
        # (a + s)^2 - a^2 = 2as + s^2, where only the first term differs between groups. It is 0 only for an empty group,
        # so no group stays empty.
        place_of[speaker] = int(np.argmin(totals @ shares[speaker]))
        totals[place_of[speaker]] += shares[speaker]
    _exchange_places(sorted(order[-EXCHANGED:]), place_of, totals, shares)
    return [[speakers[index] for index in np.flatnonzero(place_of == group)] for group in range(number)]


def _speaker_shares(
    rows: Sequence[Utterance], places: Sequence[int], number: int, vocabulary: Vocabulary
) -> np.ndarray:
    """Return the share that a speaker has of each class, of each gender and of all speakers: (S, classes + genders + 1).

    `places` has, for each row, the number of its speaker, from 0 to `number` - 1.
    """
    emotions = np.zeros((number, len(vocabulary.emotions)))
    genders = np.zeros((number, 2))
    for row, place in zip(rows, places, strict=True):
        emotions[place, vocabulary.emotions.index(str(vocabulary.resolve(row.emotion)))] += 1
        if row.gender is not None:
            genders[place, int(row.gender == "male")] = 1
    everything = np.concatenate([emotions, genders, np.ones((number, 1))], axis=1)
    return everything / np.maximum(everything.sum(axis=0), 1)


def _exchange_places(movable: Sequence[int], place_of: np.ndarray, totals: np.ndarray, shares: np.ndarray) -> None:
    """Exchange pairs of the `movable` speakers as long as the sum of squares falls by more than rounding."""
    better = True
    while better:
        better = False
        for number, one in enumerate(movable):
            for two in movable[number + 1 :]:
                here, there = place_of[one], place_of[two]
                move = shares[two] - shares[one]
                if here != there and 2 * move @ (totals[here] - totals[there] + move) < -1e-9:
                    totals[here] += move
                    totals[there] -= move
                    place_of[one], place_of[two] = there, here
                    better = True
