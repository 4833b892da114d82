"""The state of a stream between two chunks, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.speech import SpeechState


@dataclass
class LaneState:
    """How far the speech of one speaker has been cut into windows.

    Attributes
    ----------
    first : first sample of the current speech, -1 if there is none.
    made : number of windows cut from it so far.
    done : first sample after the previous speech.
    statistics : statistics of the features of the speaker's windows so far, if the stream adapts to speakers.
    counted : first sample after the windows that are in the statistics.
    """

    first: int = -1
    made: int = 0
    done: int = 0
    statistics: Statistics | None = None
    counted: int = 0


@dataclass
class PendingWindow:
    """A window that has not been classified yet, because the batch is not full.

    Attributes
    ----------
    speaker : name of its lane.
    first, last : first sample, and first sample after it.
    samples : float32 ``(last - first,)``.
    """

    speaker: str
    first: int
    last: int
    samples: np.ndarray


def _no_samples() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclass
class StreamState:
    """The state of an `EmotionStream`: numbers, text and arrays, and nothing of the model.

    Attributes
    ----------
    sample_rate : Hz of the chunks.
    held, left : state of the resampler, see `audio.BlockResampler`.
    waiting : samples at 16 kHz that are not processed yet.
    recent : the last processed samples at 16 kHz, as many as a window may still need.
    samples : number of samples processed so far.
    speech : state of the speech detector.
    lanes : speaker -> state of its windows; without turns, one lane with an empty name.
    pending : windows that are not classified yet.
    adapts : whether the stream adapts to each speaker.
    features : a hash of the features that the statistics of `lanes` describe, if it does.
    is_finished : whether the stream has ended.
    """

    sample_rate: int
    held: np.ndarray = field(default_factory=_no_samples)
    left: int = 0
    waiting: np.ndarray = field(default_factory=_no_samples)
    recent: np.ndarray = field(default_factory=_no_samples)
    samples: int = 0
    speech: SpeechState = field(default_factory=SpeechState)
    lanes: dict[str, LaneState] = field(default_factory=dict)
    pending: list[PendingWindow] = field(default_factory=list)
    adapts: bool = False
    features: str = ""
    is_finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; numbers go through it unchanged."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the state that `to_dict` gave.

        Raises
        ------
        GemoclapError : it is something else.
        """
        try:
            found = cls(**data)
            found.speech = _with_arrays(SpeechState(**data["speech"]))
            found.lanes = {name: _lane(lane) for name, lane in data["lanes"].items()}
            found.pending = [_with_arrays(PendingWindow(**one)) for one in data["pending"]]
            return _with_arrays(found)
        except (TypeError, KeyError, AttributeError, ValueError):
            raise GemoclapError("this is not the state of a stream; give what 'to_dict' returned") from None


def _lane(data: dict[str, Any]) -> LaneState:
    lane = LaneState(**data)
    if of_features := data.get("statistics"):
        lane.statistics = Statistics.read(of_features)
    return lane


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _with_arrays(state: Any) -> Any:
    """Make arrays of the lists in those fields that hold arrays."""
    for one in fields(state):
        if one.type == "np.ndarray":
            setattr(state, one.name, np.array(getattr(state, one.name), dtype=np.float32))
    return state
