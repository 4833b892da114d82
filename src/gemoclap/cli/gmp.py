"""The commands of GMP-TL: its steps one by one, and the emotion of a clip frame by frame."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from gemoclap.audio import Recording
from gemoclap.cli.alone import alone
from gemoclap.cli.settings import settings_of
from gemoclap.errors import GemoclapError
from gemoclap.inference.frames import FrameEmotions, FrameLabeler
from gemoclap.recipes.gmp import Step
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.recipes.train import train
from gemoclap.reports.curves import plot_emotions
from gemoclap.reports.pseudo_labels import pseudo_label_table
from gemoclap.reports.series import series_path, write_series
from gemoclap.training.distributed import leave_together, process_state


def run_gmp_features(args: Namespace) -> int:
    """A: labelled speech -> an encoder that knows emotion and gender."""
    if not args.gmp.frame_epochs:
        return _step(args, "features", "gemoclap gmp finetune, with the same options, comes next")
    return _step(args, "features", "gemoclap gmp cluster, with the same options, makes pseudo-labels of it")


def run_gmp_cluster(args: Namespace) -> int:
    """Its frames -> pseudo-labels at every scale."""
    if not args.gmp.frame_epochs:
        return _step(args, "cluster", f"gemoclap frames {args.output} clip.wav shows them")
    return _step(args, "cluster", "gemoclap gmp pretrain, with the same options, learns from them")


def run_gmp_pretrain(args: Namespace) -> int:
    """B: pseudo-labels -> an encoder that names hidden frames."""
    return _step(args, "pretrain", "gemoclap gmp finetune, with the same options, comes next")


def run_gmp_finetune(args: Namespace) -> int:
    """C: that encoder and the labels -> a model of emotion."""
    return _step(args, "finetune", f"try it with: gemoclap predict clip.wav --model {Path(args.output) / 'model'}")


@alone
def _step(args: Namespace, step: Step, what_next: str) -> int:
    settings = settings_of(args)
    earlier = Path(args.output) / CONFIG
    if settings.data.manifest is None and earlier.is_file():
        raise GemoclapError(f"no manifest; give --config {earlier}, which has the options of the steps before")
    folder = train(settings, "gmp_tl", Path(args.output), step)
    if process_state().is_main_process:
        if step == "cluster":
            print(pseudo_label_table([folder]))
        print(f"{folder}: done; {what_next}")
    leave_together()
    return 0


def run_frames(args: Namespace) -> int:
    """A clip -> the pseudo-labels and emotions of its frames, as CSV on the terminal or in a file, or as a picture."""
    path = series_path(args.output, args.overwrite)
    labeler = FrameLabeler.from_pretrained(args.run)
    recording = Recording(args.audio)
    found = labeler(recording, smooth_seconds=args.smooth)
    shares = ", ".join(f"{label} {share:.2f}" for label, share in found.mean().items())
    write_series(
        path,
        _rows(found),
        lambda picture: plot_emotions(picture, found, recording, Path(args.audio).name),
        f"{len(found.times)} frames; mean over time: {shares}",
    )
    return 0


def _rows(found: FrameEmotions) -> Iterator[list[str]]:
    """Yield a header, and a row a frame: the time of its middle, its cluster at each scale, its emotions."""
    yield ["seconds", *(f"cluster_{k}" for k in found.scales), *found.emotions]
    for time, clusters, shares in zip(found.times, found.clusters, found.probabilities, strict=True):
        yield [f"{time:.3f}", *map(str, clusters), *(f"{share:.4f}" for share in shares)]
