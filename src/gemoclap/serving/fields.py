"""Refuses names that a request has and the API does not know: a misspelt option must not be ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fastapi import Request

from gemoclap.errors import did_you_mean
from gemoclap.serving.limits import Refused

FORM = "multipart/form-data"
LISTS = ("labels", "include")
"""Options that may be given several times."""
SHOWN = 40
"""Characters of an unknown name that a message repeats."""


async def known_fields(request: Request) -> None:
    """Check the form of a request before its values are looked at; a body of another kind gets its own answer later.

    Raises
    ------
    Refused : a field that the path does not know, one that is given twice, or a query in the address.
    """
    if (name := next(iter(request.query_params), None)) is not None:
        raise Refused(422, "unknown_field", f"{shown(name)}: is in the address; send options as fields of the form")
    if media_type(request) == FORM:
        form = await request.form()  # FastAPI has parsed it; this is the same object
        known = [field.alias for field in request.scope["route"].dependant.body_params]
        check_names((name for name, _ in form.multi_items()), known)


def media_type(request: Request) -> str:
    """Return the type of a body, such as ``multipart/form-data``; empty if none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_names(given: Iterable[str], known: Sequence[str]) -> None:
    """Check the names of options in a form or a query.

    Raises
    ------
    Refused : a name that is not `known`, or one that is given twice and takes one value.
    """
    counts = Counter(given)
    if (unknown := next((name for name in counts if name not in known), None)) is not None:
        near = did_you_mean(unknown[:SHOWN], [*known])
        message = f"{shown(unknown)}: there is no such option{near}; there are {', '.join(known)}"
        raise Refused(422, "unknown_field", message)
    if twice := next((name for name, count in counts.items() if count > 1 and name not in LISTS), None):
        raise Refused(422, "invalid_field", f"{twice}: is given twice; give it once")


def each(given: list[str]) -> list[str]:
    """Return the words of a field that may be given several times, each with several words and commas between."""
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def shown(name: str) -> str:
    """Return what a client has sent, for a message."""
    return repr(name[:SHOWN])
