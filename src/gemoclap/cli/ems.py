"""The commands of EMS: train the intensity model, pre-train with it, compare encoders, and show the intensity of a clip."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from itertools import chain
from pathlib import Path

from gemoclap.audio import Recording
from gemoclap.cli.alone import alone
from gemoclap.cli.settings import say_idle_folds
from gemoclap.config.ems import CompareSettings, IntensitySettings, PretrainSettings
from gemoclap.config.probe import ProbeSettings
from gemoclap.inference.clips import remark_on
from gemoclap.inference.timeline import intensity_over_time
from gemoclap.recipes.ems import EmsComparison, compare
from gemoclap.recipes.holding import holding
from gemoclap.recipes.intensity import train_intensity
from gemoclap.recipes.pretrain import load_intensity_model, pretrain
from gemoclap.recipes.probe import probe
from gemoclap.recipes.supervised import is_trained
from gemoclap.reports import collect, print_table, write_report
from gemoclap.reports.curves import plot_curve
from gemoclap.reports.ems import write_ems_report
from gemoclap.reports.series import series_path, write_series
from gemoclap.terminal import output_console
from gemoclap.training.distributed import leave_together, process_state
from gemoclap.wording import counted


@alone
def run_pretrain_intensity(args: Namespace) -> int:
    """Train a model of the intensity of emotion over time on a labelled corpus."""
    output = Path(args.output)
    before = is_trained(output)
    say_idle_folds(args.data, "pretrain intensity")
    folder = train_intensity(IntensitySettings(args.data, args.ranking, args.model, args.train, args.cache), output)
    _say(folder, before, f"gemoclap intensity {folder} clip.wav")
    return 0


@alone
def run_pretrain_ems(args: Namespace) -> int:
    """Pre-train an encoder on speech."""
    output = Path(args.output)
    before = is_trained(output)
    settings = PretrainSettings(
        args.speech, args.leave_out, args.held_out, args.audio, args.model, args.train, args.cache
    )
    folder = pretrain(settings, output)
    _say(folder, before, f"gemoclap crossval MANIFEST --model.audio_encoder {folder} -o RUN")
    return 0


def _say(folder: Path, before: bool, what_next: str) -> None:
    if process_state().is_main_process:
        what = "was trained before, so there is nothing to do" if before else "the model"
        print(f"{folder}: {what}; try it with: {what_next}")
    leave_together()


@alone
def run_probe(args: Namespace) -> int:
    """Train a linear head on each of several frozen encoders, over folds and seeds, and compare the scores."""
    output = Path(args.output)
    summary = probe(ProbeSettings(args.data, args.encoders, args.head, args.train, args.cache), output)
    results = collect(output)
    page = write_report(results)
    print_table(results, output_console())
    for encoder, figures in summary.items():
        uar = figures["uar"]
        if len(uar.values) > 1:
            # The table's interval is over speakers and seeds; two of one figure need their names.
            interval = (
                f"; interval over seeds alone [{100 * uar.low:.1f}, {100 * uar.high:.1f}]" if uar.has_interval else ""
            )
            print(f"{encoder}: UAR {100 * uar.mean:.1f} %, mean over {len(uar.values)} seeds{interval}")
    print(f"{page}: the report; seeds.json and seeds.csv have the scores of each seed")
    return 0


def run_compare_ems(args: Namespace) -> int:
    """Pre-train encoders with and without emotion-aware masks, and compare them on labelled corpora."""
    given = {one.name: getattr(args, one.name) for one in fields(CompareSettings)}
    output = Path(args.output)

    def show(comparison: EmsComparison) -> None:
        with holding(output, brief=True):
            write_ems_report(comparison, output)

    compare(CompareSettings(**given), output, show=show)
    print(
        f"{output / 'ems.md'}: the comparison; the same folder has a picture (ems.png) and figures (ems.csv, ems.json)"
    )
    return 0


def run_intensity(args: Namespace) -> int:
    """Show the intensity of emotion in a clip over time, as CSV on the terminal or in a file, or as a picture."""
    path = series_path(args.output, args.overwrite)
    model = load_intensity_model(args.model)
    recording = Recording(args.audio)
    times, scores = intensity_over_time(model, recording)
    rows = ((f"{time:.3f}", f"{score:.4f}") for time, score in zip(times, scores, strict=True))
    write_series(
        path,
        chain([("seconds", "intensity")], rows),
        lambda picture: plot_curve(picture, times, scores, recording, Path(args.audio).name),
        f"{counted(len(scores), 'frame')}, mean intensity {scores.mean():.2f}",
        remark_on(recording),
    )
    return 0
