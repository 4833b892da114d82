"""Errors with messages for users."""

import difflib

NO_NUMBERS = "its probabilities are not numbers; look for extreme samples in the recording"
"""Message for a clip for which a model gives NaN."""

SIMILAR, VERY_SIMILAR = 0.6, 0.75
"""How large a share of their letters a misspelt word and the name meant must have in common: where the first letter is the
same, and where it is not."""


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


def did_you_mean(word: str, known: list[str], alike: float = SIMILAR) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `known`, or an empty string if none is similar.

    `alike` is the share of letters that both must have. The more it takes the less a word of another language gets a hint:
    'angst' has three letters of 'angry'.

    Upper and lower case are ignored, but of two equally similar names the one in the same case is chosen.
    """
    near = _nearest(word, known, alike)
    if near is None:
        in_lower = {one.casefold(): one for one in reversed(known)}
        near = in_lower.get(_nearest(word.casefold(), [*in_lower], alike) or "")
    return f" (did you mean {near!r}?)" if near else ""


def _nearest(word: str, known: list[str], alike: float) -> str | None:
    """Return the name that shares most letters with a word, if these are enough.

    People seldom mistype the first letter. With another one a name shares many letters by chance: 'tender' has most of the
    German word 'wütend'.
    """
    near = difflib.get_close_matches(word, known, n=5, cutoff=alike)
    very_near = difflib.get_close_matches(word, near, n=5, cutoff=VERY_SIMILAR)
    return next((one for one in near if one[:1] == word[:1] or one in very_near), None)
