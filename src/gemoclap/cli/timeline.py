"""`timeline`. It looks at paths first and imports torch then, so that a misspelt one is found at once."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gemoclap.audio import open_channels
from gemoclap.cli.recordings import save_adaptation, say_what_is_needed
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.inference.abilities import abilities_of
from gemoclap.inference.adaptation import groups_in, read_statistics, statistics_of
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.inference.smoothing import check_smoothing
from gemoclap.inference.stream_settings import SpeechRules, StreamSettings, complete
from gemoclap.inference.turns import Turn, lane_names, read_turns
from gemoclap.labels import chosen_labels
from gemoclap.starting import many_imports
from gemoclap.terminal import output_console, print_summary, progress_bar
from gemoclap.wording import clock
from gemoclap.writing import check_target, refuse_same_file

if TYPE_CHECKING:
    from gemoclap.inference.adapted_windows import Adapt
    from gemoclap.inference.emotion_timeline import EmotionTimeline

FORMS = (".json", ".csv", ".rttm", ".vtt", ".txt", ".png")
"""How the name of an output may end."""


def run_timeline(args: Namespace) -> int:
    """A recording -> emotion over time, as a table on the terminal or as files; status 1 when some windows have no answer."""
    targets = [check_target(name, FORMS, args.overwrite) for name in args.output]
    if len({target.resolve() for target in targets}) < len(targets):
        raise GemoclapError("-o names the same file twice; give each output another name")
    if any(target.suffix.lower() == ".png" for target in targets):
        needed("matplotlib", "a picture")
    given = [path for path in (args.audio, args.turns, args.adapt, args.save_adapt) if path]
    for target in targets:
        refuse_same_file(target, given)
    if args.save_adapt:
        refuse_same_file(args.save_adapt, given[:-1], "--save_adapt")
    if args.labels is not None:
        chosen_labels(args.labels, ())
    check_smoothing(args.smooth, args.threshold)
    if args.turns and args.by == "channel":
        raise GemoclapError("give --turns or --by channel, not both: turns say who speaks in the recording as a whole")
    settings = StreamSettings(args.window, args.hop, _speech_rules(args))
    complete(settings, None)  # refuses what no model could use
    _check_adapt(args)
    with open_channels(args.audio) as file:
        channels = file.channels
    turns = read_turns(args.turns, args.audio) if args.turns else None
    _check_statistics(args, channels, turns)
    require_model(model_source(args.model))
    if can := abilities_of(model_source(args.model)):
        can.check_windows(settings)
        can.check_labels(args.labels)
        if args.adapt != "none":
            can.check_adaptable()
    # Imported here, because torch and transformers take seconds that a misspelt path should not cost.
    with many_imports():
        from gemoclap.encoders.fingerprint import fingerprint
        from gemoclap.inference.emotion_timeline import emotion_timeline, with_advice
        from gemoclap.inference.predictor import Predictor
        from gemoclap.recipes.made import made_with
        from gemoclap.reports.timeline_files import remarks_of, write_timeline

        predictor = Predictor.from_pretrained(args.model)
    predictor.any_words = args.any_words
    if args.adapt == "none":
        say_what_is_needed(predictor.needs_adaptation, "give --adapt speaker")
    # Hashing the model here, and the code further below, takes time. An answer on the terminal needs neither.
    model = fingerprint(predictor.model) if targets or args.adapt != "none" else ""
    with progress_bar("listening") as bar:
        found = emotion_timeline(
            predictor,
            args.audio,
            by=args.by,
            turns=turns,
            settings=settings,
            smooth=args.smooth,
            labels=args.labels,
            threshold=args.threshold,
            batch_size=args.batch_size,
            adapt=_adapt(args.adapt, model),
            progress=lambda done, total: bar(round(done), round(total or done)),
        )
    found = replace(found, settings=found.settings | {"adapt": args.adapt})
    about = {"model": {"name": args.model, "fingerprint": model}, "made_with": made_with()} if targets else {}
    if args.save_adapt:
        save_adaptation(args.save_adapt, model, {one.name: one.statistics for one in found.lanes if one.statistics})
    # Pictures come last, so that one that cannot be drawn does not cost the other files.
    written: list[str] = []
    try:
        for target in sorted(targets, key=lambda target: target.suffix.lower() == ".png"):
            write_timeline(target, found, about)
            written.append(str(target))
    finally:
        if written:
            print_summary(f"{', '.join(written)}: {_summary(found)}", *targets)
    if not targets:
        _print(found)
    for remark in remarks_of(with_advice(found, "'--by channel' shows each separately")):
        print(f"beware: {remark}", file=sys.stderr)
    return int(any(window.error for lane in found.lanes for window in lane.windows))


def _speech_rules(args: Namespace) -> SpeechRules | None:
    """Return how speech is found; None if all sound counts as speech.

    Raises
    ------
    GemoclapError : such an option is given, and no speech is looked for.
    """
    options = {"threshold": "speech_threshold", "min_silence": "min_silence", "min_speech": "min_speech"}
    given = {rule: option for rule, option in options.items() if getattr(args, option) is not None}
    if args.speech == "detect":
        return SpeechRules(**{rule: getattr(args, option) for rule, option in given.items()})
    if given:
        names = ", ".join(f"--{option}" for option in given.values())
        raise GemoclapError(f"{names}: with --speech all, no speech is looked for; leave one or the other out")
    return None


def _check_adapt(args: Namespace) -> None:
    """Raise a GemoclapError if --adapt or --save_adapt make no sense."""
    if args.adapt == "folder":
        raise GemoclapError(
            "--adapt folder: this is one recording; give --adapt none, speaker, or a file of statistics"
        )
    if args.adapt not in ("none", "speaker") and not Path(args.adapt).is_file():
        raise GemoclapError(f"{args.adapt}: no such file; give --adapt none, speaker, or a file of statistics")
    if args.save_adapt:
        if args.adapt != "speaker":
            raise GemoclapError("--save_adapt: there is nothing new to save; give --adapt speaker with it")
        check_target(args.save_adapt, (".json",), args.overwrite, "--save_adapt")


def _check_statistics(args: Namespace, channels: int, turns: Sequence[Turn] | None) -> None:
    """Raise a GemoclapError if a file of statistics is damaged, or has none of a speaker or channel."""
    if args.adapt in ("none", "speaker"):
        return
    known = groups_in(args.adapt)
    for name in lane_names(channels, args.by, turns):
        statistics_of(name, known)


def _adapt(given: str, model: str) -> Adapt:
    return None if given == "none" else "speaker" if given == "speaker" else read_statistics(given, model)


def _summary(found: EmotionTimeline) -> str:
    """Return how much of the speech has which emotion, in a line."""
    # Imported here for the reason above.
    from gemoclap.reports.timeline import shares_of

    seconds, shares = shares_of(found.lanes)
    adapted = f"; {found.adaptation}" if found.adaptation else ""
    return f"{seconds:.1f} s of speech in {found.duration:.1f} s: {shares or 'no speech'}{adapted}"


def _print(found: EmotionTimeline) -> None:
    # Imported here for the reason above.
    from rich.table import Table

    from gemoclap.reports.timeline_files import joined_over_pauses

    table = Table(*(["speaker"] if len(found.lanes) > 1 else []), "from", "to", "speech", "emotion", "confidence")
    for one in joined_over_pauses(found):
        confidence = "no answer" if one.error else f"{100 * one.confidence:.0f} %"
        row = [clock(one.start), clock(one.end), f"{one.seconds:.1f} s", one.emotion, confidence]
        table.add_row(*([one.speaker] if len(found.lanes) > 1 else []), *row)
    console = output_console()
    if table.rows:
        console.print(table)
    print(f"{Path(found.path).name}: {_summary(found)}")
