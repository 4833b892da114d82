"""Mixes the emotions and genders in batches, and the order of the batches."""

from __future__ import annotations

import math

import numpy as np


def deal(
    clips: np.ndarray, hands: int, emotions: np.ndarray, genders: np.ndarray, rng: np.random.Generator
) -> list[list[int]]:
    """Deal `clips`, sorted by emotion and gender, to `hands` batches. So each batch gets its share of emotions and genders."""
    order = np.lexsort((rng.random(len(clips)), genders[clips], emotions[clips]))
    return [clips[order[hand::hands]].tolist() for hand in rng.permutation(hands)]


def mix_emotions(batches: list[list[int]], lengths: np.ndarray, emotions: np.ndarray, budget: float = math.inf) -> None:
    """Give each batch with a single emotion a clip of another emotion, by an exchange with another batch.

    Of the batches that can give a clip, the one with the most similar length does. A batch can give a clip if it has several
    emotions afterwards: its other clips must not all have the emotion of the batch that receives the clip. If no batch can,
    and there is no `budget`, then every other batch has at most one clip of another emotion. No arrangement would be better.
    With a budget, only clips that fit are exchanged. An exchange can make another one possible, so this is repeated until
    nothing can be exchanged.
    """
    sizes = np.array([len(batch) for batch in batches])
    batch_of = np.empty(len(lengths), dtype=np.int64)
    for place, batch in enumerate(batches):
        batch_of[batch] = place
    exchanged = True
    while exchanged:
        exchanged = False
        for place, batch in enumerate(batches):
            if np.any(emotions[batch] != emotions[batch[0]]):
                continue
            strangers = emotions != emotions[batch[0]]
            can_give = np.bincount(batch_of[strangers], minlength=len(batches)) > 1
            can_take = lengths[batch].min() * sizes <= budget
            wanted = strangers & (lengths * len(batch) <= budget) & (can_give & can_take)[batch_of]
            if not wanted.any():
                continue
            donors = np.unique(batch_of[wanted])
            donor = int(donors[np.argmin(np.abs(donors - place))])
            mine = [clip for clip in batch if lengths[clip] * sizes[donor] <= budget]
            theirs = [clip for clip in batches[donor] if wanted[clip]]
            given, taken = _closest_in_length(mine, theirs, lengths)
            batch[batch.index(given)], batches[donor][batches[donor].index(taken)] = taken, given
            batch_of[given], batch_of[taken] = donor, place
            exchanged = True


def _closest_in_length(mine: list[int], theirs: list[int], lengths: np.ndarray) -> tuple[int, int]:
    gaps = np.abs(lengths[mine][:, None] - lengths[theirs][None, :])
    row, column = np.unravel_index(np.argmin(gaps), gaps.shape)
    return mine[row], theirs[column]


def shuffle_steps(batches: list[list[int]], rng: np.random.Generator, processes: int) -> list[list[int]]:
    """Shuffle the steps, which are `processes` consecutive batches each, and the batches within each step."""
    steps = rng.permutation(len(batches) // processes)
    return [batches[step * processes + place] for step in steps for place in rng.permutation(processes)]
