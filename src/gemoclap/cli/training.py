"""`train`, `crossval` and `report`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from gemoclap.cli.alone import alone
from gemoclap.cli.settings import say_idle, say_idle_folds, seeds_of, settings_of
from gemoclap.errors import GemoclapError
from gemoclap.recipes.crossval import cross_validate, cross_validate_seeds
from gemoclap.recipes.dimensions import METHOD, cross_validate_dimensions
from gemoclap.recipes.holding import holding
from gemoclap.recipes.run_folder import CONFIG, seed_folder, seed_folders, tested_seeds
from gemoclap.recipes.supervised import is_trained
from gemoclap.recipes.train import train
from gemoclap.reports import Results, collect, collect_together, print_table, write_report
from gemoclap.reports.canvas import FORMATS
from gemoclap.reports.dimensions import (
    CAPTION,
    dimension_cells,
    is_dimension_run,
    write_dimension_report,
)
from gemoclap.reports.joined import refuse_other_files
from gemoclap.reports.tables import drawn_table
from gemoclap.terminal import output_console
from gemoclap.training.distributed import leave_together, process_state


@alone
def run_train(args: Namespace) -> int:
    """Train one method on all speakers."""
    output = Path(args.output)
    before = is_trained(output)
    calibrate_on = Path(args.calibrate_on) if args.calibrate_on else None
    settings = settings_of(args)
    say_idle(settings, [args.method])
    say_idle_folds(settings.data, "train")
    folder = train(settings, args.method, output, calibrate_on=calibrate_on)
    if process_state().is_main_process:
        what = "was trained before, so there is nothing to do" if before else "the model"
        print(f"{folder}: {what}; try it with: gemoclap predict clip.wav --model {folder}")
    leave_together()
    return 0


@alone
def run_crossval(args: Namespace) -> int:
    """Train and test methods over speaker-disjoint folds, and write a report."""
    output = Path(args.output)
    if METHOD in args.methods:
        return _crossval_dimensions(args, output)
    settings = settings_of(args)
    say_idle(settings, args.methods)
    if seeds := seeds_of(args):
        return _crossval_seeds(args, seeds, output)
    cross_validate(settings, args.methods, output, keep_models=args.keep_models)
    if process_state().is_main_process:
        _report(collect(output))
    leave_together()
    return 0


def _crossval_dimensions(args: Namespace, output: Path) -> int:
    """Cross-validate the regression of valence, arousal and dominance, which has other figures than classes have."""
    if len(args.methods) > 1 or seeds_of(args):
        what = "with --seeds" if len(args.methods) == 1 else "beside other methods"
        raise GemoclapError(f"{METHOD} is not cross-validated {what}; run it alone, and set --train.seed")
    settings = settings_of(args)
    say_idle(settings, args.methods)
    cross_validate_dimensions(settings, output)
    if process_state().is_main_process:
        _report_dimensions(output)
    leave_together()
    return 0


def _report_dimensions(folder: Path) -> None:
    page, scores = write_dimension_report(folder)
    output_console().print(drawn_table(*dimension_cells(scores), caption=CAPTION))
    print(f"{page}: the report; results.json is in the same folder")


def _crossval_seeds(args: Namespace, seeds: Sequence[int], output: Path) -> int:
    """Cross-validate with each seed, report each run when it is finished, and then all together.

    Seeds that an earlier command has trained in the same folder are reported too, as `gemoclap report` does.
    """
    settings = settings_of(args)
    folders = {seed: seed_folder(output, seed) for seed in seeds}
    refuse_other_files(output, [*folders.values(), *seed_folders(output)])
    is_main = process_state().is_main_process
    for folder in cross_validate_seeds(settings, args.methods, folders, keep_models=args.keep_models):
        if is_main:
            print(f"{write_report(folder)}: finished")
    if is_main:
        _report(collect_together(tested_seeds(output), output))
    leave_together()
    return 0


def run_report(args: Namespace) -> int:
    """Write the report of a cross-validation (or of all its seeds) again, finished or not, or one that compares several."""
    if len(args.folder) > 1 and not args.output:
        raise GemoclapError("a report of several runs needs a folder of its own; name it with -o")
    output = Path(args.output or args.folder[0])
    folders = [run for folder in args.folder for run in _runs_of(Path(folder))]
    if not args.output and folders == [output] and not (output / CONFIG).is_file():
        collect(output)  # raises an error before a lock is written into a folder that is not that of a run
    with holding(output, brief=True, wait=not args.no_wait):
        if of_dimensions := [folder for folder in folders if is_dimension_run(folder)]:
            if args.output or args.html:
                raise GemoclapError(
                    f"{of_dimensions[0]}: is a run of {METHOD}, whose report is written alone, without -o and --html"
                )
            _report_dimensions(of_dimensions[0])
            return 0
        results = collect(output) if folders == [output] else collect_together(folders, output)
        _report(results, args.formats)
        if args.html:
            # Imported here, because scikit-learn's projections take a second that every other command would wait for.
            from gemoclap.reports.html_report import write_html_report

            page = write_html_report(results, with_audio=not args.no_audio)
            print(f"{page}: the same as one web page, which needs no other file")
    return 0


def _runs_of(folder: Path) -> list[Path]:
    """Return the runs of each seed, if a folder has several, or the folder itself."""
    return [folder] if (folder / CONFIG).is_file() else tested_seeds(folder) or [folder]


def _report(results: Results, formats: Sequence[str] = FORMATS) -> None:
    page = write_report(results, formats)
    print_table(results, output_console())
    print(f"{page}: the report; results.json, results.csv, results.tex and pictures are in the same folder")
