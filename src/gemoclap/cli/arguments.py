"""Reads arguments and settings files. Each command has a parser, and each error is one line that says what to correct."""

from __future__ import annotations

import json
import re
from argparse import SUPPRESS, Action, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, get_loader
from jsonargparse.typing import PositiveInt

from gemoclap.cli.typed import as_words
from gemoclap.config.files import find
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import parse_yaml

OF_A_RUN = (
    "method",
    "methods",
    "keep_models",
    "manifest_sha256",
    "encoder_weights",
    "encoder_commit",
    "text_encoder_weights",
    "text_encoder_commit",
    "speech_sha256",
    "intensity_sha256",
)
"""Entries in the config.yaml of a run that are not settings; commands without such an option ignore them."""


WORDS = {
    float: "a number",
    int: "a whole number",
    PositiveInt: "a whole number above 0",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}
"""Names of types in help and error messages."""


class HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Adds type and default in words to each help text; keeps the lines of descriptions."""

    def _get_help_string(self, action: Action) -> str:
        """Return the help of an option; its type is left out for text, and if the choices are listed anyway."""
        hint = getattr(action, "_typehint", None)
        notes = []
        if hint is not None and get_origin(hint) is not Literal and hint not in (str, str | None):
            notes.append(_spelt_out(hint))
        if action.required:
            notes.append("required")
        elif "." in action.dest or (hint and action.default is not None and "default:" not in (action.help or "")):
            notes.append(f"default: {_as_option(action.default)}".replace("%", "%%"))
        return (action.help or "") + (f" ({'; '.join(notes)})" if notes else "")

    def _format_action_invocation(self, action: Action) -> str:
        """Return the names of an option and its value once, without jsonargparse's ``--name+``, which appends to a list."""
        names = ", ".join(name for name in action.option_strings if not name.endswith("+"))
        if names == "--print_config":  # it also takes flags of jsonargparse, which nobody needs here
            return names
        if not names or action.nargs == 0:
            return names or super()._format_action_invocation(action)
        return f"{names} {self._format_args(action, self._get_default_metavar_for_optional(action))}"


class Parser(ArgumentParser):
    """A parser that raises a GemoclapError with one line, instead of printing its usage and exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # With abbreviations, a misspelt option such as --train.epoch would count as --train.epochs.
        super().__init__(*args, formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise GemoclapError(f"{self._in_words(' '.join(message.split()))}; see '{self.prog} --help'") from ex

    def settings(self) -> list[str]:
        """Return the dotted names of all options except groups, whose values are given by other options."""
        names = [action.dest for action in self._actions]
        groups = {name[:place] for name in names for place, sign in enumerate(name) if sign == "."}
        return [name for name in names if name not in groups]

    def lists(self) -> set[str]:
        """Return the options that take a list of words or numbers, as typed: ``--methods``, ``--data.emotions``."""
        return self._options_where(lambda kinds: all(map(_is_list, kinds)))

    def lists_or_single(self) -> set[str]:
        """Return the options that take a list or a single word or number, as typed: ``--model.layers``."""
        return self._options_where(lambda kinds: any(map(_is_list, kinds))) - self.lists()

    def _options_where(self, wanted: Callable[[Sequence[Any]], bool]) -> set[str]:
        """Return the options with a type for which `wanted` is true. It gets the kinds of the type, without null."""
        hints = [(action.option_strings, getattr(action, "_typehint", None)) for action in self._actions]
        return {option for options, hint in hints if hint is not None and wanted(_kinds(hint)) for option in options}

    def of_words(self) -> set[str]:
        """Return the options that take lists of words, or words by words, as typed: ``--data.merges``, ``--data.emotions``."""
        return self._options_where(lambda kinds: all(map(_is_of_words, kinds)))

    def hide_groups(self) -> None:
        """Leave the options ``--data FILE``, ``--train FILE`` and similar ones out of the help; --config does the same."""
        shown = {*self.settings()}
        for action in self._actions:
            if action.dest not in shown:
                action.help = SUPPRESS

    def hide(self, *names: str) -> None:
        """Leave settings (dotted names) that a command refuses or ignores out of the help."""
        for action in self._actions:
            if action.dest in names:
                action.help = SUPPRESS

    def hide_rare_settings(self, daily: Collection[str]) -> int:
        """Leave the settings (dotted names) that are not `daily` out of the help, and return how many."""
        rare = [name for name in self.settings() if "." in name and name not in daily]
        rare = [name for name in rare if not self._is_hidden(name)]
        self.hide(*rare)
        return len(rare)

    def _is_hidden(self, name: str) -> bool:
        return any(action.dest == name and action.help == SUPPRESS for action in self._actions)

    def _in_words(self, complaint: str) -> str:
        """Return an error of jsonargparse in plain words."""
        if unknown := re.search(r"unrecognized arguments: (--[\w.]+)?", complaint, re.IGNORECASE):
            if (name := complaint[unknown.end() :]).startswith("-") and Path(name).exists():
                return f"{complaint}; give a file whose name begins with - as ./{name}"
            if unknown[1]:
                return complaint + nearest(unknown[1][2:], self.settings(), "--")
            return f"{complaint}; {self._how_to_give()}"
        if lacking := re.fullmatch(r"the following arguments are required: (.*)", complaint):
            return "give " + ", ".join(self._as_typed(name) for name in lacking[1].split(", "))
        if bare := re.fullmatch(r"argument (\S+): expected (?:one|at least one) argument", complaint):
            # jsonargparse's ``--name+``, which appends to a list, is in no help.
            return f"{'/'.join(name for name in bare[1].split('/') if not name.endswith('+'))}: give a value after it"
        wrong = re.fullmatch(r'Parser key "([\w.]+)":.*(?:Got value|Given value|Not of type \w+): (.*)', complaint)
        hint = next(
            (a._typehint for a in self._actions if wrong and a.dest == wrong[1] and hasattr(a, "_typehint")), None
        )
        if wrong is None or hint is None:
            return re.sub(r'Parser key "([\w.]+)":', r"\1:", complaint)
        value = re.sub(r"invalid literal .*: '(.*)'|\.$| does not conform.*", r"\1", wrong[2])
        near = did_you_mean(value, [str(word) for word in get_args(hint)]) if get_origin(hint) is Literal else ""
        return f"{wrong[1]} must be {_spelt_out(hint)}, not {value!r}{near}"

    def _how_to_give(self) -> str:
        """Return how this command takes words without an option, and several words for one option."""
        visible = [action for action in self._actions if action.help != SUPPRESS]
        plain = [action for action in visible if not action.option_strings]
        if not plain:
            paths = "every word here needs an option before it"
        elif any(action.nargs in ("+", "*") for action in plain):
            paths = f"give {plain[0].dest} side by side"
        else:
            paths = f"without an option, it takes only {', '.join(action.dest.upper() for action in plain)}"
        options = [option for action in visible for option in action.option_strings if option in self.lists()]
        lists = [option for option in sorted(options, key=lambda name: "." in name) if not option.endswith("+")]
        return paths + (f"; put commas in a list ({lists[0]} a,b)" if lists else "")

    def plain_help_of_standard_options(self) -> None:
        """Replace the help texts of jsonargparse's own options."""
        texts = {
            "--help": "show this help and exit",
            "--version": "print the version and exit",
            "--print_config": "print all settings as YAML and exit",
        }
        for action in self._actions:
            for option in action.option_strings:
                action.help = texts.get(option, action.help)

    def _as_typed(self, name: str) -> str:
        options = next((action.option_strings for action in self._actions if action.dest == name), [])
        return "/".join(options) or name.upper()


class SettingsFile(ActionConfigFile):
    """``--config FILE``: a YAML file of settings, which is checked first so that errors name the file."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        words = {option.removeprefix("--") for option in parser.of_words()}
        settings = read_settings(find(values), parser.settings(), words)
        try:
            super().__call__(parser, namespace, json.dumps(settings, default=str), option_string)
        except GemoclapError as error:
            raise GemoclapError(f"{values}: {error}") from error


def files_first(given: Sequence[str]) -> list[str]:
    """Return the arguments with every ``--config FILE`` moved to the front, so that options always override files."""
    words = iter(given)
    files: list[str] = []
    others: list[str] = []
    for word in words:
        if word == "--config":
            files += [word, *islice(words, 1)]
        else:
            (files if word.startswith("--config=") else others).append(word)
    return files + others


def refuse_empty_words(given: Sequence[str], lists: Collection[str]) -> None:
    """Raise a GemoclapError if a word of the command line is empty, as a shell leaves it for a variable that is not set.

    An empty path would be the current folder, and an empty ``-o`` no output. A list may be empty.
    """
    for before, word in zip(["", *given], given, strict=False):
        option, equals, value = word.partition("=")
        if word and (value or not equals or not option.startswith("--")):
            continue
        option = option or before
        if option not in lists:
            where = f"{option}: its value is empty" if option.startswith("-") else "a word of the command is empty"
            raise GemoclapError(f"{where}; give one, or check that the variables of your shell are set")


def take_manifest(args: Namespace, given: Sequence[str]) -> None:
    """Copy a positional manifest to ``data.manifest``; it overrides the manifest in a settings file.

    Raises
    ------
    GemoclapError : ``--data.manifest`` names another manifest.
    """
    manifest = getattr(args, "manifest", None)
    if manifest is None or not hasattr(args, "data"):
        return
    option = any(word.partition("=")[0] == "--data.manifest" for word in given)
    if option and args.data.manifest != manifest:
        raise GemoclapError(f"two manifests, {manifest} and --data.manifest {args.data.manifest}; give one of them")
    args.data.manifest = manifest


def read_settings(path: Path, known: Sequence[str], of_words: Collection[str] = ()) -> dict[str, Any]:
    """Read a YAML file of settings; `known` are the dotted names of all settings.

    Parameters
    ----------
    of_words : settings whose lists and mappings have only words (`Parser.of_words`), such as labels. There 0 and no are words.

    Raises
    ------
    GemoclapError : the file is not YAML, or has an unknown setting; the message suggests the nearest name.
    """
    try:
        text = path.read_text(encoding="utf-8")
        settings = get_loader("yaml")(text)
        parse_yaml(text)  # refuses a key that appears twice; jsonargparse's loader would use the last one
        words = parse_yaml(text, words=True)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise GemoclapError(
            f"{where}: not YAML ({getattr(error, 'problem', None) or 'not text'}); correct the file"
        ) from None
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise GemoclapError(f"{path}: cannot be read as settings ({reason}); correct the file") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise GemoclapError(f"{path}: has no settings; write lines such as 'train: {{epochs: 30}}'")
    settings = {name: value for name, value in settings.items() if name in known or name not in OF_A_RUN}
    for name, value in flat(settings, known):
        if any(other.startswith(f"{name}.") for other in known):
            raise GemoclapError(f"{path}: {name} must be a mapping of settings, not {value!r}")
        if name not in known:
            raise GemoclapError(
                f"{path}: no setting is called {name!r}{nearest(name, known)}; 'gemoclap COMMAND --help-all' lists all"
            )
    try:
        return _with_words(settings, words, of_words)
    except GemoclapError as error:
        raise GemoclapError(f"{path}: {error}") from None


def _with_words(settings: dict[str, Any], words: dict[str, Any], names: Collection[str], prefix: str = "") -> dict:
    """Return settings with lists and mappings whose dotted names are in `names` as in `words`, where all scalars are text."""
    found = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name in names and isinstance(value, list | dict):
            found[key] = words[key]
        elif name in names and isinstance(value, str):  # in quotes, as on a command line
            found[key] = as_words(value, name)
        elif isinstance(value, dict) and isinstance(words.get(key), dict):
            found[key] = _with_words(value, words[key], names, f"{name}.")
        else:
            found[key] = value
    return found


def flat(settings: dict[str, Any], known: Sequence[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value). A mapping that is the value of a setting is yielded whole."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known:
            yield from flat(value, known, f"{name}.")
        else:
            yield name, value


def nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """Return ``" (did you mean 'train.lr'?)"`` if a name is misspelt or has no section, otherwise an empty string."""
    inside = [other for other in known if other.endswith(f".{name}")]
    return did_you_mean(prefix + name, [prefix + other for other in inside or known]) or (
        f" (did you mean {prefix + inside[0]!r}?)" if inside else ""
    )


def _kinds(hint: Any) -> list[Any]:
    """Return the types of a union but for null, or the type alone."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [kind for kind in kinds if kind is not NoneType]


def _is_list(kind: Any) -> bool:
    """Whether a type is a list of single values. A list of lists cannot be split at commas."""
    return get_origin(kind) is list and get_origin(get_args(kind)[0]) is not list


def _is_of_words(kind: Any) -> bool:
    """Whether a type is a list of words, a list of such lists, or a mapping of words to words."""
    inner = get_args(kind)
    if get_origin(kind) is list:
        return inner[0] is str or _is_of_words(inner[0])
    return get_origin(kind) is dict and inner == (str, str)


def _as_option(value: Any) -> str:
    """Return a default as it would be typed, such as ``a,b`` for a list, ``true`` or ``null``."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, list | dict) and not value:
        return "empty"
    if isinstance(value, list) and not any(isinstance(one, list | dict) for one in value):
        return ",".join(map(str, value))
    return str(value)


def _spelt_out(hint: Any) -> str:
    """Return a type in words: ``float | None`` -> ``"a number or null"``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(map(_spelt_out, inner))
    if origin is list and get_origin(inner[0]) is Literal:
        return f"a list with any of {', '.join(map(str, get_args(inner[0])))}"
    if origin is list:
        of = {str: "words", int: "whole numbers", list: "lists"}.get(get_origin(inner[0]) or inner[0])
        return f"a list of {of or 'any ' + _spelt_out(inner[0])}"
    return WORDS.get(hint, "a mapping" if origin is dict else str(hint))
