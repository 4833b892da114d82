"""By which names the server may be called, and which pages may ask it.

A page of another site can let the site's own name point to this machine once it is loaded (DNS rebinding). Its browser then
takes what this server answers for an answer of the site, and shows it to the page. Only the header Host gives that away.
An address in numbers cannot be taken over in this way, because nobody looks it up.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from gemoclap.errors import GemoclapError
from gemoclap.serving.limits import Refused

ANY = "*"
SHOWN = 60
"""Characters of a name that a message repeats."""


class Addresses:
    """The names that a server answers to.

    Addresses in numbers, localhost and the name of this machine always belong to them.

    Parameters
    ----------
    names : others, such as ``emotions.example.org``; ``*.example.org`` are all below example.org, ``*`` are all.

    Raises
    ------
    GemoclapError : one of them is no name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        given = [name.strip() for name in names]
        for name in given:
            bare = name.removeprefix("*.")
            if name != ANY and not _is_number(_plain(name)) and _parts(bare) != (_plain(bare), None):
                raise GemoclapError(
                    f"--allowed_hosts: {name[:SHOWN]!r} is no name of a machine; give names alone, without http:// and port, "
                    "such as emotions.example.org"
                )
        self._takes_any = ANY in given
        self._names = {"localhost", _plain(socket.gethostname()), *(_plain(name) for name in given)}

    def check(self, headers: Mapping[str, str]) -> None:
        """Look at the headers of a request, whose names are in lower case.

        Programs that send no Host (HTTP/1.0) or no Origin are let in. Browsers always send the first, and the second where it
        counts.

        Raises
        ------
        Refused : it calls the server by a name that is not its own, or a page of another address has sent it.
        """
        host = headers.get("host")
        if host is not None and not self._are_own(host):
            raise Refused(
                421,
                "other_host",
                f"this server does not go by the name {host[:SHOWN]!r}; call it by its number or as localhost, or have it "
                "started with this name among its allowed hosts",
            )
        origin = headers.get("origin")
        if origin and (host is None or _parts(origin.partition("://")[2]) != _parts(host)):
            raise Refused(
                403,
                "other_origin",
                "a page of another address asks for this; open the server's own page, or use a program",
            )

    def _are_own(self, host: str) -> bool:
        parts = _parts(host)
        if parts is None:
            return False
        name = parts[0]
        if self._takes_any or name in self._names or name.endswith(".localhost") or _is_number(name):
            return True
        return any(f"*.{above}" in self._names for above in _above(name))


def _parts(host: str) -> tuple[str, int | None] | None:
    """Return name and port of a Host header, the name in one form; None for what is none."""
    if not host or any(one in "/?#@\\*" or one.isspace() for one in host):
        return None
    try:
        found = urlsplit(f"//{host}")
        return (_plain(found.hostname), found.port) if found.hostname else None
    except ValueError:
        return None


def _plain(name: str) -> str:
    """Return a name in lower case, without the dot that may stand at its end and the brackets of an IPv6 address."""
    return name.lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _above(name: str) -> Iterable[str]:
    """Yield the names that a name lies below: of a.b.c these are b.c and c."""
    while "." in name:
        name = name.partition(".")[2]
        yield name
