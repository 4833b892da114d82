"""The answers as the OpenAPI page describes them, each with an example."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PROBABILITIES: dict[str, Any] = {
    "neutral": 0.11,
    "happy": 0.74,
    "sad": 0.02,
    "angry": 0.1,
    "fearful": 0.02,
    "disgusted": 0.01,
}


class _Answer(BaseModel):
    # What a later version adds is passed on.
    model_config = ConfigDict(extra="allow")


class PredictionAnswer(_Answer):
    """The emotion of a clip."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "file": "clip.wav",
                    "duration": 2.31,
                    "emotion": "happy",
                    "confidence": 0.74,
                    "probabilities": PROBABILITIES,
                    "has_speech": True,
                    "parts": 1,
                    "remark": None,
                }
            ]
        },
    )

    file: str = Field(description="Name of the file, for people.")
    duration: float = Field(description="Seconds of sound in the file.")
    emotion: str = Field(description="The likeliest label, or 'unknown' or 'no speech'.")
    confidence: float = Field(description="Probability of the likeliest label.")
    probabilities: dict[str, float] = Field(description="Probability of each label; they add up to 1.")
    has_speech: bool = Field(description="Whether somebody speaks.")
    parts: int = Field(description="Parts that a long clip was cut into; the answer is their mean.")
    remark: str | None = Field(description="Why the answer may mean less than it seems.")


class Segment(_Answer):
    """A stretch of speech with one leading emotion; one without an answer is 'unknown' and has a field 'error'."""

    start: float
    end: float
    emotion: str
    confidence: float | None
    probabilities: dict[str, float]


class Speaker(_Answer):
    """The emotions of one speaker, one channel, or the recording as a whole; with its speech and its windows."""

    speaker: str
    remarks: list[str]
    speech: list[list[float]]
    segments: list[Segment]
    windows: list[dict[str, Any]]


class TimelineAnswer(_Answer):
    """Emotion over time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "file": "call.wav",
                    "duration": 6.5,
                    "emotions": [*PROBABILITIES],
                    "settings": {
                        "window": 4.0,
                        "hop": 1.0,
                        "smooth": 2.0,
                        "threshold": 0.0,
                        "channel": "mix",
                        "speech": "detect",
                        "adapt": "none",
                    },
                    "remarks": [],
                    "speakers": [
                        {
                            "speaker": "recording",
                            "remarks": [],
                            "speech": [[0.4, 5.1]],
                            "segments": [
                                {
                                    "start": 0.4,
                                    "end": 5.1,
                                    "emotion": "happy",
                                    "confidence": 0.74,
                                    "probabilities": PROBABILITIES,
                                }
                            ],
                            "windows": [
                                {
                                    "start": 0.4,
                                    "end": 4.4,
                                    "probabilities": PROBABILITIES,
                                    "smoothed": PROBABILITIES,
                                }
                            ],
                        }
                    ],
                }
            ]
        },
    )

    file: str
    duration: float = Field(description="Seconds.")
    emotions: list[str]
    settings: dict[str, Any] = Field(description="The options with which it was made.")
    remarks: list[str]
    speakers: list[Speaker]


class ErrorText(BaseModel):
    code: str = Field(description="A word for programs.")
    message: str = Field(description="A line for people: what is wrong, and what to do.")


class ErrorAnswer(BaseModel):
    """Why there is no answer."""

    error: ErrorText


class Health(BaseModel):
    """Whether the server takes requests."""

    status: str = Field(examples=["ok"])
    model: str = Field(examples=["default"])


class ModelLimits(_Answer):
    """What the server takes. JSON has whole numbers without a point."""

    megabytes: int | float = Field(description="Size of the largest request.", examples=[50])
    seconds: int | float = Field(description="Length of the longest recording or stream.", examples=[1800])
    labels: int = Field(description="Own labels in a request.")
    requests_per_client: int = Field(description="Requests of one address that are in work at once.")


class ModelAnswer(_Answer):
    """What the model knows, and what the server takes."""

    model: str
    emotions: list[str]
    takes_any_labels: bool = Field(description="Whether other labels than its own can be asked for.")
    can_be_adapted: bool = Field(description="Whether a timeline can be adapted to the voices.")
    seconds_used_of_a_clip: int | float | None = Field(
        description="Length of the parts that a prediction cuts a longer clip into; null if it uses clips whole."
    )
    limits: ModelLimits


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The form is damaged.",
        401: "The key is missing or wrong.",
        403: "The request was sent by a page from another address.",
        408: "The body came too slowly.",
        413: "The file is too large, or the recording too long.",
        415: "The file is no audio, or the body no form.",
        421: "The request uses a host name that is not allowed.",
        422: "Nothing can be made of the file or of an option.",
        429: "Too many requests of this address are being answered.",
        503: "No room, no time, or the server is stopping.",
    }.items()
}
"""What every path of the API may answer in place of its answer."""
OPEN: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (403, 421)}
"""What a path may answer that wants no key."""
LOOKS: dict[int | str, dict[str, Any]] = OPEN | {401: ERRORS[401]}
"""What a path may answer that takes no recording."""
