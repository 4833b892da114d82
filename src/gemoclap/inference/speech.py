"""Detects speech in sound that arrives in chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gemoclap.audio import SAMPLE_RATE
from gemoclap.inference.silero import CONTEXT, FRAME, SIZE, SpeechNet, load_speech_net, speech_probabilities
from gemoclap.inference.stream_settings import HYSTERESIS, SpeechRules

GROUP = 16 * FRAME
"""Samples that are processed together, about half a second. The groups do not depend on the chunks, so neither do the
probabilities, to the last bit."""
PAD_SECONDS = 0.03
"""As in Silero: seconds that are added before and after speech."""


ANY_SPEECH = SpeechRules(threshold=0.3, min_speech=0.0)
"""Rules to find out whether a clip has any speech. Noise, tones, music and clicks stay below 0.15; of 1,600 clips of four
corpora, one is below 0.3."""


class Speech(NamedTuple):
    """A segment of speech, as far as it has been detected.

    Attributes
    ----------
    first : its first sample.
    until : it includes all samples before this one, and maybe more.
    has_ended : whether it ends there.
    """

    first: int
    until: int
    has_ended: bool


@dataclass
class SpeechState:
    """The state of a `SpeechDetector`.

    Attributes
    ----------
    samples : number of samples processed so far.
    context, hidden, cell : see `silero.speech_probabilities`.
    speaks_since : first sample of the current speech, -1 if there is none.
    silent_since : first sample of the current pause in it, -1 if there is none.
    """

    samples: int = 0
    context: np.ndarray = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    hidden: np.ndarray = field(default_factory=lambda: np.zeros(SIZE, np.float32))
    cell: np.ndarray = field(default_factory=lambda: np.zeros(SIZE, np.float32))
    speaks_since: int = -1
    silent_since: int = -1


class SpeechDetector:
    """Finds speech in sound at 16 kHz with Silero's model and the rules of its ``get_speech_timestamps``.

    There is one difference: a pause at the very end of the sound is not speech.

    Parameters
    ----------
    net : computes the probabilities.
    rules : decide what counts as speech.
    state : the state to continue from.
    """

    def __init__(self, net: SpeechNet, rules: SpeechRules, state: SpeechState) -> None:
        self._net, self._rules, self.state = net, rules, state
        self._min_silence = round(rules.min_silence * SAMPLE_RATE)
        self._min_speech = round(rules.min_speech * SAMPLE_RATE)
        self._pad = min(round(PAD_SECONDS * SAMPLE_RATE), self._min_silence // 2)

    def add(self, samples: np.ndarray) -> list[Speech]:
        """Process the next samples ``(GROUP,)``, fewer only at the very end, and return the speech in them.

        Returns
        -------
        Each stretch that has ended, and the one that goes on, once it is long enough to count.
        """
        state = self.state
        frames = np.concatenate([samples, np.zeros(-len(samples) % FRAME, np.float32)])
        probabilities, state.context, state.hidden, state.cell = speech_probabilities(
            self._net, frames, state.context, state.hidden, state.cell
        )
        found = []
        for place, probability in enumerate(probabilities):
            if ended := self._frame(float(probability), state.samples + place * FRAME):
                found.append(ended)
        state.samples += len(samples)
        if state.speaks_since >= 0 and self._counts(known := self._known()):
            found.append(Speech(self._start(), known, False))
        return found

    def finish(self) -> list[Speech]:
        """Return the speech that the end of the sound has cut off."""
        state = self.state
        known = min(self._known() + (self._pad if state.silent_since >= 0 else 0), state.samples)
        last = [Speech(self._start(), known, True)] if state.speaks_since >= 0 and self._counts(self._known()) else []
        state.speaks_since = state.silent_since = -1
        return last

    def _frame(self, probability: float, first: int) -> Speech | None:
        """Take a frame that begins at sample `first`; return speech that has ended before it."""
        state, rules = self.state, self._rules
        if probability >= rules.threshold:
            state.silent_since = -1
            if state.speaks_since < 0:
                state.speaks_since = first
            return None
        if state.speaks_since < 0 or probability >= rules.threshold - HYSTERESIS:
            return None
        if state.silent_since < 0:
            state.silent_since = first
        if first - state.silent_since < self._min_silence:
            return None
        ended = Speech(self._start(), state.silent_since + self._pad, True)
        counts = self._counts(state.silent_since)
        state.speaks_since = state.silent_since = -1
        return ended if counts else None

    def _known(self) -> int:
        """Return up to where the speech that goes on reaches at least."""
        return self.state.samples if self.state.silent_since < 0 else self.state.silent_since

    def _start(self) -> int:
        return max(0, self.state.speaks_since - self._pad)

    def _counts(self, until: int) -> bool:
        return until - self.state.speaks_since > self._min_speech


def speech_spans(waveform: np.ndarray, rules: SpeechRules) -> list[tuple[int, int]]:
    """Return where somebody speaks in sound: first sample and end (exclusive) of each stretch, in order.

    Parameters
    ----------
    waveform : 16 kHz mono, float32 ``(T,)``, short enough to be looked at at once.

    Raises
    ------
    GemoclapError : the package silero-vad is not installed.
    """
    detector = SpeechDetector(load_speech_net(), rules, SpeechState())
    found = [one for one in detector.add(waveform) if one.has_ended]
    return [(one.first, one.until) for one in [*found, *detector.finish()]]


def has_speech(blocks: Iterable[np.ndarray], rules: SpeechRules = ANY_SPEECH) -> bool:
    """Whether there is speech in sound; no more of it is looked at than needed to find out.

    Parameters
    ----------
    blocks : 16 kHz mono, float32 ``(T,)`` each.

    Raises
    ------
    GemoclapError : the package silero-vad is not installed.
    """
    detector = SpeechDetector(load_speech_net(), rules, SpeechState())
    waiting = np.zeros(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        whole = len(waiting) // GROUP * GROUP
        if any(detector.add(waiting[first : first + GROUP]) for first in range(0, whole, GROUP)):
            return True
        waiting = waiting[whole:]
    return bool((len(waiting) and detector.add(waiting)) or detector.finish())
