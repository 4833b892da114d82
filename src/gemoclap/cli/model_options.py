"""The options of commands that use a trained model: evaluate, predict, timeline, index, search, serve and export."""

from __future__ import annotations

from typing import Literal

from jsonargparse.typing import PositiveInt

from gemoclap.cli.arguments import Parser
from gemoclap.cli.options import BATCH_SIZE, add_overwrite

INDEX = "gemoclap-index"
"""Folder of an index, where nobody names another."""


def add_model(parser: Parser) -> None:
    about = (
        "folder of a model, such as RUN/model, or a model that comes with gemoclap: default, small (faster) or research"
    )
    parser.add_argument("--model", type=str, default="default", help=about)


def add_evaluate(parser: Parser) -> None:
    parser.usage = (
        "gemoclap evaluate MANIFEST [--model DIR] [--labels A,B,...] [--merges ...] [--adapt ...] [-o FOLDER] [options]"
    )
    parser.add_argument("manifest", help="JSONL manifest with emotion labels")
    add_model(parser)
    labels = (
        "classes to choose from, in place of the model's own, such as angry,sad: any words for a model with prompts, its own "
        "classes for a plain head"
    )
    parser.add_argument("--labels", type=list[str] | None, default=None, help=labels)
    merges = (
        "classes to join, such as '{calm: neutral}': labels of the manifest are renamed, and the probabilities of the model's "
        "classes are added"
    )
    parser.add_argument("--merges", type=dict[str, str], default={}, help=merges)
    adapt = (
        "adapt the model to the recordings, without labels, as in 'gemoclap predict': none; folder = to all of them together; "
        "speaker = to each speaker of the manifest. Clips without a label to score are adapted to as well. The report says so"
    )
    parser.add_argument("--adapt", type=Literal["none", "folder", "speaker"], default="none", help=adapt)
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    output = "new folder to write predictions, scores and a report to"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)


def add_predict(parser: Parser) -> None:
    parser.usage = "gemoclap predict PATH ... [--model DIR] [-o FILE] [options]"
    paths = (
        "audio files, folders, patterns such as 'calls/**/*.wav', manifests, or CSV lists with a column 'path'; a long "
        "recording gets one prediction, the mean over parts with speech (use 'gemoclap timeline' to see its emotions over time)"
    )
    parser.add_argument("paths", nargs="+", help=paths)
    add_model(parser)
    parser.add_argument(
        "--labels",
        type=list[str] | None,
        default=None,
        help="classes to choose from, in place of the model's own, such as joyful,furious",
    )
    add_any_words(parser)
    columns = (
        "columns to add: gender (only with a model of ml_gemo_clap or multi_task), seconds (length of the sound used), "
        "embedding (the numbers that the model compares with prompts)"
    )
    parser.add_argument("--columns", type=list[Literal["gender", "seconds", "embedding"]], default=[], help=columns)
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    engine = (
        "local = predict in this process; ray = on all machines of a Ray cluster, or in several processes of this machine (pip "
        "install 'gemoclap[ray]'; docs/scaling.md). The recordings must have the same paths on every machine"
    )
    parser.add_argument("--engine", type=Literal["local", "ray"], default="local", help=engine)
    address = (
        "Ray cluster to use, such as auto; default: $RAY_ADDRESS, or else one that is started on this machine alone"
    )
    parser.add_argument("--address", type=str | None, default=None, help=address)
    workers = (
        "threads that read clips while the model works (default: 1 on a CPU, up to 8 with a GPU); with --engine ray: processes "
        "that have the model (default: one for each GPU of the cluster or, without GPUs, for each core)"
    )
    parser.add_argument("--workers", type=PositiveInt | None, default=None, help=workers)
    adapt = (
        "adapt the model to the recordings, without labels: none; folder = to all clips together, if they were recorded in "
        "the same way; speaker = to each speaker (see --by); or a file that --save_adapt wrote. All clips are read before "
        "the first prediction"
    )
    parser.add_argument("--adapt", type=str, default="none", help=adapt)
    by = "source of the speakers for --adapt speaker: manifest = its field 'speaker'; folder = the folder of each clip"
    parser.add_argument("--by", type=Literal["manifest", "folder"], default="manifest", help=by)
    save = "JSON file to save the statistics of --adapt folder or --adapt speaker to, for later clips"
    parser.add_argument("--save_adapt", type=str | None, default=None, help=save)
    speech = "detect: predict 'no speech' for clips without speech; all: always predict an emotion"
    parser.add_argument("--speech", type=Literal["detect", "all"], default="detect", help=speech)
    threshold = "predict 'unknown' if no class has at least this probability, from 0 to 1"
    parser.add_argument("--threshold", type=float, default=0.0, help=threshold)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    output = (
        "file to write, one row per clip: .csv, .jsonl or .parquet; repeat the command to resume an interrupted run"
    )
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)
    add_overwrite(parser)


def add_index(parser: Parser) -> None:
    parser.usage = "gemoclap index PATH ... [-o INDEX] [--model DIR] [options]"
    paths = (
        "audio files of any length, folders, manifests, or CSV lists with a column 'path'; files that are already in the "
        "index are skipped, unless they have changed"
    )
    parser.add_argument("paths", nargs="+", help=paths)
    add_model(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=str,
        default=INDEX,
        help="folder of the index; if it exists, the recordings are added to it",
    )
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    speech = "detect: use only the parts with speech; all: use all sound"
    parser.add_argument("--speech", type=Literal["detect", "all"], default="detect", help=speech)
    parser.add_argument("--overwrite", action="store_true", help="delete the index and build it again")


def add_search(parser: Parser) -> None:
    parser.usage = 'gemoclap search "WORDS" [-k N] [--index INDEX] | gemoclap search --like CLIP [options]'
    words = "English words for an emotion, such as furious, or someone sounds furious"
    parser.add_argument("words", nargs="*", default=[], help=words)
    parser.add_argument("--like", type=str | None, default=None, help="clip to compare with, in place of words")
    parser.add_argument("-k", "--count", type=PositiveInt, default=10, help="how many results to show")
    parser.add_argument("--index", type=str, default=INDEX, help="folder that 'gemoclap index' wrote")
    model = "folder of the model that made the index, if it has moved"
    parser.add_argument("--model", type=str | None, default=None, help=model)
    any_words = "accept words that are not for emotions, such as banana; the results then have no meaning"
    parser.add_argument("--any_words", action="store_true", help=any_words)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    output = "file to write, one row per result: .csv, .jsonl or .parquet"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)
    add_overwrite(parser)


def add_any_words(parser: Parser) -> None:
    any_words = "accept labels that are not words for emotions, such as banana; their probabilities have no meaning"
    parser.add_argument("--any_words", action="store_true", help=any_words)


def add_timeline(parser: Parser) -> None:
    parser.usage = "gemoclap timeline RECORDING [--model DIR] [-o FILE ...] [options]"
    parser.add_argument("audio", help="audio file of any length")
    add_model(parser)
    output = (
        "files to write: .json (everything), .csv (one row per segment), .rttm (segments as turns; field 6 is the emotion, "
        "field 9 its confidence), .vtt (subtitles), .txt (Audacity labels), .png (picture); default: print a table, in which "
        "neighbouring segments of the same emotion are one row"
    )
    # extend, because with argparse's own action a second -o would make the first one's files disappear.
    parser.add_argument("-o", "--output", nargs="+", action="extend", type=str, default=[], help=output)
    by = "recording: mix the channels; channel: one timeline per channel (for a call with one speaker per channel)"
    parser.add_argument("--by", type=Literal["recording", "channel"], default="recording", help=by)
    turns = "file that says who speaks when, to get one timeline per speaker: .rttm, or a CSV with columns speaker, start, end"
    parser.add_argument("--turns", type=str | None, default=None, help=turns)
    labels = "classes to choose from, in place of the model's own, such as joyful,furious"
    parser.add_argument("--labels", type=list[str] | None, default=None, help=labels)
    add_any_words(parser)
    adapt = (
        "how to adapt to the voices, without labels: none; speaker = to all speech of each speaker or channel (of the whole "
        "recording without --by channel and --turns); or a file that --save_adapt wrote here or in predict"
    )
    parser.add_argument("--adapt", type=str, default="none", help=adapt)
    save = "JSON file to save the statistics of --adapt speaker to, for later recordings"
    parser.add_argument("--save_adapt", type=str | None, default=None, help=save)
    window = "length of the windows in seconds; default: 4, or the model's longest clip if that is shorter"
    parser.add_argument("--window", type=float | None, default=None, help=window)
    hop = "seconds from the start of one window to the start of the next"
    parser.add_argument("--hop", type=float, default=1.0, help=hop)
    smooth = (
        "average each window with those less than this many seconds away, near ones with more weight; 0 = no averaging"
    )
    parser.add_argument("--smooth", type=float, default=2.0, help=smooth)
    unknown = "show 'unknown' if no class has at least this smoothed probability, from 0 to 1"
    parser.add_argument("--threshold", type=float, default=0.0, help=unknown)
    speech = "detect: find speech (with silero-vad) and leave out the rest; all: treat the whole recording as speech"
    parser.add_argument("--speech", type=Literal["detect", "all"], default="detect", help=speech)
    # These three are None unless they are given, so that --speech all can refuse them.
    threshold = "smallest probability of speech at which sound counts as speech, above 0.15 and below 1; default: 0.5"
    parser.add_argument("--speech_threshold", type=float | None, default=None, help=threshold)
    silence = "pauses shorter than this many seconds count as speech; default: 0.3"
    parser.add_argument("--min_silence", type=float | None, default=None, help=silence)
    shortest = "speech shorter than this many seconds is left out; default: 0.25"
    parser.add_argument("--min_speech", type=float | None, default=None, help=shortest)
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE.replace("clips", "windows"))
    add_overwrite(parser)


def add_serve(parser: Parser) -> None:
    parser.usage = "gemoclap serve [--model DIR] [--port PORT] [--key_file FILE] [options]"
    add_model(parser)
    host = "address to listen on; with the default only this machine can reach the server, 0.0.0.0 = every address"
    parser.add_argument("--host", type=str, default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 = any that is free")
    key = "file with a key that clients must send; the default is the environment variable GEMOCLAP_API_KEY, or no key"
    parser.add_argument("--key_file", type=str | None, default=None, help=key)
    hosts = (
        "names by which the server may be called beside localhost, numbers and this machine's own name, such as "
        "emotions.example.org; *.example.org = all below it, * = any name"
    )
    parser.add_argument("--allowed_hosts", type=list[str], default=[], help=hosts)
    batch = "number of clips to process at a time, from any client; it does not change the result"
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=batch)
    parser.add_argument("--max_megabytes", type=float, default=50.0, help="size of the largest request in megabytes")
    parser.add_argument("--max_seconds", type=float, default=1800.0, help="longest recording or stream, in seconds")
    parser.add_argument("--max_requests", type=PositiveInt, default=64, help="largest number of requests at a time")
    parser.add_argument("--max_per_client", type=PositiveInt, default=32, help="largest number per address at a time")
    parser.add_argument("--max_streams", type=PositiveInt, default=16, help="largest number of open WebSockets")
    open_ones = (
        "largest number of open connections; for one more, the one that has waited longest for a request is closed"
    )
    parser.add_argument("--max_connections", type=PositiveInt, default=512, help=open_ones)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a request fails")
    decode = "seconds after which decoding a file is stopped"
    parser.add_argument("--decode_timeout", type=float, default=20.0, help=decode)


def add_export(parser: Parser) -> None:
    parser.usage = "gemoclap export -o FILE.onnx [--model DIR] [--int8] [--check_on MANIFEST]"
    add_model(parser)
    parser.add_argument("-o", "--output", type=str, required=True, help="ONNX file to write")
    int8 = "store the weights of the encoder's matrix products as 8-bit integers: less than half the size, and faster"
    parser.add_argument("--int8", action="store_true", help=int8)
    check = "labelled manifest to measure UAR on; with --int8, no file is written if UAR falls by more than 0.5 points"
    parser.add_argument("--check_on", type=str | None, default=None, help=check)
    add_overwrite(parser)
