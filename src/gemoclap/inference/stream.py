"""Predicts emotions in sound that arrives in chunks: from a microphone, a live call, or a file of any length.

`inference.emotion_timeline` uses this for files, so both give the same windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gemoclap.audio import SAMPLE_RATE, BlockResampler
from gemoclap.audio.checks import HIGHEST_RATE, LOWEST_RATE
from gemoclap.audio.recording import UNNAMED
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.adapted_windows import Adapt, KeptFeatures, WindowAdapter, WindowAnswer, check_adapt
from gemoclap.inference.answers import UNKNOWN
from gemoclap.inference.clips import as_array, scaled
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.silero import load_speech_net
from gemoclap.inference.speech import GROUP, PAD_SECONDS, Speech, SpeechDetector
from gemoclap.inference.stream_settings import WINDOW_SECONDS, SpeechRules, StreamSettings, complete, known_options
from gemoclap.inference.stream_state import LaneState, PendingWindow, StreamState
from gemoclap.inference.windows import Turns, WindowCutter, within_turns
from gemoclap.labels import untrained_explained

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor

__all__ = ["EmotionStream", "EmotionWindow", "SpeechRules", "StreamSettings", "StreamState", "window_of"]


@dataclass(frozen=True)
class EmotionWindow:
    """The emotion in a window of speech.

    Attributes
    ----------
    start, end : seconds since the sound began.
    emotion : the most probable label; "unknown" if there is no prediction.
    confidence : its probability; 0 if there is no prediction.
    probabilities : label -> probability, of sum 1. Empty if there is no prediction.
    remark : a reason to trust the prediction less, as for `inference.predictor.Prediction`.
    speaker : the speaker, if turns were given.
    error : why there is no prediction; None if there is one.
    """

    start: float
    end: float
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    remark: str | None = None
    speaker: str | None = None
    error: str | None = None


class EmotionStream:
    """Takes chunks of sound and returns the emotion of each window of speech as soon as the window is complete.

    A segment of speech of up to `StreamSettings.window` seconds is one window. In a longer segment a window starts every
    `StreamSettings.hop` seconds, and the last one ends where the speech ends. The windows depend only on the sound: chunks of
    other sizes, or a stop and restart with `state`, give the same windows. Their probabilities are those of
    ``predictor(samples)``.

    Sound is processed half a second at a time, so a window is returned up to half a second after its last sample. The last
    window of a segment is returned when the pause after it has lasted `SpeechRules.min_silence`.

    Parameters
    ----------
    predictor : classifies the windows.
    sample_rate : Hz of the chunks.
    settings : how sound is cut into windows.
    turns : speaker -> (start, end) of their turns in seconds. Each speaker has separate windows. None = all sound is treated
        as one speaker's.
    labels : as for `Predictor`.
    batch_size : how many windows are classified together. More than one is faster on some machines, but windows are returned
        later; the probabilities then differ by the rounding of sums, up to 3e-5.
    adapt : "speaker" adapts to each speaker by their own windows so far (`adapted_windows.WindowAdapter`); without turns all
        sound is one speaker's. Statistics that were measured before (`adaptation.read_statistics`), for all speakers or by
        speaker, are used unchanged. None = no adaptation.
    kept : collects the features of windows that are adapted.
    state : the state of an earlier stream, to continue it.

    Attributes
    ----------
    state : everything that is stored between two chunks.
    speech : (speaker, start, end) in seconds of each segment of speech that has ended since this object was created.
    remarks : what makes all windows doubtful, a line each: labels that the model was not trained on.

    Raises
    ------
    GemoclapError : a setting makes no sense, or is longer than the model's longest clip; or `adapt` is given, and the model
        does not standardise its features.

    Examples
    --------
    >>> stream = predictor.stream(sample_rate=8000)  # doctest: +SKIP
    >>> for chunk in microphone:  # doctest: +SKIP
    ...     for window in stream.add(chunk):
    ...         print(window.start, window.emotion)
    >>> stream.finish()  # doctest: +SKIP
    """

    @known_options
    def __init__(
        self,
        predictor: Predictor,
        sample_rate: int = SAMPLE_RATE,
        settings: StreamSettings | None = None,
        turns: Turns | None = None,
        labels: Sequence[str] | None = None,
        batch_size: int = 1,
        adapt: Adapt = None,
        state: StreamState | None = None,
        kept: KeptFeatures | None = None,
    ) -> None:
        if not isinstance(sample_rate, int | np.integer) or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
            raise GemoclapError(
                f"sample_rate must be a whole number from {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {sample_rate!r}"
            )
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise GemoclapError(f"batch_size must be a whole number, 1 or more, not {batch_size!r}")
        _check_turns(turns)
        check_adapt(adapt)
        predictor.check_labels(labels)  # not when the first window is complete
        self.predictor, self.labels, self.batch_size = predictor, labels, batch_size
        doubtful = untrained_explained(labels or (), predictor.labels)
        self.remarks = [doubtful] if doubtful else []
        self.settings = complete(
            StreamSettings() if settings is None else settings, predictor.model.config.audio_settings.max_seconds
        )
        self.state = _begun(state, sample_rate, turns, predictor.feature_space() if adapt == "speaker" else None)
        self._adapter = (
            WindowAdapter(predictor, adapt, [*self.state.lanes], labels, batch_size, kept)
            if adapt is not None
            else None
        )
        self.speech: list[tuple[str | None, float, float]] = []
        self._turns = turns
        self._resampler = BlockResampler(sample_rate)
        self._resampler.held, self._resampler.left = self.state.held, self.state.left
        rules = self.settings.speech
        self._detector = SpeechDetector(load_speech_net(), rules, self.state.speech) if rules else None
        min_speech = rules.min_speech if rules else 0.0
        self._cutter = WindowCutter(self.settings.window or WINDOW_SECONDS, self.settings.hop, min_speech)
        # The oldest sample that a window may still need. A window can begin its own length before the newest speech.
        behind = self._cutter.window / SAMPLE_RATE + PAD_SECONDS + min_speech + (rules.min_silence if rules else 0.0)
        self._keep = round(behind * SAMPLE_RATE) + 3 * GROUP
        if len(self.state.recent) < min(self._keep, self.state.samples):
            raise GemoclapError(
                "the state is of a stream with shorter windows or pauses, which has not kept the sound that these need; give "
                "the settings that the stream began with"
            )

    def __repr__(self) -> str:
        seconds = self.state.samples / SAMPLE_RATE
        progress = f"finished after {seconds:.1f} s" if self.state.is_finished else f"{seconds:.1f} s so far"
        return f"<EmotionStream: a window of {self.settings.window:g} s every {self.settings.hop:g} s, {progress}>"

    def add(self, chunk: np.ndarray) -> list[EmotionWindow]:
        """Take the next samples and return the windows that are complete now.

        Parameters
        ----------
        chunk : mono ``(T,)``, T >= 0, at `sample_rate`: float with full scale at 1, or signed PCM.

        Raises
        ------
        GemoclapError : the chunk is not sound, or the stream was finished.
        """
        if self.state.is_finished:
            raise GemoclapError("the stream was finished; make another one")
        return self.add_checked(_as_float(chunk))

    def add_checked(self, chunk: np.ndarray) -> list[EmotionWindow]:
        """Do what `add` does, with float32 samples ``(T,)`` that were checked when they were read from a file."""
        self._take(self._resampler.add(chunk))
        return self._classified(self.batch_size)

    def finish(self) -> list[EmotionWindow]:
        """Return the remaining windows. Nothing can be added afterwards."""
        if self.state.is_finished:
            return []
        self._take(self._resampler.finish())
        if len(self.state.waiting):
            self._look_at(self.state.waiting)
            self.state.waiting = self.state.waiting[:0]
        ends = self._detector.finish() if self._detector else [Speech(0, self.state.samples, True)]
        self._cut(ends if self.state.samples else [])
        self.state.is_finished = True
        return self._classified(1)

    def statistics(self, speaker: str = "") -> Statistics | None:
        """Return the statistics that a speaker's next window would be adapted by, or None if nothing is adapted.

        Parameters
        ----------
        speaker : as named in the turns; an empty name without turns.
        """
        return self._adapter.statistics(speaker, self.state.lanes) if self._adapter else None

    def _take(self, blocks: Sequence[np.ndarray]) -> None:
        """Process the groups of samples that are complete with these blocks at 16 kHz."""
        state = self.state
        state.held, state.left = self._resampler.held, self._resampler.left
        waiting = np.concatenate([state.waiting, *blocks])
        whole = len(waiting) // GROUP * GROUP
        for first in range(0, whole, GROUP):
            self._look_at(waiting[first : first + GROUP])
        state.waiting = waiting[whole:].copy()

    def _look_at(self, samples: np.ndarray) -> None:
        state = self.state
        state.recent = np.concatenate([state.recent, samples])[-self._keep :]
        state.samples += len(samples)
        self._cut(self._detector.add(samples) if self._detector else [Speech(0, state.samples, False)])

    def _cut(self, found: Sequence[Speech]) -> None:
        """Cut out the windows that are complete in this speech, to be classified later."""
        oldest = self.state.samples - len(self.state.recent)
        for speaker, lane in self.state.lanes.items():
            turns = self._turns[speaker] if self._turns is not None else None
            for speech in within_turns(found, turns):
                windows, ended = self._cutter.cut(lane, speech)
                for first, last in windows:
                    samples = self.state.recent[first - oldest : last - oldest].copy()
                    self.state.pending.append(PendingWindow(speaker, first, last, samples))
                if ended:
                    start, end = (place / SAMPLE_RATE for place in ended)
                    self.speech.append((self._named(speaker), start, end))

    def _classified(self, at_least: int) -> list[EmotionWindow]:
        """Classify windows batch by batch, as long as there are `at_least` this many."""
        found: list[EmotionWindow] = []
        pending = self.state.pending
        while pending and len(pending) >= at_least:
            batch, pending[:] = pending[: self.batch_size], pending[self.batch_size :]
            for one, answer in zip(batch, self._answers(batch), strict=True):
                place = (one.first / SAMPLE_RATE, one.last / SAMPLE_RATE)
                found.append(window_of(place, answer, self._named(one.speaker)))
        return found

    def _answers(self, batch: Sequence[PendingWindow]) -> Iterable[Prediction | WindowAnswer | GemoclapError]:
        if self._adapter:
            return self._adapter.answers(batch, self.state.lanes)
        return self.predictor.predict_many([one.samples for one in batch], self.labels, self.batch_size)

    def _named(self, speaker: str) -> str | None:
        return speaker if self._turns is not None else None


def _begun(state: StreamState | None, sample_rate: int, turns: Turns | None, features: str | None) -> StreamState:
    """Return the state to go on with. `features` is that of a stream that adapts to each speaker, and None otherwise."""
    adapts = features is not None
    speakers = [""] if turns is None else [*turns]
    if state is not None and not isinstance(state, StreamState):
        raise GemoclapError(
            f"state must be a StreamState, not {type(state).__name__}; StreamState.from_dict makes one of what 'to_dict' gave"
        )
    if state is None:
        return StreamState(
            sample_rate, lanes={speaker: LaneState() for speaker in speakers}, adapts=adapts, features=features or ""
        )
    if state.sample_rate != sample_rate:
        raise GemoclapError(f"the state is of sound at {state.sample_rate} Hz, not {sample_rate}; give that rate")
    if [*state.lanes] != speakers:
        raise GemoclapError("the state is of other speakers; give the turns that the stream began with")
    if state.adapts != adapts:
        with_or_without = "with" if state.adapts else "without"
        raise GemoclapError(
            f"the state is of a stream made {with_or_without} adapt='speaker'; create this one in the same way"
        )
    if adapts and state.features != features:
        raise GemoclapError(
            "the state is of another model, or of an earlier version of it; give the model that the stream began with"
        )
    return state


def _check_turns(turns: Turns | None) -> None:
    """Raise a GemoclapError if turns are no mapping, such as the list of a file of turns."""
    if turns is not None and not isinstance(turns, Mapping):
        raise GemoclapError(
            f"turns must map each speaker to a list of (start, end) in seconds, not {type(turns).__name__}; turns_by_speaker "
            "makes that of what read_turns returns"
        )


def window_of(
    place: tuple[float, float], answer: Prediction | WindowAnswer | GemoclapError, speaker: str | None
) -> EmotionWindow:
    """Return the window from and to these seconds. A window without a prediction does not stop the others."""
    if isinstance(answer, GemoclapError):
        return EmotionWindow(*place, UNKNOWN, 0.0, {}, speaker=speaker, error=str(answer).removeprefix(f"{UNNAMED}: "))
    # Windows are averaged over time afterwards, so a low confidence in a single window means little.
    remark = answer.remarks.clip if isinstance(answer, Prediction) else answer.remark
    return EmotionWindow(*place, answer.emotion, answer.confidence, answer.probabilities, remark, speaker=speaker)


def _as_float(chunk: np.ndarray) -> np.ndarray:
    """Return a chunk as float32, full scale at 1."""
    samples = as_array(chunk)
    if samples is None or not samples.ndim:
        raise GemoclapError(f"a chunk must be an array of samples (T,), not {type(chunk).__name__}")
    if samples.ndim != 1:
        raise GemoclapError(
            f"a chunk must be mono, of shape (T,), not {samples.shape}; give each channel its own stream"
        )
    return scaled(samples, "a chunk")
