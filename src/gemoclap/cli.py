"""The command line: arguments, help, errors in one line, exit codes.

0 done; 1 done, but something in the data is at fault (`inspect`, `predict`), or an error nobody foresaw; 2 wrong
arguments, settings or files; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Literal, NamedTuple

from jsonargparse.typing import PositiveInt

from gemoclap import __version__
from gemoclap.arguments import Parser, SettingsFile, options_overruled, spelt_lists
from gemoclap.config import (
    BASELINES,
    HEADS,
    METHODS,
    TRAINED,
    AudioSettings,
    CacheSettings,
    DataSettings,
    GmpSettings,
    ModelSettings,
    ObjectiveSettings,
    TrainSettings,
)
from gemoclap.config_ems import (
    LOG_MEL,
    CompareSettings,
    IntensityModelSettings,
    PretrainModelSettings,
    PretrainSettings,
    PretrainTrainSettings,
    ProbeHeadSettings,
    ProbeTrainSettings,
    RankingSettings,
)
from gemoclap.config_paper import PAPER_ENCODERS, PAPER_SETTINGS
from gemoclap.errors import GemoclapError, did_you_mean

RUN_FOLDER = "folder of the run; the same command resumes in it"
SHARED_FOLDER = f"{RUN_FOLDER}, and shares the work if started twice"
BATCH_SIZE = "clips at a time; does not change the result"
SETTINGS_FILE = "YAML of settings; files and options count in order, so options go after it"


def add_prepare(parser: Parser) -> None:
    corpora = "iemocap, ravdess, emodb, nemo, cremad, synthetic, or emobox, s3prl, audformat, csv"
    parser.add_argument("name", help=corpora)
    parser.add_argument("root", help="the corpus's folder; for emobox, s3prl, audformat and csv their file or folder")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="manifest to write; default NAME.jsonl")
    audio_root = "folder that an imported manifest's paths start from"
    parser.add_argument("--audio_root", type=str | None, default=None, help=audio_root)


def add_inspect(parser: Parser) -> None:
    parser.add_argument("manifest", help="JSONL manifest")
    vocabulary = "report labels outside this named set, such as iemocap4"
    parser.add_argument("--vocabulary", type=str | None, default=None, help=vocabulary)
    parser.add_argument("--all", action="store_true", help="print every fault, not the first ten of a kind")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="also write counts and faults as JSON")


def add_convert(parser: Parser) -> None:
    parser.usage = "gemoclap convert MANIFEST emobox|audformat|csv -o OUTPUT [options]"
    parser.add_argument("manifest", help="JSONL manifest")
    parser.add_argument("form", help="emobox (with folds), audformat or csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder to write; for csv a file")
    parser.add_class_arguments(DataSettings, "data")
    parser.hide_groups()


def add_settings(parser: Parser) -> None:
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ModelSettings, "model")
    parser.add_class_arguments(ObjectiveSettings, "objective")
    parser.add_class_arguments(GmpSettings, "gmp")
    parser.add_class_arguments(TrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_train(parser: Parser) -> None:
    parser.usage = "gemoclap train --data.manifest MANIFEST -o RUN [--config YAML ...] [--method METHOD] [options]"
    parser.add_argument("-o", "--output", type=str, required=True, help=RUN_FOLDER)
    parser.add_argument("--method", type=Literal[TRAINED], default="sl_gemo_clap", help="what to train")
    add_settings(parser)


def add_crossval(parser: Parser) -> None:
    parser.usage = "gemoclap crossval --data.manifest MANIFEST -o RUN [--config YAML ...] [--methods A,B,...] [options]"
    parser.add_argument("-o", "--output", type=str, required=True, help=RUN_FOLDER)
    methods = f"what to compare, such as emo_clap,egemaps_svm; known: {', '.join((*TRAINED, *BASELINES))}"
    parser.add_argument("--methods", type=list[str], default=[*METHODS], help=methods)
    parser.add_argument("--keep_models", type=bool, default=True, help="save the model of every fold")
    seeds = "cross-validate with each of these, such as 0,1,2, in RUN/seed_0 and so on, and report all in RUN"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_crosscorpus(parser: Parser) -> None:
    parser.usage = "gemoclap crosscorpus A.jsonl B.jsonl ... -o RUN [--config YAML ...] [--method METHOD] [options]"
    manifests = "manifests; what each is called before .jsonl is its name in the matrix"
    parser.add_argument("manifests", nargs="+", help=manifests)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--method", type=Literal[TRAINED], default="emo_clap", help="what to train")
    keep = "keep the model of every training; false: only until it has been tested"
    parser.add_argument("--keep_models", type=bool, default=True, help=keep)
    seeds = "train with each of these, such as 0,1,2; the matrix has the means"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_table1(parser: Parser) -> None:
    parser.usage = (
        "gemoclap table1 MANIFEST -o RUN [--encoders A,B,...] [--methods A,B,...] [--config YAML ...] [options]"
    )
    parser.add_argument("manifest", help="JSONL manifest; of IEMOCAP for the paper's table")
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    encoders = "rows: hub ids or folders; NAME=FOLDER gives a name; model.audio_encoder is not heeded"
    parser.add_argument("--encoders", type=list[str], default=[*PAPER_ENCODERS], help=encoders)
    methods = f"columns; known: {', '.join((*METHODS, *HEADS))}"
    parser.add_argument("--methods", type=list[str], default=[*METHODS], help=methods)
    seeds = "cross-validate with each of these, such as 0,1,2; the table has the means"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    keep = "save the model of every fold; about 2 GB each with the paper's encoders"
    parser.add_argument("--keep_models", type=bool, default=False, help=keep)
    parser.add_argument("--estimate", action="store_true", help="say how many hours are left, and do nothing else")
    add_settings(parser)
    parser.set_defaults(PAPER_SETTINGS)


def add_gmp_step(parser: Parser) -> None:
    parser.usage = f"{parser.prog} --data.manifest MANIFEST -o RUN [--config YAML ...] [options]"
    output = "folder of the run, the same for all steps, as are the options: --config RUN/config.yaml has them"
    parser.add_argument("-o", "--output", type=str, required=True, help=output)
    add_settings(parser)


def add_frames(parser: Parser) -> None:
    run = "folder of a training of gmp_tl, or of a fold of its cross-validation: its clusters speak, not its last model"
    parser.add_argument("run", help=run)
    parser.add_argument("audio", help="audio file, of any length")
    smooth = "seconds over which the emotions of a frame are averaged; 0: each as it is"
    parser.add_argument("--smooth", type=float, default=0.5, help=smooth)
    parser.add_argument("-o", "--output", type=str | None, default=None, help="CSV or PNG to write; default: printed")


def add_report(parser: Parser) -> None:
    parser.add_argument(
        "folder", nargs="+", help="folder of a cross-validation, finished or not; several are set side by side"
    )
    parser.add_argument("-o", "--output", type=str | None, default=None, help="folder for the report of several")


def add_evaluate(parser: Parser) -> None:
    parser.add_argument("model", help="folder with a model")
    parser.add_argument("manifest", help="labelled JSONL manifest")
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    output = "new folder for predictions, scores and a report"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)


def add_predict(parser: Parser) -> None:
    parser.add_argument("model", help="folder with a model")
    parser.add_argument(
        "audio",
        nargs="+",
        help="audio files, folders of them, manifests; of a long clip the first seconds are heard, as in training",
    )
    parser.add_argument("--labels", type=list[str] | None, default=None, help="choose among these instead: bored,calm")
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    output = "CSV to write: path, emotion, confidence, a column a label, error"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)


def add_pretrain_intensity(parser: Parser) -> None:
    parser.usage = "gemoclap pretrain intensity --data.manifest MANIFEST -o RUN [--config YAML ...] [options]"
    parser.add_argument("-o", "--output", type=str, required=True, help=RUN_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(RankingSettings, "ranking")
    parser.add_class_arguments(IntensityModelSettings, "model")
    parser.add_class_arguments(TrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.set_defaults({"data.dev_speakers": 2})
    parser.hide_groups()


def add_pretrain_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap pretrain ems --speech A,B,... -o RUN [--model.intensity_model DIR] [--config YAML ...] [options]"
    )
    parser.add_argument("-o", "--output", type=str, required=True, help=RUN_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    defaults = PretrainSettings(model=PretrainModelSettings(masking="random"))
    speech = "manifests, and folders of audio files; labels are not looked at"
    parser.add_argument("--speech", type=list[str], required=True, help=speech)
    leave_out = "corpora and speakers (corpus/speaker) not to hear: those that a probe will test on"
    parser.add_argument("--leave_out", type=list[str], default=[], help=leave_out)
    held_out = "share of the utterances whose loss is measured after each epoch and not learnt from"
    parser.add_argument("--held_out", type=float, default=defaults.held_out, help=held_out)
    parser.add_class_arguments(AudioSettings, "audio")
    parser.add_class_arguments(PretrainModelSettings, "model")
    parser.add_class_arguments(PretrainTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_probe(parser: Parser) -> None:
    parser.usage = "gemoclap probe --data.manifest MANIFEST --encoders A,B,... -o RUN [--config YAML ...] [options]"
    parser.add_argument("-o", "--output", type=str, required=True, help=RUN_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    encoders = f"{LOG_MEL} (no encoder), compact and other untrained ones, hub ids, folders; NAME=FOLDER gives a name"
    parser.add_argument("--encoders", type=list[str], default=[LOG_MEL], help=encoders)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ProbeHeadSettings, "head")
    parser.add_class_arguments(ProbeTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_intensity(parser: Parser) -> None:
    parser.add_argument("model", help="folder with an intensity model: RUN/model of 'gemoclap pretrain intensity'")
    parser.add_argument("audio", help="audio file, of any length; silence at its head and tail has no intensity")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="CSV or PNG to write; default: printed")


def add_compare_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap compare ems --speech A,B,... --intensity_model DIR --probe.manifests A,B,... -o RUN [--config YAML ...] "
        "[options]"
    )
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(CompareSettings)
    parser.hide_groups()


class Command(NamedTuple):
    """A command: its arguments, what the help says of it, and the module that holds ``run_NAME``.

    The module, and with it torch where it is needed, is imported when the command runs: help and complaints come at
    once, and so do the commands that only look at manifests.
    """

    add_arguments: Callable[[Parser], None]
    summary: str
    module: str = "gemoclap.commands"


COMMANDS: dict[str, Command] = {
    "prepare": Command(
        add_prepare, "read a corpus, or another toolkit's manifest, into a manifest", "gemoclap.corpus_commands"
    ),
    "inspect": Command(
        add_inspect, "count what a manifest holds and find every fault in it", "gemoclap.corpus_commands"
    ),
    "convert": Command(add_convert, "write a manifest in another toolkit's form", "gemoclap.corpus_commands"),
    "train": Command(add_train, "train one method on all speakers"),
    "crossval": Command(add_crossval, "train and compare methods over speaker-disjoint folds"),
    "crosscorpus": Command(
        add_crosscorpus, "train on each of several corpora and test on each other one", "gemoclap.table_commands"
    ),
    "table1": Command(
        add_table1, "fill the GEmo-CLAP paper's Table 1, audio encoders by methods", "gemoclap.table_commands"
    ),
    "pretrain intensity": Command(
        add_pretrain_intensity, "train a model of the intensity of emotion over time", "gemoclap.ems_commands"
    ),
    "pretrain ems": Command(
        add_pretrain_ems, "pre-train an encoder on speech, where emotion is intense (EMS)", "gemoclap.ems_commands"
    ),
    "compare ems": Command(
        add_compare_ems, "pre-train in every way with several seeds, and see whether EMS helps", "gemoclap.ems_commands"
    ),
    "probe": Command(
        add_probe, "find how much of emotion is in frozen encoders (S3PRL's protocol)", "gemoclap.ems_commands"
    ),
    "intensity": Command(add_intensity, "show the intensity of emotion over time in a clip", "gemoclap.ems_commands"),
    "gmp features": Command(
        add_gmp_step,
        "GMP-TL, first step: train an encoder to name emotion and gender, on all speakers (RUN/features)",
        "gemoclap.gmp_commands",
    ),
    "gmp cluster": Command(
        add_gmp_step,
        "second: cluster the frames of RUN/features, pseudo-labels at every scale (RUN/clusters)",
        "gemoclap.gmp_commands",
    ),
    "gmp pretrain": Command(
        add_gmp_step,
        "third: train an encoder to name hidden frames by the labels of RUN/clusters (RUN/frames)",
        "gemoclap.gmp_commands",
    ),
    "gmp finetune": Command(
        add_gmp_step,
        "last: fine-tune the encoder of RUN/frames to name emotions, the model of gmp_tl (RUN/model)",
        "gemoclap.gmp_commands",
    ),
    "frames": Command(add_frames, "show what GMP-TL's clusters say of a clip, frame by frame", "gemoclap.gmp_commands"),
    "report": Command(
        add_report, "write the report of a cross-validation again, or one of several over the same folds"
    ),
    "evaluate": Command(add_evaluate, "score a model on a labelled manifest"),
    "predict": Command(add_predict, "say the emotion of recordings"),
}

EPILOG = """\
commands:
{commands}

From a corpus to a table, and to a model:
  gemoclap prepare ravdess RAVDESS -o ravdess.jsonl
  gemoclap inspect ravdess.jsonl
  gemoclap crossval --data.manifest ravdess.jsonl -o runs/ravdess
  gemoclap train --data.manifest ravdess.jsonl -o runs/ravdess-all
  gemoclap predict runs/ravdess-all/model clip.wav

'gemoclap COMMAND --help' has the options of each.
"""


def overview() -> Parser:
    """Return the parser of ``gemoclap`` without a command: it only knows --help and --version."""
    return Parser(
        prog="gemoclap",
        usage="gemoclap COMMAND ... [--debug]",
        description="Speech emotion recognition by contrastive language-audio pretraining.",
        epilog=EPILOG.format(commands=_listed(COMMANDS)),
        version=__version__,
    )


def _listed(names: Iterable[str]) -> str:
    return "\n".join(f"  {name:<18} {COMMANDS[name].summary}" for name in names)


def parser_of(name: str) -> Parser:
    """Return the parser of one command."""
    summary = COMMANDS[name].summary
    parser = Parser(prog=f"gemoclap {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    COMMANDS[name].add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``--help`` and ``--version`` raise SystemExit as everywhere."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except KeyboardInterrupt:
        print("gemoclap: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except GemoclapError as error:
        return _report(f"gemoclap: {error}", given, 2)
    except BrokenPipeError:
        # Whoever read the output has read enough; Python must not complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _report(f"gemoclap: {error.filename or 'a file'}: {error.strerror or error}; mend that first", given, 2)
    except Exception as error:
        kind = type(error).__name__
        return _report(f"gemoclap: unexpected {kind}: {error}; run again with --debug and report it", given, 1)


def _run(given: Sequence[str]) -> int:
    words = 2 if " ".join(given[:2]) in COMMANDS else 1
    name = " ".join(given[:words])
    if name.startswith("-"):
        overview().parse_args(given)
    group = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if group and given[1:] in ([], ["-h"], ["--help"]):
        print(f"usage: gemoclap {name} {'|'.join(command.split()[1] for command in group)} ...\n")
        print(_listed(group))
        return 0
    if group:
        raise GemoclapError(f"{name}: give one of {', '.join(group)}; see 'gemoclap {name} --help'")
    if name not in COMMANDS:
        what = f"no command is called {name!r}{did_you_mean(name, list(COMMANDS))}" if name.strip("-") else "no command"
        raise GemoclapError(f"{what}; give one of {', '.join(COMMANDS)}; see 'gemoclap --help'")
    parser = parser_of(name)
    options = spelt_lists(given[words:])
    args = parser.instantiate(parser.parse_args(options))
    for line in options_overruled(options, parser.settings()):
        print(f"beware: {line}", file=sys.stderr)
    # openSMILE, soundfile and torch share the cores; tokenizers need none of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return getattr(import_module(COMMANDS[name].module), f"run_{name.replace(' ', '_')}")(args)


def _report(message: str, given: Sequence[str], status: int) -> int:
    if "--debug" in given:
        traceback.print_exc()
    print(" ".join(message.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
