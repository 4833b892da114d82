"""The command line: the list of commands, help, errors in one line, and exit codes.

Exit codes: 0 = success; 1 = some of the data is faulty (`inspect`, `predict`), or an unexpected error; 2 = wrong arguments,
settings or files; 130 = interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from gemoclap import __version__
from gemoclap.cli.arguments import Parser, files_first, refuse_empty_words, take_manifest
from gemoclap.cli.model_options import (
    add_evaluate,
    add_export,
    add_index,
    add_predict,
    add_search,
    add_serve,
    add_timeline,
)
from gemoclap.cli.options import (
    DAILY,
    add_compare,
    add_compare_ems,
    add_convert,
    add_crosscorpus,
    add_crossval,
    add_frames,
    add_gmp_step,
    add_inspect,
    add_intensity,
    add_papers,
    add_prepare,
    add_pretrain_ems,
    add_pretrain_intensity,
    add_probe,
    add_report,
    add_sweep,
    add_table1,
    add_train,
)
from gemoclap.cli.typed import spelt_lists, spelt_words
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.extras import lacking
from gemoclap.starting import many_imports
from gemoclap.terminal import on_one_line, show_what_cannot_be_encoded


class Command(NamedTuple):
    """A command: its arguments, its summary in the help, and the module with ``run_NAME``.

    The module is imported when the command runs, and torch with it if the command needs torch. Help and errors therefore
    appear at once, and commands that only work with manifests start quickly.

    `resumes` = what an interrupted command has written is used if it is repeated. Others write everything at their end.
    """

    add_arguments: Callable[[Parser], None]
    summary: str
    module: str
    resumes: bool = True


COMMANDS: dict[str, Command] = {
    "prepare": Command(
        add_prepare,
        "make a manifest from a corpus, or from another toolkit's manifest",
        "gemoclap.cli.corpora",
        resumes=False,
    ),
    "inspect": Command(
        add_inspect, "check a manifest: count its contents and list all faults", "gemoclap.cli.corpora", resumes=False
    ),
    "convert": Command(
        add_convert, "write a manifest in another toolkit's format", "gemoclap.cli.corpora", resumes=False
    ),
    "train": Command(add_train, "train one method on all speakers", "gemoclap.cli.training"),
    "crossval": Command(add_crossval, "train and compare methods over speaker-disjoint folds", "gemoclap.cli.training"),
    "crosscorpus": Command(
        add_crosscorpus, "train on each of several corpora and test on each of the others", "gemoclap.cli.tables"
    ),
    "table1": Command(
        add_table1,
        "compare audio encoders and methods in a table, as in the GEmo-CLAP paper's Table 1",
        "gemoclap.cli.tables",
    ),
    "sweep": Command(
        add_sweep,
        "try several values of settings, and choose among them by development speakers",
        "gemoclap.cli.tables",
    ),
    "pretrain intensity": Command(
        add_pretrain_intensity, "train a model of the intensity of emotion over time", "gemoclap.cli.ems"
    ),
    "pretrain ems": Command(
        add_pretrain_ems,
        "pre-train an encoder on speech, with masks where emotion is intense (EMS)",
        "gemoclap.cli.ems",
    ),
    "compare ems": Command(
        add_compare_ems, "pre-train encoders with and without EMS, and compare their scores", "gemoclap.cli.ems"
    ),
    "probe": Command(
        add_probe, "compare frozen encoders by the score of a linear head (S3PRL's protocol)", "gemoclap.cli.ems"
    ),
    "intensity": Command(
        add_intensity, "show the intensity of emotion over time in a clip", "gemoclap.cli.ems", resumes=False
    ),
    "gmp features": Command(
        add_gmp_step,
        "step 1 of GMP-TL: train an encoder on emotion and gender, with all speakers (writes RUN/features)",
        "gemoclap.cli.gmp",
    ),
    "gmp cluster": Command(
        add_gmp_step,
        "step 2 of GMP-TL: cluster the frames of this encoder into pseudo-labels (writes RUN/clusters)",
        "gemoclap.cli.gmp",
    ),
    "gmp pretrain": Command(
        add_gmp_step,
        "step 3 of GMP-TL: train an encoder to predict the pseudo-labels of hidden frames (writes RUN/frames)",
        "gemoclap.cli.gmp",
    ),
    "gmp finetune": Command(
        add_gmp_step,
        "step 4 of GMP-TL: fine-tune that encoder on emotions (writes RUN/model)",
        "gemoclap.cli.gmp",
    ),
    "frames": Command(
        add_frames,
        "show the clusters of GMP-TL and the emotions of a clip, frame by frame",
        "gemoclap.cli.gmp",
        resumes=False,
    ),
    "report": Command(
        add_report,
        "write the report of a cross-validation again, or compare several over the same folds",
        "gemoclap.cli.training",
        resumes=False,
    ),
    "compare": Command(
        add_compare,
        "compare systems with each other on the same clips; predictions of other toolkits can take part",
        "gemoclap.cli.comparing",
        resumes=False,
    ),
    "papers": Command(
        add_papers,
        "put the rows of runs beside the published systems, with the protocol of each",
        "gemoclap.cli.papers",
        resumes=False,
    ),
    "evaluate": Command(add_evaluate, "score a model on a labelled manifest", "gemoclap.cli.evaluating", resumes=False),
    "predict": Command(add_predict, "predict the emotion of recordings", "gemoclap.cli.predicting"),
    "timeline": Command(
        add_timeline, "show the emotions in a long recording over time", "gemoclap.cli.timeline", resumes=False
    ),
    "index": Command(
        add_index, "make an index of recordings, to search them by how they sound", "gemoclap.cli.searching"
    ),
    "search": Command(
        add_search,
        "find recordings of an index by words for an emotion, or by a similar clip",
        "gemoclap.cli.searching",
        resumes=False,
    ),
    "serve": Command(add_serve, "answer over HTTP and WebSocket, with a page in the browser", "gemoclap.cli.serving"),
    "export": Command(
        add_export, "write a model as an ONNX file, to predict without torch", "gemoclap.cli.exporting", resumes=False
    ),
}

SHELVES: dict[str, dict[str, str]] = {
    "": {
        name: COMMANDS[name].summary
        for name in ("prepare", "inspect", "crossval", "train", "evaluate", "predict", "timeline", "serve", "export")
    },
    "search by how it sounds": {name: COMMANDS[name].summary for name in ("index", "search")},
    "more tables and reports": {
        name: COMMANDS[name].summary
        for name in ("report", "compare", "papers", "crosscorpus", "table1", "sweep", "convert")
    },
    "GMP-TL (pseudo-labels of frames)": {
        "gmp": "run its four steps one by one: features, cluster, pretrain, finetune",
        "frames": COMMANDS["frames"].summary,
    },
    "EMS (pre-training with emotion-aware masks)": {
        "pretrain": "run its two steps: intensity (train the intensity model), ems (pre-train an encoder)",
        "probe": COMMANDS["probe"].summary,
        "compare ems": COMMANDS["compare ems"].summary,
        "intensity": COMMANDS["intensity"].summary,
    },
}
"""Groups of commands in the overview: title -> command, or the first word of several -> summary."""

EPILOG = """\
commands:
{commands}

With a model that comes with gemoclap:
  gemoclap predict clip.wav
  gemoclap timeline call.wav -o call.png
  gemoclap serve

From a corpus to a table, and to a model of your own:
  gemoclap prepare ravdess RAVDESS -o ravdess.jsonl
  gemoclap inspect ravdess.jsonl
  gemoclap crossval ravdess.jsonl -o runs/ravdess
  gemoclap train ravdess.jsonl -o runs/ravdess-all
  gemoclap predict clip.wav --model runs/ravdess-all/model

'gemoclap COMMAND --help' shows the options of a command.
"""


def overview() -> Parser:
    """Return the parser of ``gemoclap`` without a command; it only has --help and --version."""
    shelves = [(f"\n{title}:\n" if title else "") + _listed(commands) for title, commands in SHELVES.items()]
    parser = Parser(
        prog="gemoclap",
        usage="gemoclap COMMAND ... [--debug]",
        description="Speech emotion recognition by contrastive language-audio pretraining.",
        epilog=EPILOG.format(commands="\n".join(shelves)),
        version=__version__,
    )
    parser.plain_help_of_standard_options()
    return parser


def _listed(summaries: Mapping[str, str]) -> str:
    return "\n".join(f"  {name:<18} {summary}" for name, summary in summaries.items())


def parser_of(name: str, every_setting: bool = True) -> Parser:
    """Return the parser of one command.

    Parameters
    ----------
    every_setting : whether its help shows all settings, or only the common ones.
    """
    summary = COMMANDS[name].summary
    parser = Parser(prog=f"gemoclap {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    COMMANDS[name].add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.plain_help_of_standard_options()
    if not every_setting and (hidden := parser.hide_rare_settings(DAILY)):
        parser.epilog = f"'gemoclap {name} --help-all' shows {hidden} more settings.\n"
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``--help`` and ``--version`` raise SystemExit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    show_what_cannot_be_encoded()
    try:
        return _run(given)
    except KeyboardInterrupt:
        resumes = "; repeat the command to resume" if _resumes(given) else ""
        print(f"gemoclap: interrupted{resumes}", file=sys.stderr)
        return 130
    except GemoclapError as error:
        return _report(f"gemoclap: {error}", given, 2)
    except BrokenPipeError:
        # The reader has closed the pipe. Python must not complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _report(f"gemoclap: {_place(error)}: {error.strerror or error}; solve that and try again", given, 2)
    except ModuleNotFoundError as error:
        return _report(f"gemoclap: {lacking(error)}", given, 2)
    except Exception as error:
        kind = type(error).__name__
        return _report(f"gemoclap: unexpected {kind}: {error}; run again with --debug and report it", given, 1)


def _name_of(given: Sequence[str]) -> str:
    """Return the command that the first word names, or the first two."""
    two = " ".join(given[:2])
    return two if two in COMMANDS else " ".join(given[:1])


def _run(given: Sequence[str]) -> int:
    name = _name_of(given)
    if name.startswith("-"):
        overview().parse_args(given)
    group = {
        command: COMMANDS[command].summary
        for command in COMMANDS
        if name not in COMMANDS and command.startswith(f"{name} ")
    }
    if group and given[1:] in ([], ["-h"], ["--help"]):
        print(f"usage: gemoclap {name} {'|'.join(command.split()[1] for command in group)} ...\n")
        print(_listed(group))
        return 0
    if group:
        raise GemoclapError(f"{name}: give one of {', '.join(group)}; see 'gemoclap {name} --help'")
    if name not in COMMANDS:
        what = f"no command is called {name!r}{did_you_mean(name, list(COMMANDS))}" if name.strip("-") else "no command"
        raise GemoclapError(f"{what}; give one of {', '.join(COMMANDS)}; see 'gemoclap --help'")
    if "--help-all" in given:
        parser_of(name).print_help()
        return 0
    args = parse(name, given[len(name.split()) :])
    # The cores are needed by openSMILE, soundfile and torch; tokenizers are fast enough without them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with many_imports():
        module = import_module(COMMANDS[name].module)
    return getattr(module, f"run_{name.replace(' ', '_')}")(args)


def parse(name: str, given: Sequence[str]) -> Namespace:
    """Return a command's arguments, with settings as dataclasses."""
    parser = parser_of(name, every_setting=False)
    refuse_empty_words(given, parser.lists())
    options = spelt_lists(files_first(given), parser.lists(), parser.lists_or_single())
    options = spelt_words(options, parser.of_words())
    args = parser.instantiate(parser.parse_args(options))
    take_manifest(args, options)
    return args


def _resumes(given: Sequence[str]) -> bool:
    """Whether a command that was interrupted goes on where it was, as far as its arguments tell."""
    name = _name_of(given)
    has_output = any(word in ("-o", "--output") or word.startswith("--output=") for word in given)
    return name in COMMANDS and COMMANDS[name].resumes and (has_output or name == "index")


def _place(error: OSError) -> str:
    """Return the file that an error is about, or the folder that keeps this user out of it: that is what was named."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return "a file"
    path = Path(os.fsdecode(error.filename))
    closed = [folder for folder in path.parents if not os.access(folder, os.X_OK)]
    return str(closed[-1] if isinstance(error, PermissionError) and closed else path)


def _report(message: str, given: Sequence[str], status: int) -> int:
    if "--debug" in given:
        traceback.print_exc()
    print(on_one_line(" ".join(message.split())), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
