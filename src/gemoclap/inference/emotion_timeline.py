"""Emotion over time in a recording of any length, for each channel or each speaker."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from gemoclap.audio import Channels, open_channels
from gemoclap.audio.checks import ChannelPower
from gemoclap.audio.clipping import Clipping
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.adaptation import statistics_of
from gemoclap.inference.adapted_windows import Adapt, KeptFeatures, WindowAnswer, answers_by_all, check_adapt
from gemoclap.inference.answers import CANCEL_REMARK, NO_SPEECH_REMARK, SILENT_REMARK, clipped_remark, level_remark
from gemoclap.inference.clips import CLIPPED, OVERLOADED, SILENT
from gemoclap.inference.envelope import Envelope
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.smoothing import SMOOTH_SECONDS, EmotionSegment, check_smoothing, segments, smoothed
from gemoclap.inference.stream import EmotionStream, EmotionWindow, window_of
from gemoclap.inference.stream_settings import StreamSettings, known_options
from gemoclap.inference.turns import Turn, lane_names, remarks_on_turns, turns_by_speaker
from gemoclap.inference.windows import Turns
from gemoclap.wording import counted

By = Literal["recording", "channel"]
"""Whether the channels are mixed or looked at apart."""
MIXED = "channels were mixed"
"""End of the remark on a recording with several channels; `with_advice` adds how to look at each."""
Progress = Callable[[float, float | None], None]
"""Gets the seconds that are done and, where the file says so, the seconds of all."""


@dataclass(frozen=True)
class Lane:
    """The emotions of one speaker, one channel, or the whole recording.

    Attributes
    ----------
    name : of the speaker, ``channel 1`` and so on, or ``recording``.
    speech : (start, end) in seconds of stretches of speech.
    windows : N windows inside these, as a stream gives them.
    smoothed : ``(N, C)`` probabilities over time, see `smoothing.smoothed`; NaN for a window that has no answer.
    segments : stretches of one leading emotion.
    remarks : what should be known before these are believed, a line each.
    envelope : loudness over time, for a picture.
    statistics : that the windows were adapted by; None if nothing was adapted, or there are no windows.
    """

    name: str
    speech: list[tuple[float, float]]
    windows: list[EmotionWindow]
    smoothed: np.ndarray
    segments: list[EmotionSegment]
    remarks: list[str]
    envelope: Envelope
    statistics: Statistics | None = None


@dataclass(frozen=True, repr=False)
class EmotionTimeline:
    """Emotion over time in a recording.

    Attributes
    ----------
    path : of the recording.
    duration : seconds.
    labels : the C emotions.
    lanes : one for each speaker or channel.
    remarks : lines about the whole recording.
    settings : the settings that it was made with, as plain data.
    """

    path: str
    duration: float
    labels: tuple[str, ...]
    lanes: list[Lane]
    remarks: list[str]
    settings: dict[str, Any]

    def __repr__(self) -> str:
        windows = counted(sum(len(lane.windows) for lane in self.lanes), "window")
        names = ", ".join(lane.name for lane in self.lanes)
        return f"<EmotionTimeline of {self.path}: {self.duration:.1f} s, {windows}, {names}>"

    @property
    def adaptation(self) -> str:
        """What the predictions are adapted to, in words; empty if there is no adaptation."""
        if not any(lane.statistics for lane in self.lanes):
            return ""
        if self._earlier:  # the file may be of each speaker, or of all together
            return f"adapted with {self._earlier}"
        return f"adapted to {'each speaker' if len(self.lanes) > 1 else 'this recording'}"

    @property
    def adaptation_explained(self) -> str:
        """`adaptation` as a sentence for readers who do not know the option; empty if nothing is adapted."""
        if not self.adaptation:
            return ""
        if self._earlier:
            beside = "how the voices sound in the recordings that were measured for it"
        else:
            beside = f"how {'that speaker' if len(self.lanes) > 1 else 'the voice'} sounds in the whole recording"
        return f"{self.adaptation[0].upper()}{self.adaptation[1:]}: emotions are judged against {beside}."

    @property
    def _earlier(self) -> str:
        """The source of the statistics for adaptation, in words; empty if they come from this recording."""
        adapt = str(self.settings.get("adapt"))
        return {"none": "", "speaker": "", "statistics": "what was measured before"}.get(adapt, adapt)


def with_advice(found: EmotionTimeline, advice: str) -> EmotionTimeline:
    """Return a timeline whose remark on mixed channels says what to do.

    The advice names an option, which is called differently on the command line and in the server, so it is not added here.
    """
    return replace(found, remarks=[f"{one}; {advice}" if one.endswith(MIXED) else one for one in found.remarks])


@known_options
def emotion_timeline(
    predictor: Predictor,
    path: str | os.PathLike | Channels,
    by: By = "recording",
    turns: Sequence[Turn] | None = None,
    settings: StreamSettings | None = None,
    smooth: float = SMOOTH_SECONDS,
    labels: Sequence[str] | None = None,
    threshold: float = 0.0,
    batch_size: int = 16,
    adapt: Adapt = None,
    progress: Progress | None = None,
) -> EmotionTimeline:
    """Find speech in a recording and the emotions in it.

    The file is decoded in blocks: sound in memory does not grow with its length. With adaptation, neither do the 4 kB of
    features of a window, which go to a temporary file when there are many.

    Parameters
    ----------
    path : of the recording, or the recording opened.
    by : "channel" looks at each channel apart, "recording" at their mean.
    turns : who speaks when (`turns.read_turns`): a lane each. Only together with "recording".
    settings : how sound becomes windows.
    smooth : reach of the smoothing, in seconds.
    threshold : speech in which no emotion has this smoothed probability is `smoothing.UNKNOWN`.
    labels, batch_size : as for `EmotionStream`.
    adapt : "speaker" adapts each lane to all its windows, those that come later included. Statistics that were measured before
        hold for all lanes, or by the name of the lane. None adapts nothing.

    Raises
    ------
    GemoclapError : the file cannot be read, or a setting makes no sense; there is something to adapt, and the model does not
        standardise its features.
    """
    _check_lanes(by, turns)
    check_adapt(adapt)
    check_smoothing(smooth, threshold)
    with nullcontext(path) if isinstance(path, Channels) else open_channels(path) as file:
        by_speaker = None if turns is None else turns_by_speaker(turns)
        names = lane_names(file.channels, by)
        tracks = [
            _Track(predictor, file.sample_rate, settings, by_speaker, labels, batch_size, name, adapt) for name in names
        ]
        samples, power, clipping = 0, ChannelPower(), Clipping()
        with closing(file.blocks()) as blocks:
            for block in blocks:
                samples += len(block)
                clipping.add(block)
                columns = block
                if by != "channel":
                    columns = block.mean(axis=1, keepdims=True)
                    power.add(block, columns[:, 0])
                for track, channel in zip(tracks, columns.T, strict=True):
                    track.add(channel)
                if progress:
                    progress(samples / file.sample_rate, file.samples and file.samples / file.sample_rate)
        for track in tracks:
            track.finish()
        duration = samples / file.sample_rate
        remarks = [*tracks[0].stream.remarks]
        if turns is not None:
            remarks += remarks_on_turns(turns, duration)
        if power.cancel:
            remarks.append(CANCEL_REMARK)
        if by != "channel" and clipping.share >= CLIPPED:
            remarks.append(clipped_remark(clipping.share))
        if by == "recording" and turns is None and file.channels > 1:
            remarks.append(f"{file.channels} {MIXED}")
    known = tuple(labels or predictor.labels)
    lanes = [lane for track in tracks for lane in track.lanes(known, smooth, threshold)]
    if by == "channel":
        for lane, share in zip(lanes, clipping.shares, strict=True):
            lane.remarks.extend([clipped_remark(share)] if share >= CLIPPED else [])
    made_with = _plain_settings(tracks[0].stream.settings) | {
        "by": "turns" if turns is not None else by,
        "smooth": smooth,
        "threshold": threshold,
        "adapt": "none" if adapt is None else "speaker" if adapt == "speaker" else "statistics",
    }
    return EmotionTimeline(file.path, duration, known, lanes, remarks, made_with)


def _check_lanes(by: object, turns: object) -> None:
    """Raise a GemoclapError if `by` or `turns` of `emotion_timeline` is something else than it takes."""
    if by not in (known := get_args(By)):
        raise GemoclapError(f"by must be one of {', '.join(known)}, not {by!r}; for a lane a speaker, give turns")
    if turns is None:
        return
    if by == "channel":
        raise GemoclapError("give turns or 'by channel', not both: turns say who speaks in the recording as a whole")
    if isinstance(turns, str) or not isinstance(turns, Sequence) or not all(isinstance(one, Turn) for one in turns):
        raise GemoclapError(
            "turns must be a list of Turn, as gemoclap.inference.turns.read_turns(file, recording) returns it"
        )


class _Track:
    """A channel, or the mean of all: its stream, its windows so far and its outline."""

    def __init__(
        self,
        predictor: Predictor,
        sample_rate: int,
        settings: StreamSettings | None,
        turns: Turns | None,
        labels: Sequence[str] | None,
        batch_size: int,
        name: str,
        adapt: Adapt,
    ) -> None:
        self._predictor, self._labels, self._name, self._turns = predictor, labels, name, turns
        if turns is None and adapt is not None and adapt != "speaker":
            adapt = statistics_of(name, adapt)
        self._kept = KeptFeatures() if adapt == "speaker" else None
        self.stream = EmotionStream(predictor, sample_rate, settings, turns, labels, batch_size, adapt, kept=self._kept)
        self._envelope = Envelope(sample_rate)
        self._windows: list[EmotionWindow] = []

    def add(self, samples: np.ndarray) -> None:
        self._envelope.add(samples)
        self._windows += self.stream.add_checked(samples)

    def finish(self) -> None:
        """End the sound. Windows that were adapted to those before them are now adapted to all."""
        self._windows += self.stream.finish()
        if self._kept:
            answered = [one for one in self._windows if not one.error]
            speakers = [one.speaker or "" for one in answered]
            statistics = {name: found for name in set(speakers) if (found := self.stream.statistics(name))}
            answers = answers_by_all(self._predictor, self._kept, speakers, statistics, self._labels)
            self._windows = [one if one.error else _with_answer(one, next(answers)) for one in self._windows]

    def lanes(self, labels: tuple[str, ...], smooth: float, threshold: float) -> list[Lane]:
        """Return a lane for each speaker, or the one lane where no turns were given."""
        found = []
        for speaker in [None] if self._turns is None else self._turns:
            own = [one for one in self._windows if one.speaker == speaker]
            speech = [(start, end) for who, start, end in self.stream.speech if who == speaker]
            statistics = self.stream.statistics(speaker or "") if own else None
            name = self._name if speaker is None else speaker
            found.append(_lane(name, labels, speech, own, smooth, threshold, self._envelope, statistics))
        return found


def _with_answer(window: EmotionWindow, answer: WindowAnswer | GemoclapError) -> EmotionWindow:
    """Return a window with another answer, and its own remark."""
    return replace(window_of((window.start, window.end), answer, window.speaker), remark=window.remark)


def _lane(
    name: str,
    labels: tuple[str, ...],
    speech: list[tuple[float, float]],
    windows: list[EmotionWindow],
    smooth: float,
    threshold: float,
    envelope: Envelope,
    statistics: Statistics | None,
) -> Lane:
    places = [(one.start, one.end) for one in windows]
    table = np.array([[one.probabilities.get(label, np.nan) for label in labels] for one in windows])
    table = table.reshape(-1, len(labels))
    means = smoothed(np.array([sum(place) / 2 for place in places]), table, smooth)
    remarks = []
    if envelope.peak < SILENT:
        remarks.append(SILENT_REMARK)
    elif not speech:
        remarks.append(NO_SPEECH_REMARK)
    if envelope.peak > OVERLOADED:
        remarks.append(level_remark(envelope.peak))
    if unanswered := [one for one in windows if one.error]:
        first = unanswered[0]
        remarks.append(
            f"{len(unanswered)} of {counted(len(windows), 'window')} without an answer, the first from {first.start:.2f} to "
            f"{first.end:.2f} s: {first.error}"
        )
    found = segments(labels, speech, places, means, threshold, [one.error for one in windows])
    return Lane(name, speech, windows, means, found, remarks, envelope, statistics)


def _plain_settings(settings: StreamSettings) -> dict[str, Any]:
    rules = settings.speech and {"detector": "silero-vad"} | asdict(settings.speech)
    return {"window": settings.window, "hop": settings.hop, "speech": rules}
