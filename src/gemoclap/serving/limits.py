"""How much a client may ask for, and what it is told when it asks for more."""

from __future__ import annotations

from dataclasses import dataclass

from gemoclap.errors import GemoclapError


@dataclass(frozen=True)
class Limits:
    """What bounds the memory and the time that clients can take.

    Attributes
    ----------
    body_bytes : of a request.
    seconds : of audio in a file, and in a stream.
    requests : in work at once, of all clients together.
    per_client : in work at once, of one address.
    streams, streams_per_client : WebSockets that are open at once, of all clients and of one address.
    connections : that are open at once, with or without a request.
    timelines : recordings that are gone through at once; others wait for their turn.
    decode_seconds : that a decoder may take for a file, not counting the time in which it waits for the model.
    answer_seconds : from the last byte of a request to its answer, and from a window of a stream to its own.
    idle_seconds : that a client may be silent while it sends a body or a stream.
    slowest : bytes a second that a body must have on average, beyond its first `idle_seconds`.
    decoder_bytes : memory of one decoder.
    labels : number of own labels in a request.
    label_characters : of one label.
    """

    body_bytes: int = 50 * 10**6
    seconds: float = 1800.0
    requests: int = 64
    per_client: int = 32
    streams: int = 16
    streams_per_client: int = 8
    connections: int = 512
    timelines: int = 4
    decode_seconds: float = 20.0
    answer_seconds: float = 300.0
    idle_seconds: float = 10.0
    slowest: float = 16_000.0
    decoder_bytes: int = 2 * 10**9
    labels: int = 32
    label_characters: int = 80


class Refused(GemoclapError):
    """A request that gets no answer, and why.

    Attributes
    ----------
    status : of HTTP.
    code : a word for programs.
    message : a line for people: what is wrong, and what to do.
    retry_after : seconds after which the same request may succeed; None where it will not.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """What the client is sent."""
        return {"error": {"code": self.code, "message": self.message}}


def too_large(limits: Limits) -> Refused:
    """Return what answers a body that is too large."""
    return Refused(
        413,
        "too_large",
        f"the request is larger than {limits.body_bytes / 1e6:g} MB; send a shorter recording, or compress it "
        "(FLAC is half of WAV, Opus a tenth)",
    )


def too_long(limits: Limits) -> Refused:
    """Return what answers a recording that is too long."""
    return Refused(
        413,
        "too_long",
        f"the recording is longer than {limits.seconds:g} s; cut it, and send the parts one after the other",
    )


def too_slow_body(limits: Limits) -> Refused:
    """Return what answers a body that does not come."""
    return Refused(
        408,
        "too_slow",
        f"the body came too slowly; send it without pauses of {limits.idle_seconds:g} s, and at "
        f"{limits.slowest / 1000:g} kB/s or more",
    )


def too_many(most: int, what: str) -> Refused:
    """Return what answers a client that has too many requests or streams in work."""
    return Refused(
        429,
        "too_many",
        f"{most} {what} of this address are in work; wait until one has ended before you begin another",
        retry_after=1,
    )


def busy() -> Refused:
    """Return what answers a request for which there is no room."""
    return Refused(503, "busy", "the server has no room for more requests; try again in a moment", retry_after=2)


def stopping() -> Refused:
    """Return what answers a request that comes while the server stops."""
    return Refused(503, "stopping", "the server is stopping; try again when it has started again", retry_after=10)


def took_too_long(limits: Limits) -> Refused:
    """Return what answers a request that could not be finished in time."""
    return Refused(
        503,
        "took_too_long",
        f"no answer within {limits.answer_seconds:g} s; send a shorter recording, or try again when less is asked of "
        "the server",
        retry_after=30,
    )


def unusable(message: str) -> Refused:
    """Return what answers an option of which nothing can be made."""
    return Refused(422, "unusable", message)


def unusable_file(message: str) -> Refused:
    """Return what answers a file of which nothing can be made, whatever the options are."""
    return Refused(422, "unusable_file", message)


def checked_labels(given: list[str] | None, limits: Limits) -> tuple[str, ...] | None:
    """Return labels as a model takes them; None for those that it was trained on.

    Parameters
    ----------
    given : each may hold several with commas between; nothing and blanks are no labels.

    Raises
    ------
    GemoclapError : a single one, one twice, too many, or one that is too long.
    """
    found = tuple(one.strip() for text in given or [] for one in text.split(",") if one.strip())
    if not found:
        return None
    if len(found) < 2:
        raise GemoclapError(f"labels: only {found[0]!r} is given; give two or more to choose from")
    if twice := next((one for one in found if found.count(one) > 1), None):
        raise GemoclapError(f"labels: {twice!r} is given twice; give each once")
    if len(found) > limits.labels:
        raise GemoclapError(f"labels: {len(found)} are given; give {limits.labels} or fewer")
    if too_wide := next((one for one in found if len(one) > limits.label_characters), None):
        raise GemoclapError(
            f"labels: {too_wide[:20]!r}... is longer than {limits.label_characters} characters; shorten it"
        )
    if any(not one.isprintable() for one in found):
        raise GemoclapError("labels: one has a character that cannot be printed; write words")
    return found
