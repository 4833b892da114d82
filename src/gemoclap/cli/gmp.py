"""The commands of GMP-TL: its single steps, and the emotions of a clip's frames."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from gemoclap.audio import Recording
from gemoclap.cli.alone import alone
from gemoclap.cli.settings import say_idle_folds, settings_of
from gemoclap.errors import GemoclapError
from gemoclap.inference.clips import remark_on
from gemoclap.inference.frames import FrameEmotions, FrameLabeler
from gemoclap.recipes.gmp import Step
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.recipes.train import train
from gemoclap.reports.curves import plot_emotions
from gemoclap.reports.pseudo_labels import pseudo_label_cells
from gemoclap.reports.series import series_path, write_series
from gemoclap.reports.tables import drawn_table
from gemoclap.terminal import output_console
from gemoclap.training.distributed import leave_together, process_state
from gemoclap.wording import counted


def run_gmp_features(args: Namespace) -> int:
    """Step A: train an encoder on emotion and gender."""
    if not args.gmp.frame_epochs:
        return _step(args, "features", "next: gemoclap gmp finetune, with the same options")
    return _step(args, "features", "next: gemoclap gmp cluster, with the same options, to make pseudo-labels")


def run_gmp_cluster(args: Namespace) -> int:
    """Cluster the frames of that encoder into pseudo-labels at every scale."""
    if not args.gmp.frame_epochs:
        return _step(args, "cluster", f"try them with: gemoclap frames {args.output} clip.wav")
    return _step(args, "cluster", "next: gemoclap gmp pretrain, with the same options, to learn from them")


def run_gmp_pretrain(args: Namespace) -> int:
    """Step B: train an encoder to predict the pseudo-labels of hidden frames."""
    return _step(args, "pretrain", "next: gemoclap gmp finetune, with the same options")


def run_gmp_finetune(args: Namespace) -> int:
    """Step C: fine-tune that encoder on emotions."""
    return _step(args, "finetune", f"try it with: gemoclap predict clip.wav --model {Path(args.output) / 'model'}")


@alone
def _step(args: Namespace, step: Step, what_next: str) -> int:
    settings = settings_of(args)
    earlier = Path(args.output) / CONFIG
    if settings.data.manifest is None and earlier.is_file():
        raise GemoclapError(f"no manifest; give --config {earlier}, which has the options of the earlier steps")
    if not earlier.is_file():  # which has the corpus's folds, whether somebody asked for them or not
        say_idle_folds(settings.data, f"gmp {step}")
    folder = train(settings, "gmp_tl", Path(args.output), step)
    if process_state().is_main_process:
        if step == "cluster":
            output_console().print(drawn_table(*pseudo_label_cells([folder])))
        print(f"{folder}: done; {what_next}")
    leave_together()
    return 0


def run_frames(args: Namespace) -> int:
    """Show the clusters and emotions of a clip's frames, as CSV on the terminal or in a file, or as a picture."""
    path = series_path(args.output, args.overwrite)
    labeler = FrameLabeler.from_pretrained(args.run)
    recording = Recording(args.audio)
    found = labeler(recording, smooth_seconds=args.smooth)
    shares = ", ".join(f"{label} {share:.2f}" for label, share in found.mean().items())
    write_series(
        path,
        _rows(found),
        lambda picture: plot_emotions(picture, found, recording, Path(args.audio).name),
        f"{counted(len(found.times), 'frame')}; mean over time: {shares}",
        remark_on(recording),
    )
    return 0


def _rows(found: FrameEmotions) -> Iterator[list[str]]:
    """Yield a header, and one row per frame: the time of its middle, its cluster at each scale, its emotions."""
    yield ["seconds", *(f"cluster_{k}" for k in found.scales), *found.emotions]
    for time, clusters, shares in zip(found.times, found.clusters, found.probabilities, strict=True):
        yield [f"{time:.3f}", *map(str, clusters), *(f"{share:.4f}" for share in shares)]
