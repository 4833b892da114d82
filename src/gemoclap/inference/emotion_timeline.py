"""Emotion over time in a recording of any length, for each channel or each speaker."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from gemoclap.audio import Channels, open_channels
from gemoclap.errors import GemoclapError
from gemoclap.inference.answers import NO_SPEECH_REMARK, SILENT_REMARK
from gemoclap.inference.clips import SILENT
from gemoclap.inference.envelope import Envelope
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.smoothing import SMOOTH_SECONDS, EmotionSegment, segments, smoothed
from gemoclap.inference.stream import EmotionStream, EmotionWindow, StreamSettings
from gemoclap.inference.turns import Turn, joined, remarks_on_turns

By = Literal["recording", "channel"]
"""Whether the channels are mixed or looked at apart."""
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
    """

    name: str
    speech: list[tuple[float, float]]
    windows: list[EmotionWindow]
    smoothed: np.ndarray
    segments: list[EmotionSegment]
    remarks: list[str]
    envelope: Envelope


@dataclass(frozen=True)
class EmotionTimeline:
    """Emotion over time in a recording.

    Attributes
    ----------
    path : of the recording.
    duration : seconds.
    labels : the C emotions.
    lanes : one a speaker or channel.
    remarks : on the recording as a whole, a line each.
    settings : how it was made, plain data.
    """

    path: str
    duration: float
    labels: tuple[str, ...]
    lanes: list[Lane]
    remarks: list[str]
    settings: dict[str, Any]


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
    progress: Progress | None = None,
) -> EmotionTimeline:
    """Find speech in a recording and the emotions in it.

    The file is decoded in blocks: sound in memory does not grow with its length.

    Parameters
    ----------
    path : of the recording, or the recording opened.
    by : "channel" looks at each channel apart, "recording" at their mean.
    turns : who speaks when (`turns.read_turns`): a lane each. Only together with "recording".
    settings : how sound becomes windows.
    smooth : reach of the smoothing, in seconds.
    threshold : speech in which no emotion has this smoothed probability is `smoothing.UNKNOWN`.
    labels, batch_size : as for `EmotionStream`.

    Raises
    ------
    GemoclapError : the file cannot be read, or a setting makes no sense.
    """
    if turns is not None and by == "channel":
        raise GemoclapError("give turns or 'by channel', not both: turns say who speaks in the recording as a whole")
    if not 0 <= smooth < float("inf"):
        raise GemoclapError(f"smooth must be 0 seconds or more, not {smooth}")
    if not 0 <= threshold <= 1:
        raise GemoclapError(f"threshold must lie between 0 and 1, not {threshold}")
    with nullcontext(path) if isinstance(path, Channels) else open_channels(path) as file:
        count = file.channels if by == "channel" else 1
        by_speaker = None if turns is None else joined(turns)
        streams = [
            EmotionStream(predictor, file.sample_rate, settings, by_speaker, labels, batch_size) for _ in range(count)
        ]
        envelopes = [Envelope(file.sample_rate) for _ in streams]
        found: list[list[EmotionWindow]] = [[] for _ in streams]
        samples = 0
        with closing(_columns(file, by)) as blocks:
            for block in blocks:
                samples += len(block)
                for stream, envelope, windows, channel in zip(streams, envelopes, found, block.T, strict=True):
                    envelope.add(channel)
                    windows += stream.add(channel)
                if progress:
                    progress(samples / file.sample_rate, file.samples and file.samples / file.sample_rate)
        for stream, windows in zip(streams, found, strict=True):
            windows += stream.finish()
        duration = samples / file.sample_rate
        remarks = remarks_on_turns(turns, duration) if turns is not None else []
        if by == "recording" and turns is None and file.channels > 1:
            remarks.append(f"{file.channels} channels were mixed; with 'by channel' each is looked at apart")
    names = [*by_speaker] if by_speaker is not None else None
    known = tuple(labels or predictor.labels)
    lanes = []
    for number, (stream, envelope, windows) in enumerate(zip(streams, envelopes, found, strict=True), 1):
        plain = f"channel {number}" if by == "channel" else "recording"
        for name in names or [plain]:
            speaker = name if names else None
            own = [one for one in windows if one.speaker == speaker]
            speech = [(start, end) for who, start, end in stream.speech if who == speaker]
            lanes.append(_lane(name, known, speech, own, smooth, threshold, envelope))
    made_with = _plain_settings(streams[0].settings) | {
        "by": "turns" if turns is not None else by,
        "smooth": smooth,
        "threshold": threshold,
    }
    return EmotionTimeline(file.path, duration, known, lanes, remarks, made_with)


def _columns(file: Channels, by: By) -> Generator[np.ndarray]:
    """Yield blocks ``(T, lanes)``."""
    for block in file.blocks():
        yield block if by == "channel" else block.mean(axis=1, keepdims=True)


def _lane(
    name: str,
    labels: tuple[str, ...],
    speech: list[tuple[float, float]],
    windows: list[EmotionWindow],
    smooth: float,
    threshold: float,
    envelope: Envelope,
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
    if unanswered := [one for one in windows if one.error]:
        first = unanswered[0]
        remarks.append(
            f"{len(unanswered)} of {len(windows)} windows without an answer, the first from {first.start:.2f} to "
            f"{first.end:.2f} s: {first.error}"
        )
    found = segments(labels, speech, places, means, threshold, [one.error for one in windows])
    return Lane(name, speech, windows, means, found, remarks, envelope)


def _plain_settings(settings: StreamSettings) -> dict[str, Any]:
    rules = settings.speech and {"detector": "silero-vad"} | asdict(settings.speech)
    return {"window": settings.window, "hop": settings.hop, "speech": rules}
