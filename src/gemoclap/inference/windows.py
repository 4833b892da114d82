"""From stretches of speech to the windows that are classified."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gemoclap.audio import SAMPLE_RATE
from gemoclap.inference.speech import Speech
from gemoclap.inference.stream_state import LaneState

Turns = Mapping[str, Sequence[tuple[float, float]]]
"""Speaker -> (start, end) of their turns in seconds, in order and without overlap; see `turns.turns_by_speaker`."""


class WindowCutter:
    """Cuts speech into windows.

    A stretch up to `window` long is one window. In a longer one a window starts every `hop`. If half a hop or more is left
    at its end, one more window ends there.

    Parameters
    ----------
    window, hop : seconds.
    min_speech : seconds; a shorter stretch is left out.
    """

    def __init__(self, window: float, hop: float, min_speech: float) -> None:
        self.window, self.hop = round(window * SAMPLE_RATE), max(1, round(hop * SAMPLE_RATE))
        self._min_speech = max(1, round(min_speech * SAMPLE_RATE))

    def cut(self, lane: LaneState, speech: Speech) -> tuple[list[tuple[int, int]], tuple[int, int] | None]:
        """Return the windows that are complete now, and the stretch if it has ended.

        Both are in samples, first and last + 1. Speech that ended earlier may be given again; nothing comes of it.

        Parameters
        ----------
        lane : what was made of earlier speech; it is changed.
        speech : up to where it is known.
        """
        if speech.first < lane.done or speech.until <= speech.first:
            return [], None
        if lane.first < 0:
            lane.first = speech.first
        found = []
        while (start := lane.first + lane.made * self.hop) + self.window <= speech.until:
            found.append((start, start + self.window))
            lane.made += 1
        if not speech.has_ended:
            return found, None
        first, until = lane.first, speech.until
        counts = lane.made > 0 or until - first >= self._min_speech
        if not lane.made and counts:
            found.append((first, until))
        elif lane.made and until - (start - self.hop + self.window) >= self.hop / 2:
            found.append((until - self.window, until))
        lane.first, lane.made, lane.done = -1, 0, until
        return found, (first, until) if counts else None


def within_turns(found: Iterable[Speech], turns: Sequence[tuple[float, float]] | None) -> Iterator[Speech]:
    """Yield the parts of speech that lie in the turns of one speaker; all of it if `turns` is None."""
    if turns is None:
        yield from found
        return
    for speech in found:
        for start, end in _near(turns, speech):
            low, high = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
            first, until = max(speech.first, low), min(speech.until, high)
            if first < until:
                yield Speech(first, until, speech.has_ended or high <= speech.until)


def _near(turns: Sequence[tuple[float, float]], speech: Speech) -> Sequence[tuple[float, float]]:
    """Return the turns that may overlap with the speech, and not the thousands that lie elsewhere."""
    low = bisect_left(turns, speech.first / SAMPLE_RATE, key=lambda turn: turn[1])
    high = bisect_right(turns, speech.until / SAMPLE_RATE, key=lambda turn: turn[0])
    return turns[low:high]
