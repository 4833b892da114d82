"""How sound is cut into windows. It needs no torch, so that a command can refuse senseless options before that is imported."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import ParamSpec, TypeVar

from gemoclap.audio import SAMPLE_RATE
from gemoclap.errors import GemoclapError, did_you_mean

WINDOW_SECONDS = 4.0
"""Default length of a window: about that of a clip in the usual corpora [C]."""
SHORTEST_WINDOW = 0.1
"""Smallest length of a window in seconds; a syllable is about twice as long."""
HYSTERESIS = 0.15
"""As in Silero: speech ends when its probability is this much below the threshold."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SpeechRules:
    """Rules for what counts as speech.

    Attributes
    ----------
    threshold : smallest probability of a frame of speech, above `HYSTERESIS` and below 1.
    min_silence : seconds; shorter pauses count as speech.
    min_speech : seconds; shorter speech is left out.
    """

    threshold: float = 0.5
    min_silence: float = 0.3
    min_speech: float = 0.25


@dataclass(frozen=True)
class StreamSettings:
    """How sound is cut into windows.

    Attributes
    ----------
    window : seconds. None = `WINDOW_SECONDS`, or the model's longest clip if that is shorter.
    hop : seconds from the start of one window to the start of the next.
    speech : rules for what counts as speech. None = all sound counts as speech.
    """

    window: float | None = None
    hop: float = 1.0
    speech: SpeechRules | None = SpeechRules()


def complete(settings: StreamSettings, max_seconds: float | None) -> StreamSettings:
    """Return settings with the window filled in.

    Parameters
    ----------
    max_seconds : the model's longest clip, None if there is no limit or the model is not known yet.

    Raises
    ------
    GemoclapError : a setting makes no sense, or the window is longer than `max_seconds`.
    """
    _check_types(settings)
    window = min(WINDOW_SECONDS, max_seconds or WINDOW_SECONDS) if settings.window is None else settings.window
    if not SHORTEST_WINDOW <= window < float("inf"):
        raise GemoclapError(f"window must be {SHORTEST_WINDOW} seconds or more, not {window}")
    if max_seconds is not None and window > max_seconds:
        raise GemoclapError(f"window: {window:g} s is too long; this model takes windows of {max_seconds:g} s at most")
    if not 1 / SAMPLE_RATE <= settings.hop <= window:
        raise GemoclapError(f"hop must be above 0 and at most the window, {window:g} s, not {settings.hop}")
    if rules := settings.speech:
        if not HYSTERESIS < rules.threshold < 1:
            raise GemoclapError(f"speech threshold must be above {HYSTERESIS} and below 1, not {rules.threshold}")
        for name in ("min_silence", "min_speech"):
            if not 0 <= getattr(rules, name) < float("inf"):
                raise GemoclapError(f"{name} must be 0 seconds or more, not {getattr(rules, name)}")
    return StreamSettings(window, settings.hop, settings.speech)


def _check_types(settings: StreamSettings) -> None:
    """Raise a GemoclapError if settings that somebody made in Python are no numbers."""
    if not isinstance(settings, StreamSettings):
        raise GemoclapError(f"settings must be StreamSettings(window=..., hop=...), not {type(settings).__name__}")
    rules = settings.speech
    if not (rules is None or isinstance(rules, SpeechRules)):
        raise GemoclapError(f"speech must be SpeechRules(...), or None for all sound, not {rules!r}")
    for holder in (settings, rules) if rules else (settings,):
        for one in fields(holder):
            value = getattr(holder, one.name)
            if one.name != "speech" and not isinstance(value, Real) and (one.name, value) != ("window", None):
                raise GemoclapError(f"{one.name} must be a number, not {value!r}")


def known_options(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a function answer an option that it does not have with a line that names those that it has."""
    known = [
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.default is not inspect.Parameter.empty
    ]
    all_names = [*inspect.signature(function).parameters]

    @functools.wraps(function)
    def checked(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for name in kwargs:
            if name not in all_names:
                raise GemoclapError(_unknown(name, known))
        return function(*args, **kwargs)

    return checked


def _unknown(name: str, known: list[str]) -> str:
    of_settings, of_rules = ([one.name for one in fields(kind)] for kind in (StreamSettings, SpeechRules))
    if name in of_settings:
        return f"{name}: is a setting; give settings=StreamSettings({name}=...)"
    if name in of_rules:
        return f"{name}: is a rule of what speech is; give settings=StreamSettings(speech=SpeechRules({name}=...))"
    near = did_you_mean(name, [*known, *of_settings, *of_rules])
    return f"{name}: there is no such option{near}; there are {', '.join(known)}"
