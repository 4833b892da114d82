"""Checks the words of a command as far as can be done without files: options, values, names of what comes with gemoclap."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

from gemoclap.cli import commands
from gemoclap.cli.arguments import Parser
from gemoclap.cli.tables import _axis
from gemoclap.cli.timeline import FORMS
from gemoclap.config import BASELINES, ONE_TRAINING, TRAINED, Settings
from gemoclap.config.ems import CompareSettings, IntensitySettings, PretrainSettings
from gemoclap.config.probe import LOG_MEL, ProbeSettings
from gemoclap.corpora import CORPORA, EXPORTERS, IMPORTERS
from gemoclap.encoders import EMBEDDED, UNTRAINED
from gemoclap.inference.model_folder import EMBEDDED_MODELS
from gemoclap.inference.rows import SUFFIXES
from gemoclap.labels import EMOTIONS, VOCABULARIES
from gemoclap.recipes.dimensions import METHOD
from gemoclap.recipes.ems import VARIANTS
from gemoclap.recipes.sweep import _check as check_sweep
from gemoclap.reports.canvas import FORMATS

METHODS_OF = {
    "crossval": {*TRAINED, *BASELINES, METHOD},
    "table1": {*ONE_TRAINING},
    "sweep": {*ONE_TRAINING},
}
ENDS_OF = {
    "predict": SUFFIXES,
    "search": SUFFIXES,
    "timeline": FORMS,
    "frames": (".csv", ".png"),
    "intensity": (".csv", ".png"),
    "export": (".onnx",),
    "prepare": (".jsonl",),
}
"""How the names of the files end that commands write."""
SENTENCE_ENCODER = "minilm"


def name_of(words: Sequence[str]) -> str:
    """Return the name of the command that the words begin with, which has one word or two."""
    both = " ".join(words[:2])
    return both if both in commands.COMMANDS else words[0]


def check(words: Sequence[str], also: Collection[str] = ()) -> Namespace:
    """Parse a command, and look up every name in it.

    Parameters
    ----------
    words : behind ``gemoclap``.
    also : further names of corpora, methods and encoders.

    Raises
    ------
    GemoclapError, AssertionError, SystemExit : the command would be refused, whatever the files are; or it asks for help.
    """
    name = name_of(words)
    assert name in commands.COMMANDS, f"no command is called {name!r}"
    args = parse(name, words[len(name.split()) :])
    _check_names(name, args, {*also})
    _build_settings(name, args)
    return args


def parse(name: str, words: Sequence[str]) -> Namespace:
    """Parse what stands behind a command's name, as the command itself does."""
    with patch.object(commands, "parser_of", parser):
        return commands.parse(name, words)


@cache
def parser(name: str, every_setting: bool = True) -> Parser:
    """Return the parser of a command. It is built once, because that takes longer than to parse."""
    return _build(name)


_build = commands.parser_of


def _check_names(name: str, args: Namespace, also: set[str]) -> None:
    if name in METHODS_OF:
        _known(args.methods, METHODS_OF[name] | also)
    if name == "prepare":
        _known([args.name], {*CORPORA, *IMPORTERS, "CORPUS"} | also)
    if name == "convert":
        _known([args.form], {*EXPORTERS})
    if name == "inspect" and args.vocabulary:
        _known([args.vocabulary], {*VOCABULARIES})
    if hasattr(args, "data"):
        _known([args.data.vocabulary or "iemocap4"], {*VOCABULARIES})
        _known(args.data.emotions or [], {*EMOTIONS})
    if hasattr(args, "objective"):
        _encoder(args.model.audio_encoder, also)
        if args.model.text_encoder not in (SENTENCE_ENCODER, "roberta-base"):
            _encoder(args.model.text_encoder, also)
    if hasattr(args, "encoders"):
        for encoder in args.encoders:
            _encoder(encoder.rpartition("=")[2], {LOG_MEL} | also)
    if hasattr(args, "formats"):
        _known(args.formats, {*FORMATS, "pdf"})
    if isinstance(model := getattr(args, "model", None), str) and "/" not in model:
        _known([model], {*EMBEDDED_MODELS, "DIR", "FOLDER", "RUN", "THIS_FOLDER"})
    outputs = [args.output] if isinstance(getattr(args, "output", None), str) else getattr(args, "output", None) or []
    for output in outputs if name in ENDS_OF else []:
        assert output.isupper() or Path(output).suffix in ENDS_OF[name], f"-o {output}: {name} writes {ENDS_OF[name]}"


def _build_settings(name: str, args: Namespace) -> None:
    """Build what the command would build of its settings; contradictions among them are refused there."""
    if name == "pretrain intensity":
        IntensitySettings(args.data, args.ranking, args.model, args.train, args.cache)
    elif name == "pretrain ems":
        PretrainSettings(args.speech, args.leave_out, args.held_out, args.audio, args.model, args.train, args.cache)
    elif name == "probe":
        ProbeSettings(args.data, args.encoders, args.head, args.train, args.cache)
    elif name == "compare ems":
        settings = CompareSettings(**{one: getattr(args, one) for one in CompareSettings.__dataclass_fields__})
        _known(settings.variants or [], {*VARIANTS})
        _known(settings.finetune.methods, {*TRAINED})
    elif name == "sweep":
        settings = Settings(args.data, args.model, args.objective, args.gmp, args.train, args.cache)
        check_sweep(settings, dict(map(_axis, args.over)), args.methods)


def _known(names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        assert name in known, f"{name!r} is none of {', '.join(sorted(known))}"


def _encoder(name: str, also: Collection[str]) -> None:
    """Accept the name of an encoder of gemoclap, a folder, or what has the form of a repository of the hub."""
    if "/" not in name:
        _known([name], {*UNTRAINED, EMBEDDED, "ENCODER", "FOLDER", "THIS_FOLDER"} | {*also})
