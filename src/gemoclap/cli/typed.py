"""Changes lists and mappings, as people type them, into the form that jsonargparse reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence

from gemoclap.errors import GemoclapError
from gemoclap.files import parse_yaml
from gemoclap.wording import shortened


def spelt_lists(given: Sequence[str], lists: Collection[str], lists_or_single: Collection[str] = ()) -> list[str]:
    """Return the arguments with lists such as ``--methods a,b`` changed to the form that jsonargparse needs.

    Parameters
    ----------
    lists : the options that take a list (`Parser.lists`).
    lists_or_single : those that also take a single value (`Parser.lists_or_single`), which has no comma.
    """

    def is_meant(option: str, value: str) -> bool:
        return option in lists or (option in lists_or_single and "," in value)

    return _spelt(given, is_meant, lambda value, _: _as_list(value))


def spelt_words(given: Sequence[str], of_words: Collection[str]) -> list[str]:
    """Return the arguments with lists and mappings of words in the form in which jsonargparse reads words, not numbers.

    Labels and speakers can be numbers: ``--data.merges '{0: angry}'``, ``--data.test_speakers '[[007], [008]]'``.

    Parameters
    ----------
    of_words : the options that take them (`Parser.of_words`).

    Raises
    ------
    GemoclapError : as `as_words`.
    """
    return _spelt(given, lambda option, _: option in of_words, as_words)


def _spelt(given: Sequence[str], is_meant: Callable[[str, str], bool], spell: Callable[[str, str], str]) -> list[str]:
    """Return the arguments with the values of some options changed: ``--option value`` and ``--option=value``.

    Parameters
    ----------
    is_meant : takes an option and its value, and returns whether the value is to be changed.
    spell : takes a value and its option, and returns the changed value.
    """
    spelt: list[str] = []
    for argument in given:
        before = spelt[-1] if spelt else ""
        option, equals, value = argument.partition("=")
        if is_meant(before, argument):
            spelt.append(spell(argument, before))
        elif equals and is_meant(option, value):
            spelt.append(f"{option}={spell(value, option)}")
        else:
            spelt.append(argument)
    return spelt


def as_words(value: str, option: str) -> str:
    """Return a YAML list or mapping as JSON in which all is text. What is neither stays: the parser complains.

    Raises
    ------
    GemoclapError : it is no YAML, or has a key twice; the message begins with `option`.
    """
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.dumps(parse_yaml(value, words=True), ensure_ascii=False)
    except ValueError as error:
        raise GemoclapError(
            f"{option}: {shortened(value, 60)} cannot be read ({error}); write {{a: b}} or [a, b], with each key once"
        ) from None


def _as_list(value: str) -> str:
    if value.startswith(("[", "-")) or value == "null":
        return value
    return json.dumps([word.strip() for word in value.split(",") if word.strip()], ensure_ascii=False)
