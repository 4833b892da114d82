"""Checks the Host and Origin headers: under which names the server may be called, and from which pages.

After a page of another site has loaded, the site can make its own name point to this machine (DNS rebinding). The browser then
believes that this server's answers come from that site, and lets the page read them. Only the Host header shows it. A numeric
address cannot be redirected in this way, because it is not looked up.
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
"""Longest part of a name, in characters, that an error message quotes."""


class Addresses:
    """The names that a server answers to.

    Numeric addresses, localhost and the name of this machine are always allowed.

    Parameters
    ----------
    names : further names, such as ``emotions.example.org``. ``*.example.org`` allows all names below example.org, ``*`` all.

    Raises
    ------
    GemoclapError : one of them is not a host name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        given = [name.strip() for name in names]
        for name in given:
            bare = name.removeprefix("*.")
            if name != ANY and not _is_number(_plain(name)) and _parts(bare) != (_plain(bare), None):
                raise GemoclapError(
                    f"--allowed_hosts: {name[:SHOWN]!r} is not a host name; give names without http:// and port, "
                    "such as emotions.example.org"
                )
        self._takes_any = ANY in given
        self._names = {"localhost", _plain(socket.gethostname()), *(_plain(name) for name in given)}

    def check(self, headers: Mapping[str, str]) -> None:
        """Check the headers of a request. Their names are in lower case.

        A request without Host (HTTP/1.0) or without Origin is allowed. Browsers always send Host, and they send Origin wherever
        a page of another site could do harm.

        Raises
        ------
        Refused : the request uses a name that is not allowed, or was sent by a page from another address.
        """
        host = headers.get("host")
        if host is not None and not self._are_own(host):
            raise Refused(
                421,
                "other_host",
                f"this server is not called {host[:SHOWN]!r}; use its numeric address or localhost, or start it with "
                "--allowed_hosts and this name",
            )
        origin = headers.get("origin")
        if origin and (host is None or _parts(origin.partition("://")[2]) != _parts(host)):
            raise Refused(
                403,
                "other_origin",
                "the request was sent by a page from another address; open the server's own page, or use a program",
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
    """Return the name, in its plain form, and the port of a Host header; None if the header is invalid."""
    if not host or any(one in "/?#@\\*" or one.isspace() for one in host):
        return None
    try:
        found = urlsplit(f"//{host}")
        return (_plain(found.hostname), found.port) if found.hostname else None
    except ValueError:
        return None


def _plain(name: str) -> str:
    """Return a name in lower case, without a final dot and without the brackets of an IPv6 address."""
    return name.lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _above(name: str) -> Iterable[str]:
    """Yield the parent domains of a name: for a.b.c, b.c and c."""
    while "." in name:
        name = name.partition(".")[2]
        yield name
