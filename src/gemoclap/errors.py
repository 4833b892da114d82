"""Errors with messages for users."""

import difflib

NO_NUMBERS = "its probabilities are not numbers; look for extreme samples in the recording"
"""Message for a clip for which a model gives NaN."""


class GemoclapError(Exception):
    """An error that the user can fix. Its message is one line that names the file, row or setting, and what to do.

    The command line prints it without a traceback and exits with status 2; ``--debug`` shows the traceback.

    Parameters
    ----------
    for_clients : the message for a client of the server, who has neither a command line nor Python; the same if None.
    """

    def __init__(self, message: str = "", for_clients: str | None = None) -> None:
        super().__init__(message)
        self.for_clients = message if for_clients is None else for_clients


class WriteError(GemoclapError):
    """A file or folder that cannot be written, because the disk is full or for another reason of the file system."""


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `known`, or an empty string if none is similar.

    Upper and lower case are ignored, but of two equally similar names the one in the same case is chosen.
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not near:
        in_lower = {one.casefold(): one for one in reversed(known)}
        near = [in_lower[one] for one in difflib.get_close_matches(word.casefold(), in_lower, n=1, cutoff=0.5)]
    return f" (did you mean {near[0]!r}?)" if near else ""
