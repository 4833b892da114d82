"""What the server does for a request, whichever way it came: decode, classify, and say it in plain data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from gemoclap.audio import SAMPLE_RATE
from gemoclap.errors import GemoclapError
from gemoclap.inference.answers import NO_SPEECH, UNKNOWN
from gemoclap.inference.clips import LONGEST_SECONDS, Clip, ClipReader
from gemoclap.inference.emotion_timeline import EmotionTimeline, Lane, emotion_timeline, with_advice
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.silero import load_speech_net
from gemoclap.inference.smoothing import SMOOTH_SECONDS
from gemoclap.inference.speech import SpeechRules
from gemoclap.inference.stream import EmotionStream, EmotionWindow, StreamSettings
from gemoclap.models import GEmoClapModel
from gemoclap.reports.timeline_files import each_rounded, timeline_data, write_timeline
from gemoclap.serving.batching import Batcher, SharedPredictor
from gemoclap.serving.decoding import Decoders, Upload
from gemoclap.serving.limits import Limits
from gemoclap.serving.metrics import Metrics

Include = Literal["envelope", "csv", "vtt"]
Speech = Literal["detect", "all"]
Adapt = Literal["none", "speaker"]
CLIP_DECODERS = 4
"""Decoders for clips: more than one, so that a file that takes long does not hold up the others."""


@dataclass(frozen=True)
class WindowOptions:
    """How sound becomes windows; see `inference.stream.StreamSettings`.

    Attributes
    ----------
    labels : None for those of training.
    any_words : whether labels may be like no word for an emotion.
    speech : "all" takes all sound for speech.
    adapt : "speaker" adapts to the voice of each lane; in a stream to what was heard of it so far.
    """

    labels: tuple[str, ...] | None = None
    any_words: bool = False
    window: float | None = None
    hop: float = 1.0
    speech: Speech = "detect"
    adapt: Adapt = "none"

    @property
    def settings(self) -> StreamSettings:
        return StreamSettings(self.window, self.hop, SpeechRules() if self.speech == "detect" else None)


class Service:
    """A model, the thread that has it, and decoders.

    Parameters
    ----------
    predictor : classifies.
    name : of the model, as clients are told.
    limits : see there.
    batch_size : clips that go through the model together at most.
    """

    def __init__(self, predictor: Predictor, name: str, limits: Limits | None = None, batch_size: int = 16) -> None:
        self.limits, self.name, self.metrics = limits or Limits(), name, Metrics()
        self._model, self._labels = predictor.model, predictor.labels
        self._batcher = Batcher(predictor, batch_size, self.metrics)
        self._strict, self._free = Predictor(predictor.model), Predictor(predictor.model)
        self._free.any_words = True
        self._folder = Path(tempfile.mkdtemp(prefix="gemoclap-"))
        self.clip_decoders = Decoders(CLIP_DECODERS, self.limits)
        # A timeline keeps its decoder while the model is at work, so that clips need others.
        self.timeline_decoders = Decoders(self.limits.timelines, self.limits)
        lost = (self.clip_decoders, self.timeline_decoders)
        self.metrics.decoders_lost.set_function(lambda: sum(one.lost for one in lost))

    @property
    def folder(self) -> Path:
        """Where uploads lie while they are worked on."""
        return self._folder

    def warm_up(self) -> None:
        """Do what the first request would have to wait for."""
        load_speech_net()
        self.clip_decoders.warm_up()
        if isinstance(self._model, GEmoClapModel):  # the text encoder takes seconds, in which nobody is answered
            self._batcher.call(lambda: self._strict.check_labels(("calm", "excited"))).result()

    def close(self) -> None:
        """Answer what is in the queue, and let go of everything."""
        self._batcher.close()
        self.clip_decoders.close()
        self.timeline_decoders.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def about(self) -> dict[str, Any]:
        """Return what a client should know of the model and the limits."""
        model, limits = self._model, self.limits
        longest = model.config.clip_settings.max_seconds
        return {
            "model": self.name,
            "emotions": [*self._labels],
            "takes_any_labels": isinstance(model, GEmoClapModel),
            "can_be_adapted": model.standardizer is not None,
            "seconds_used_of_a_clip": None if longest is None else _whole(longest),
            "limits": {
                "megabytes": _whole(limits.body_bytes / 1e6),
                "seconds": _whole(limits.seconds),
                "labels": limits.labels,
                "requests_per_client": limits.per_client,
            },
        }

    def predictor(self, any_words: bool = False, until: float | None = None) -> SharedPredictor:
        """Return a predictor for any thread; see `Predictor.any_words` and `SharedPredictor`."""
        return SharedPredictor(self._free if any_words else self._strict, self._batcher, self.limits, until)

    def predict(
        self,
        upload: Upload,
        labels: tuple[str, ...] | None = None,
        any_words: bool = False,
        window: float | None = None,
        channel: int | None = None,
        threshold: float = 0.0,
    ) -> dict[str, Any]:
        """Return the emotion of a clip.

        Parameters
        ----------
        window : a longer clip is cut into parts of at most so many seconds; None takes what the model uses of a clip.
        channel : from 1; None mixes all.
        threshold : below this probability the emotion is `UNKNOWN`.

        Raises
        ------
        GemoclapError : nothing can be made of the file or of the labels; `Refused` where a limit is met.
        """
        predictor = self.predictor(any_words, self._until())
        predictor.check_labels(labels)
        audio = self._model.config.clip_settings
        longest = min((one for one in (audio.max_seconds, window) if one is not None), default=None)
        settings = replace(audio, max_seconds=longest)
        with ExitStack() as stack:
            recording = stack.enter_context(self.clip_decoders.clip(upload, settings, LONGEST_SECONDS, channel))
            clip = Clip(recording, recording.edges, ClipReader(settings, check_speech=True))
            if clip.held is not None:
                stack.close()  # all of it is in memory, so others may have the decoder while the model is at work
            answer = predictor.predict(clip, labels)
        if isinstance(answer, GemoclapError):
            raise answer
        duration = recording.samples / SAMPLE_RATE
        self.metrics.audio.labels("/v1/predict").inc(duration)
        return {"file": upload.name, "duration": round(duration, 4), **_prediction_data(answer, threshold)}

    def timeline(
        self,
        upload: Upload,
        options: WindowOptions,
        channel: int | Literal["mix", "each"] = "mix",
        smooth: float = SMOOTH_SECONDS,
        threshold: float = 0.0,
        include: Iterable[Include] = (),
    ) -> dict[str, Any]:
        """Return emotion over time in a recording, as `reports.timeline_files.timeline_data` has it.

        Parameters
        ----------
        channel : from 1; "mix" takes the mean of all, "each" looks at each apart.
        smooth, threshold : as for `inference.emotion_timeline.emotion_timeline`.
        include : what is added: the outline of the waveform, the files that 'gemoclap timeline' writes.

        Raises
        ------
        GemoclapError : as `predict`.
        """
        predictor = self.predictor(options.any_words, self._until())
        predictor.check_labels(options.labels)
        only = channel if isinstance(channel, int) else None
        with self.timeline_decoders.channels(upload, only) as file:
            found = emotion_timeline(
                predictor,  # type: ignore[arg-type]  # it has what a timeline needs
                file,
                by="channel" if channel == "each" else "recording",
                settings=options.settings,
                smooth=smooth,
                labels=options.labels,
                threshold=threshold,
                adapt="speaker" if options.adapt == "speaker" else None,
            )
        self.metrics.audio.labels("/v1/timeline").inc(found.duration)
        found = with_advice(found, "set channel to each for a lane a channel")
        data = timeline_data(found) | {"settings": _asked(found, options, channel)}
        wanted = set(include)
        if "envelope" in wanted:
            for lane, row in zip(found.lanes, data["speakers"], strict=True):
                row["envelope"] = _outline(lane)
        return data | {form: self._file(found, form, upload) for form in sorted(wanted - {"envelope"})}

    def stream(self, sample_rate: int, options: WindowOptions) -> EmotionStream:
        """Return a stream whose windows share batches with all others; raises as `EmotionStream`."""
        predictor = self.predictor(options.any_words)
        predictor.check_labels(options.labels)
        adapt: Literal["speaker"] | None = "speaker" if options.adapt == "speaker" else None
        return EmotionStream(
            predictor,  # type: ignore[arg-type]
            sample_rate,
            options.settings,
            labels=options.labels,
            adapt=adapt,
        )

    def _until(self) -> float:
        """Return when a request that has just come must be answered."""
        return monotonic() + self.limits.answer_seconds

    def _file(self, found: EmotionTimeline, form: str, upload: Upload) -> str:
        path = upload.path.with_suffix(f".{form}")
        try:
            write_timeline(path, found, {})
            return path.read_text(encoding="utf-8")
        finally:
            path.unlink(missing_ok=True)


def window_data(window: EmotionWindow) -> dict[str, Any]:
    """Return a window of a stream as plain data."""
    return {
        "type": "window",
        "start": round(window.start, 4),
        "end": round(window.end, 4),
        "emotion": window.emotion,
        "confidence": round(window.confidence, 6),
        "probabilities": each_rounded(window.probabilities),
        "remark": window.remark,
        "error": window.error,
    }


def _whole(number: float) -> float:
    """Return a whole number as an int, which JSON writes as 50; as a float it would be 50.0."""
    return int(number) if float(number).is_integer() else number


def _prediction_data(answer: Prediction, threshold: float) -> dict[str, Any]:
    emotion = answer.emotion if answer.confidence >= threshold else UNKNOWN
    return {
        "emotion": emotion if answer.has_speech else NO_SPEECH,
        "confidence": round(answer.confidence, 6),
        "probabilities": each_rounded(answer.probabilities),
        "has_speech": answer.has_speech,
        "parts": answer.parts,
        "remark": answer.remark,
    }


def _asked(found: EmotionTimeline, options: WindowOptions, channel: int | str) -> dict[str, Any]:
    """Return the settings of a timeline under the names and with the values of the API's options."""
    made = {name: found.settings[name] for name in ("window", "hop", "smooth", "threshold")}
    return {**made, "channel": str(channel), "speech": options.speech, "adapt": options.adapt}


def _outline(lane: Lane) -> dict[str, list[float]]:
    times, low, high = lane.envelope.outline()
    return {
        "times": [round(float(one), 4) for one in times],
        "low": [round(float(one), 4) for one in low],
        "high": [round(float(one), 4) for one in high],
    }
