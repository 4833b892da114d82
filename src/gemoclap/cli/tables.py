"""The commands that fill whole tables: table1 (encoders by methods), crosscorpus (corpora by corpora), sweep (settings)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from gemoclap.cli.arguments import Parser, nearest
from gemoclap.cli.options import add_settings
from gemoclap.cli.settings import say_idle, say_idle_folds, seeds_of, settings_of
from gemoclap.config import ModelSettings, TrainSettings
from gemoclap.config.paper import PAPER_ENCODERS
from gemoclap.errors import GemoclapError
from gemoclap.recipes.cost import costs
from gemoclap.recipes.crosscorpus import CrossCorpus
from gemoclap.recipes.holding import holding
from gemoclap.recipes.run_folder import say
from gemoclap.recipes.sweep import Sweep, Value
from gemoclap.recipes.table1 import Cell, TableRun, named_encoders
from gemoclap.reports import write_report
from gemoclap.reports.cost import print_costs
from gemoclap.reports.crosscorpus import MatrixResults, print_crosscorpus, read_crosscorpus, write_crosscorpus
from gemoclap.reports.sweep import Tried, print_sweep, read_sweep, write_sweep
from gemoclap.reports.table1 import print_table1, write_table1
from gemoclap.reports.table1_cells import TableResults, read_table1
from gemoclap.reports.within import read_within
from gemoclap.terminal import output_console
from gemoclap.training.distributed import process_state
from gemoclap.wording import counted

TRAIN = "train"
"""Value of --within that has the cross-validations done here."""


def run_crosscorpus(args: Namespace) -> int:
    """Train on each corpus and test on each other one."""
    settings = settings_of(args)
    if args.data.manifest is not None:
        raise GemoclapError("data.manifest: the manifests are given without an option here; leave it out")
    trains_within = args.within == [TRAIN]
    runs = [] if trains_within else args.within
    if TRAIN in runs:
        raise GemoclapError(f"--within: give {TRAIN} alone, or the folders of cross-validations")
    say_idle(settings, [args.method])
    if not trains_within:
        say_idle_folds(settings.data, "crosscorpus")
    matrix = CrossCorpus(
        settings,
        args.manifests,
        args.method,
        seeds_of(args) or [args.train.seed],
        Path(args.output),
        leave_one_out=args.leave_one_out,
        within=trains_within,
    )
    if runs:
        read_within(matrix, runs)  # so that a wrong folder is found before anything is trained
    empty = {frozenset((pair.trained, pair.tested)): pair for pair in matrix.pairs if pair.is_empty}
    for pair in empty.values():
        shared = f"share only {pair.labels[0]}" if pair.labels else "share no label"
        print(f"left empty: {pair.tested} and {pair.trained} {shared}; a pair needs two common labels")

    def show() -> tuple[Path, MatrixResults]:
        with holding(matrix.output, brief=True):
            found = read_crosscorpus(matrix, runs)
            return write_crosscorpus(found), found

    matrix.fill(keep_models=args.keep_models, show=show)
    page, found = show()
    print_crosscorpus(found, output_console())
    print(
        f"{page}: the matrix; the same folder has a web page (crosscorpus.html), a picture (crosscorpus.png) and figures "
        "(crosscorpus.csv, crosscorpus.json)"
    )
    return 0


def run_table1(args: Namespace) -> int:
    """Fill a table of encoders by methods with one cross-validation per cell; first print how long it will take."""
    settings = settings_of(args)
    _check_encoder(settings.model.audio_encoder, args.encoders)
    say_idle(settings, args.methods)
    run = TableRun(settings, args.encoders, args.methods, seeds_of(args) or [args.train.seed], Path(args.output))
    left = list(costs(run, print))
    if left:
        print_costs(left, f"{_batch(args.train)} on {process_state().device.type}", output_console())
    if args.estimate:
        if not left:
            print(f"{args.output}: finished, there is nothing to do")
        return 0

    def show(cell: Cell) -> None:
        with holding(cell.folder, brief=True):
            write_report(cell.folder)
        write_table()

    def write_table() -> tuple[Path, TableResults]:
        with holding(run.table.output, brief=True):
            found = read_table1(run.table)
            return write_table1(found), found

    run.fill(keep_models=args.keep_models, show=show)
    page, found = write_table()
    print_table1(found, output_console())
    print(f"{page}: the table; table1.tex, table1.csv and table1.json are in the same folder")
    return 0


def _check_encoder(set_one: str, encoders: Sequence[str]) -> None:
    """Refuse or name an encoder of the settings that is no row of the table, so that nobody waits for it in vain.

    It often comes from a settings file, such as ``--config whisper``, and the user has not named it.
    """
    if set_one in (ModelSettings().audio_encoder, *named_encoders(encoders).values()):
        return
    if [*encoders] == [*PAPER_ENCODERS]:
        raise GemoclapError(
            f"model.audio_encoder: the rows of a table are named with --encoders; give --encoders {set_one}"
        )
    rows = "row is" if len(encoders) == 1 else "rows are"
    say(
        f"the table's {rows} {', '.join(encoders)} (--encoders), without the encoder of the settings, {set_one}; "
        f"to have it too, give --encoders {','.join([*encoders, set_one])}"
    )


def run_sweep(args: Namespace) -> int:
    """Cross-validate every combination of some settings, and choose by development speakers."""
    settings = settings_of(args)
    axes = dict(map(_axis, args.over))
    if len(axes) < len(args.over):
        raise GemoclapError("--over: give each setting once, with all its values")
    say_idle(settings, args.methods)
    sweep = Sweep(settings, axes, args.methods, seeds_of(args) or [args.train.seed], Path(args.output))
    trainings = len(sweep.combinations) * len(sweep.methods) * len(sweep.folds) * len(sweep.seeds)
    combinations = counted(len(sweep.combinations), "combination")
    print(f"{combinations}, {counted(trainings, 'training')}: one for each method, fold and seed")

    def show() -> tuple[Path, list[Tried]]:
        with holding(sweep.output, brief=True):
            tried = read_sweep(sweep)
            return write_sweep(sweep, tried), tried

    sweep.fill(show=show)
    page, tried = show()
    print_sweep(sweep, tried, output_console())
    print(f"{page}: the tables; the same folder has a picture (sweep.png) and figures (sweep.csv, sweep.json)")
    return 0


def _axis(given: str) -> tuple[str, list[Value]]:
    """Return the name and the values of ``SETTING=A,B,...``, each read and checked as the option --SETTING would be."""
    name, _, texts = given.partition("=")
    parser = Parser(prog="gemoclap sweep")
    add_settings(parser)
    if name not in parser.settings() or "." not in name:
        raise GemoclapError(f"--over {given}: no setting is called {name!r}{nearest(name, parser.settings())}")
    if not texts:
        raise GemoclapError(f"--over {given}: has no values; give {name}=A,B,...")
    values = _split(texts)
    settings = [parser.instantiate(parser.parse_args([f"--{name}", text])) for text in values]
    return name, [Value(text, attrgetter(name)(one)) for text, one in zip(values, settings, strict=True)]


def _split(texts: str) -> list[str]:
    """Return the parts between commas. A comma inside brackets is part of a list or of a mapping."""
    parts, depth = [""], 0
    for sign in texts:
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _batch(train: TrainSettings) -> str:
    if train.batch_seconds is not None:
        return f"{train.batch_seconds:g} seconds of speech"
    return counted(train.batch_size, "utterance")
