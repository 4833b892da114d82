"""Changes lists and mappings, as people type them, into the form that jsonargparse reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from gemoclap.files import parse_yaml


def spelt_lists(given: Sequence[str], lists: Collection[str], lists_or_single: Collection[str] = ()) -> list[str]:
    """Return the arguments with lists such as ``--methods a,b`` changed to the form that jsonargparse needs.

    Parameters
    ----------
    lists : the options that take a list (`Parser.lists`).
    lists_or_single : those that also take a single value (`Parser.lists_or_single`), which has no comma.
    """
    spelt: list[str] = []
    for argument in given:
        option, equals, value = argument.partition("=")
        before = spelt[-1] if spelt else ""
        if before in lists or (before in lists_or_single and "," in argument):
            spelt.append(_as_list(argument))
        elif equals and (option in lists or (option in lists_or_single and "," in value)):
            spelt.append(f"{option}={_as_list(value)}")
        else:
            spelt.append(argument)
    return spelt


def spelt_words(given: Sequence[str], of_words: Collection[str]) -> list[str]:
    """Return the arguments with lists and mappings of words in the form in which jsonargparse reads words, not numbers.

    Labels and speakers can be numbers: ``--data.merges '{0: angry}'``, ``--data.test_speakers '[[007], [008]]'``.

    Parameters
    ----------
    of_words : the options that take them (`Parser.of_words`).
    """
    spelt: list[str] = []
    for argument in given:
        option, equals, value = argument.partition("=")
        if spelt and spelt[-1] in of_words:
            spelt.append(as_words(argument))
        elif equals and option in of_words:
            spelt.append(f"{option}={as_words(value)}")
        else:
            spelt.append(argument)
    return spelt


def as_words(value: str) -> str:
    """Return a YAML list or mapping as JSON in which all is text. Others, and what is no YAML, stay: the parser complains."""
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.dumps(parse_yaml(value, words=True), ensure_ascii=False)
    except ValueError:
        return value


def _as_list(value: str) -> str:
    if value.startswith(("[", "-")) or value == "null":
        return value
    return json.dumps([word.strip() for word in value.split(",") if word.strip()], ensure_ascii=False)
