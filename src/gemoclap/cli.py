"""The command line: arguments, help, errors in one line, exit codes.

0 done; 1 done, but something in the data is at fault (`inspect`, `predict`), or an error nobody foresaw; 2 wrong arguments,
settings or files; 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Literal, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from gemoclap import __version__
from gemoclap.config import (
    BASELINES,
    METHODS,
    DataSettings,
    ModelSettings,
    ObjectiveSettings,
    TrainSettings,
)
from gemoclap.errors import GemoclapError, did_you_mean

DESCRIPTION = "Speech emotion recognition by contrastive language-audio pretraining."
EPILOG = """\
From a corpus to a table:
  gemoclap prepare ravdess RAVDESS -o ravdess.jsonl
  gemoclap inspect ravdess.jsonl
  gemoclap crossval --data.manifest ravdess.jsonl -o runs/ravdess
  gemoclap train --data.manifest ravdess.jsonl -o runs/ravdess-all
  gemoclap predict runs/ravdess-all/model clip.wav
"""


class Parser(ArgumentParser):
    """A parser whose complaints are one line, with the remedy."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line.strip() for line in str(message).splitlines() if line.strip()]
        text = " ".join(lines) if lines else "wrong arguments"
        command = self.prog.replace(" [options]", "")
        print(f"gemoclap: {text}{self._nearest_option(text)}; see '{command} --help'", file=sys.stderr)
        raise SystemExit(2)

    def _nearest_option(self, complaint: str) -> str:
        unknown = re.search(r"[Uu]nrecognized arguments: (--[\w.]+)", complaint)
        options = [option for action in self._actions for option in action.option_strings]
        return did_you_mean(unknown[1], options) if unknown else ""


def add_prepare(parser: Parser) -> None:
    parser.add_argument("name", help="iemocap, ravdess, emodb, nemo, cremad, synthetic, or emobox, s3prl, audformat, csv")
    parser.add_argument("root", help="the corpus's folder; for emobox, s3prl, audformat and csv their file or folder")
    parser.add_argument("-o", "--output", type=str, default=None, help="manifest to write; default NAME.jsonl")
    parser.add_argument("--audio_root", type=str, default=None, help="folder that an imported manifest's paths start from")


def add_inspect(parser: Parser) -> None:
    parser.add_argument("manifest", help="JSONL manifest")
    parser.add_argument("--vocabulary", type=str, default=None, help="report labels outside this named set, such as iemocap4")
    parser.add_argument("--all", action="store_true", help="print every fault, not the first ten of a kind")
    parser.add_argument("-o", "--output", type=str, default=None, help="also write counts and faults as JSON")


def add_convert(parser: Parser) -> None:
    parser.add_argument("manifest", help="JSONL manifest")
    parser.add_argument("form", help="emobox (with folds), audformat or csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder to write; for csv a file")
    parser.add_class_arguments(DataSettings, "data")


def add_training_settings(parser: Parser) -> None:
    parser.add_argument("--config", action=ActionConfigFile, help="YAML of settings; several are read in order")
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ModelSettings, "model")
    parser.add_class_arguments(ObjectiveSettings, "objective")
    parser.add_class_arguments(TrainSettings, "train")


def add_train(parser: Parser) -> None:
    parser.add_argument("--method", type=Literal[METHODS], default="sl_gemo_clap", help="which of the three")
    add_training_settings(parser)
    parser.add_argument("-o", "--output", type=str, required=True, help="folder of the run; the same command resumes in it")


def add_crossval(parser: Parser) -> None:
    known = ", ".join((*METHODS, *BASELINES))
    parser.add_argument("--methods", type=list[str], default=[*METHODS], help=f"what to compare, in this order, of: {known}")
    add_training_settings(parser)
    parser.add_argument("--keep_models", type=bool, default=True, help="save the model of every fold")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder of the run; the same command resumes in it")


def add_report(parser: Parser) -> None:
    parser.add_argument("folder", help="folder of a cross-validation, finished or not")


def add_evaluate(parser: Parser) -> None:
    parser.add_argument("model", help="folder with a model")
    parser.add_argument("manifest", help="labelled JSONL manifest")
    parser.add_argument("--batch_size", type=int, default=16, help="clips at a time; does not change the result")
    parser.add_argument("-o", "--output", type=str, default=None, help="folder for predictions, scores and a report")


def add_predict(parser: Parser) -> None:
    parser.add_argument("model", help="folder with a model")
    parser.add_argument("audio", nargs="+", help="audio files, folders of them, manifests")
    parser.add_argument("--labels", type=list[str], default=None, help='choose among these instead: \'["bored","calm"]\'')
    parser.add_argument("--batch_size", type=int, default=16, help="clips at a time; does not change the result")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("-o", "--output", type=str, default=None, help="CSV: path, emotion, confidence, labels, error")


ARGUMENTS: dict[str, tuple[Callable[[Parser], None], str]] = {
    "prepare": (add_prepare, "read a corpus, or another toolkit's manifest, into a manifest"),
    "inspect": (add_inspect, "count what a manifest holds and find every fault in it"),
    "convert": (add_convert, "write a manifest in another toolkit's form"),
    "train": (add_train, "train one method on all speakers"),
    "crossval": (add_crossval, "train and compare methods over speaker-disjoint folds"),
    "report": (add_report, "write the report of a cross-validation again"),
    "evaluate": (add_evaluate, "score a model on a labelled manifest"),
    "predict": (add_predict, "say the emotion of recordings"),
}


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="gemoclap", description=DESCRIPTION, epilog=EPILOG, version=__version__)
    parser.formatter_class = type("Formatter", (parser.formatter_class,), {"_fill_text": _keep_lines})
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for name, (add_arguments, summary) in ARGUMENTS.items():
        command = Parser(prog=f"gemoclap {name}", description=summary[0].upper() + summary[1:] + ".")
        add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        commands.add_subcommand(name, command, help=summary)
    return parser


def _keep_lines(self: object, text: str, width: int, indent: str) -> str:
    return "".join(indent + line for line in text.splitlines(keepends=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _refuse_unknown_command(given)
    parser = build_parser()
    parsed = parser.instantiate_classes(parser.parse_args(given))
    args: Namespace = parsed[parsed.command]
    # openSMILE, soundfile and torch share the cores; tokenizers need none of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return import_module("gemoclap.commands").COMMANDS[parsed.command](args)
    except KeyboardInterrupt:
        print("gemoclap: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except GemoclapError as error:
        return _report(f"gemoclap: {error}", args.debug, 2)
    except Exception as error:
        kind = type(error).__name__
        return _report(f"gemoclap: unexpected {kind}: {error}; run again with --debug and report it", args.debug, 1)


def _refuse_unknown_command(given: Sequence[str]) -> None:
    if given and not given[0].startswith("-") and given[0] not in ARGUMENTS:
        hint = did_you_mean(given[0], list(ARGUMENTS))
        print(f"gemoclap: no command is called {given[0]!r}{hint}; see 'gemoclap --help'", file=sys.stderr)
        raise SystemExit(2)


def _report(message: str, debug: bool, status: int) -> int:
    if debug:
        traceback.print_exc()
    print(" ".join(message.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
