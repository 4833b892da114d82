"""Reads files with clear error messages, and handles file names as they are on disk; `gemoclap.writing` writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gemoclap.errors import GemoclapError
from gemoclap.writing import NOT_UTF8, atomic_write

WRITER_SECONDS = 1.0
"""How long a pipe that is read may have no writer."""


def read_text(path: str | os.PathLike) -> str:
    """Return the text of a file without a byte order mark.

    Raises
    ------
    GemoclapError : it is not UTF-8, or cannot be read.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise GemoclapError(f"{path}: not UTF-8 text; save it as UTF-8") from None


def read_bytes(path: str | os.PathLike) -> bytes:
    """Return the content of a file, or of a pipe such as ``<(command)``.

    If no other program has opened the pipe after `WRITER_SECONDS`, none will, and waiting longer would block for ever.

    Raises
    ------
    GemoclapError : it cannot be read, or is a pipe that no other program writes to.
    """
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return Path(path).read_bytes()
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
            deadline = time.monotonic() + WRITER_SECONDS
            # b"": there is no writer. None: there is one, which has not written yet.
            while (begin := pipe.read(1)) == b"" and time.monotonic() < deadline:
                time.sleep(0.01)
            os.set_blocking(pipe.fileno(), True)
            content = b"" if begin == b"" else (begin or b"") + pipe.readall()
    except OSError as error:
        raise GemoclapError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise GemoclapError(f"{path}: is a pipe that nothing is written to; save the text to a file and name that")
    return content


def cache_home(named: str | os.PathLike | None = None) -> Path:
    """Return the folder of the caches on disk, which need not exist yet.

    It is `named` if given, otherwise $GEMOCLAP_CACHE, otherwise gemoclap in the user's cache folder.
    """
    named = named or os.environ.get("GEMOCLAP_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gemoclap"


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Write `data` as indented JSON through `atomic_write`."""
    with atomic_write(path) as file:
        file.write(to_json(data, indent=2) + "\n")


def to_json(data: Any, indent: int | None = None) -> str:
    r"""Return `data` as JSON that is always valid UTF-8: of a file name that is not, the odd bytes are ``\udcXX``.

    `parse_json` gives the same name back, and with it the file can be opened.
    """
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def parse_json(text: str) -> Any:
    """Return the contents of a JSON text.

    Raises
    ------
    ValueError : it is not JSON, has a key twice in one object, is nested too deeply or has a number of thousands of
        digits; the message is a short reason without the position.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if error.lineno > 1 else ""
        raise ValueError(f"{error.msg}{line}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(_reason(error)) from None


def parse_yaml(text: str, words: bool = False) -> Any:
    """Return the contents of a YAML text: plain data only, no Python objects. Raises as `parse_json`.

    Parameters
    ----------
    words : read numbers, dates and words such as no as text: ``{007: no}`` -> ``{"007": "no"}``. null is still None.
    """
    try:
        return yaml.load(text, Loader=_Words if words else _EachKeyOnce)  # noqa: S506  # subclasses of the safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{problem}, line {mark.line + 1}" if mark else problem) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(_reason(error)) from None


KINDS: dict[Any, str] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}
"""Names of types in messages."""


def read_json(path: str | os.PathLike, remedy: str, kind: type = dict) -> Any:
    """Return the contents of a JSON file, which must be of type `kind`.

    Parameters
    ----------
    remedy : what to do about a damaged file, the end of the message.

    Raises
    ------
    GemoclapError : no such file, not UTF-8, not JSON, or of another type; the message names the file.
    """
    return _parsed(read_text(path), str(path), remedy, kind)


def json_or_empty(path: str | os.PathLike) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no such file, or it is damaged."""
    try:
        return read_json(path, "")
    except GemoclapError:
        return {}


def read_yaml(path: str | os.PathLike, remedy: str) -> dict[str, Any]:
    """Return the mapping in a YAML file; raises as `read_json`."""
    try:
        data = parse_yaml(read_text(path))
    except ValueError as error:
        raise GemoclapError(f"{path}: not YAML ({error}); {remedy}") from None
    return _of_kind(data, str(path), remedy, dict)


def _parsed(text: str, where: str, remedy: str, kind: type) -> Any:
    try:
        data = parse_json(text)
    except ValueError as error:
        raise GemoclapError(f"{where}: not JSON ({error}); {remedy}") from None
    return _of_kind(data, where, remedy, kind)


def _of_kind(data: Any, where: str, remedy: str, kind: type) -> Any:
    if not isinstance(data, kind):
        raise GemoclapError(f"{where}: holds {_kind_of(data)}, not {KINDS[kind]}; {remedy}")
    return data


def _kind_of(data: Any) -> str:
    """Return the type of plain data in words."""
    return KINDS.get(type(data), type(data).__name__)


def entry(data: Mapping[str, Any], name: str, kind: type, path: str | os.PathLike, remedy: str) -> Any:
    """Return an entry of a mapping from a file.

    Raises
    ------
    GemoclapError : it is missing or of another type; the message names the file.
    """
    if name not in data:
        raise GemoclapError(f"{path}: has no {name!r}; {remedy}")
    if not isinstance(data[name], kind):
        raise GemoclapError(f"{path}: {name} is {_kind_of(data[name])}, not {KINDS[kind]}; {remedy}")
    return data[name]


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found


def _reason(error: ValueError) -> str:
    return "a number has thousands of digits" if "integer string conversion" in str(error) else str(error)


class _EachKeyOnce(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in names if len(set(names)) < len(names) else ():
            if names.count(key) > 1:
                raise ValueError(f"the key {key!r} is there twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)


class _Words(_EachKeyOnce):
    """The same loader for words: only null is no text, and ``<<`` still merges mappings."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def as_bytes(text: str) -> bytes:
    """Return text as UTF-8, and a file name as its bytes on disk, for hashing."""
    return text.encode("utf-8", NOT_UTF8)


def absolute(path: str | os.PathLike) -> Path:
    """Return an absolute path without following links, so that a file keeps its own name.

    ``..`` is removed if the result is the same place, which is not so after a link to a folder.
    """
    plain = Path(path).absolute()
    short = Path(os.path.abspath(path))
    return short if ".." not in plain.parts or os.path.realpath(short) == os.path.realpath(plain) else plain


def relative_to(path: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Return `path` relative to `folder` if it is below it, otherwise `absolute`; a link to a file keeps its name."""
    full = absolute(path)
    for inside, root in (
        (full, absolute(folder)),
        (full.parent.resolve() / full.name, Path(folder).resolve()),  # the two paths go through different links
    ):
        if inside.is_relative_to(root):
            return inside.relative_to(root)
    return full


def as_on_disk(path: str | os.PathLike) -> Path:
    """Return the path of a file whose name is written otherwise on disk, or `path` itself if there is none.

    A letter with an accent is one character (NFC) or two (NFD); macOS and its archives use the second. Windows writes ``\\``
    between folders.
    """
    path = Path(path)
    if os.path.lexists(path):
        return path
    if "\\" in str(path) and os.path.lexists(found := as_on_disk(str(path).replace("\\", "/"))):
        return found
    if str(path).isascii():
        return path
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        found = next((found / form for form in forms if os.path.lexists(found / form)), found / part)
    return found if os.path.lexists(found) else path


def file_hash(path: str | os.PathLike) -> str:
    """Return a hash of a file's content, 16 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
