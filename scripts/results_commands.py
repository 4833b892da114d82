"""The command of a record: as a reader would type it, with the settings that its run has."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemoclap.cli.commands import COMMANDS, parse
from gemoclap.config import Settings
from gemoclap.errors import GemoclapError

SECTIONS = ("data", "model", "objective", "gmp", "train")
RESOLVED = ("vocabulary", "emotions", "merges", "folds", "n_folds", "test_speakers", "test_partitions")
"""Settings of `data` for which a run stores what the corpus has by default."""
ELSEWHERE = ("data.manifest", "model.audio_encoder", "train.seed", "gmp.features")
"""Settings that name files, which have other paths on another machine, or that another option decides."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Command:
    """A command as a reader would type it."""

    text: str
    name: str
    args: Namespace

    @classmethod
    def of(cls, text: str) -> Command:
        """Parse a command of gemoclap.

        Raises
        ------
        GemoclapError : it is none, or one of its options is wrong.
        """
        words = shlex.split(text)
        name = next((" ".join(words[1:end]) for end in (3, 2) if " ".join(words[1:end]) in COMMANDS), None)
        if words[:1] != ["gemoclap"] or name is None:
            raise GemoclapError(f"{text}: give a command that starts with gemoclap, such as 'gemoclap crossval ...'")
        return cls(text, name, parse(name, words[1 + len(name.split()) :]))


def check_command(command: Command, config: Mapping[str, Any]) -> None:
    """Refuse a command whose settings are not those of a run's config.yaml.

    Settings that name files are not compared. Nor are those that only one of two versions has.
    """
    asked = _settings(command)
    for name, value in _flat(config).items():
        if name in ELSEWHERE or name not in asked or (name.startswith("gmp.") and "gmp_tl" not in _methods(command)):
            continue
        is_resolved = name.removeprefix("data.") in RESOLVED and asked[name] in (None, "auto", {})
        # As text: earlier versions saved the number 2 as "2".
        if not is_resolved and str(value) != str(asked[name]):
            raise GemoclapError(
                f"{command.text}: {name} is {_json(value)} in the run, and {_json(asked[name])} by the command"
            )


def _settings(command: Command) -> Record:
    args = command.args
    return _flat(Settings(args.data, args.model, args.objective, args.gmp, args.train, args.cache).to_dict())


def _methods(command: Command) -> list[str]:
    return list(getattr(command.args, "methods", None) or [command.args.method])


def unlike_the_default(command: Command) -> Record:
    """Return the settings of a command that are not the default."""
    default = _flat(Settings().to_dict())
    return {
        name: value for name, value in _settings(command).items() if value != default[name] and name != "data.manifest"
    }


def _flat(config: Mapping[str, Any]) -> Record:
    found: Record = {}
    for section in SECTIONS:
        for name, value in (config.get(section) or {}).items():
            inner = value if name == "audio" and isinstance(value, dict) else None
            found |= (
                {f"{section}.{name}.{key}": one for key, one in inner.items()}
                if inner
                else {f"{section}.{name}": value}
            )
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
