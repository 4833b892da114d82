"""`predict --engine ray`: a Ray Data job, in which processes on one or many machines predict blocks of clips.

The command's own process lists the clips, cuts them into blocks, and takes the answers in order. Each worker has the model. If
one dies, Ray starts another, and its blocks are predicted again.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gemoclap import __version__
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.files import parse_json, to_json
from gemoclap.inference.clips import Stretch
from gemoclap.inference.clipwise import SORTED_TOGETHER
from gemoclap.inference.job import Job, LocalEngine, Row
from gemoclap.inference.model_folder import EMBEDDED_MODELS
from gemoclap.inference.prediction import Featured
from gemoclap.wording import counted

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor

BLOCKS_EACH = 4
"""Blocks that each worker gets at least, where there are enough clips, so that all end at about the same time."""
RETRIES = 5
"""Times that a block is predicted again after its worker died. Without an end, a file that makes a decoder crash would never
let the job end."""
OWN_MEMORY, MEMORY_OF_CLIP = 200_000_000, 1000
"""Bytes for what processes of a local cluster exchange, and more for each clip. Ray would take a third of all memory."""
ANSWER_SECONDS = 10.0
"""Seconds to wait for an answer of the cluster."""
SAME_PATH = "every machine must have it under the same path, for example on a shared disk; then repeat the command"


@dataclass(frozen=True)
class Origin:
    """Properties that must be equal in a worker and in the process that starts it.

    Attributes
    ----------
    version : of this package.
    weights : hash of the model's weights.
    folder : the folder that relative paths start from; None if there are no relative paths.
    """

    version: str
    weights: str
    folder: str | None


class Sent(NamedTuple):
    """The answer of a worker for a clip.

    Attributes
    ----------
    answer : JSON of its row, or of everything but its features.
    features : bytes of its float32 features, if they are wanted and the clip could be read.
    machine : name of the worker's machine, if the file is not there. It is not in the row, whose keys may be any labels.
    """

    answer: str
    features: bytes | None
    machine: str | None


class Worker:
    """A process with a model, for Ray Data's `map_batches`: takes a table of clips, returns a table of answers.

    An error that the user can fix is put into the table in place of the answers, because Ray would wrap it in tracebacks.

    Parameters
    ----------
    wants_features : whether answers are features of clips, otherwise rows.
    """

    def __init__(self, job: Job, origin: Origin, wants_features: bool) -> None:
        self.wants_features = wants_features
        self.problem: GemoclapError | None = None
        try:
            self.engine = LocalEngine(job, _loaded(job, origin))
        except GemoclapError as error:
            self.problem = error

    def __call__(self, table: Any) -> Any:
        import pyarrow  # comes with Ray Data, which is an extra

        try:
            sent = self._answers([Utterance(**parse_json(one.as_py())) for one in table.column("clip")])
        except GemoclapError as error:
            return pyarrow.table({"problem": [f"on machine {socket.gethostname()}: {error}"]})
        types = {"answer": pyarrow.string(), "features": pyarrow.large_binary(), "machine": pyarrow.string()}
        return pyarrow.table({name: pyarrow.array([getattr(one, name) for one in sent], types[name]) for name in types})

    def _answers(self, clips: Sequence[Utterance]) -> list[Sent]:
        if self.problem is not None:
            raise self.problem
        if self.wants_features:
            return [_packed(clip, one) for clip, one in zip(clips, self.engine.featured(clips), strict=True)]
        rows = zip(clips, self.engine.rows(clips), strict=True)
        return [Sent(to_json(row), None, _lacking(clip) if "error" in row else None) for clip, row in rows]


class RayEngine:
    """Does a job with workers on a Ray cluster.

    Parameters
    ----------
    job : what to do.
    weights : hash of the model's weights, which those of each worker must have too.
    address : of a running cluster, as ``ray start`` prints it, or ``auto``; None starts one on this machine for as long as the
        job takes, unless $RAY_ADDRESS names one.
    workers : number of workers; None = one for each GPU of the cluster or, without GPUs, for each core.
    say : called with a line when the workers are being started.
    debug : whether to show what Ray and the workers print.

    Raises
    ------
    GemoclapError : Ray is not installed, or the address is of a kind that does not work.
    """

    def __init__(
        self,
        job: Job,
        weights: str,
        address: str | None = None,
        workers: int | None = None,
        say: Callable[[str], None] = lambda line: None,
        debug: bool = False,
    ) -> None:
        self.ray = ray_module(debug)
        self.job, self.weights, self.workers, self.say, self.debug = job, weights, workers, say, debug
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        if "://" in self.address:
            raise GemoclapError(
                f"--address {self.address}: is for programs outside the cluster; run this command on one of its machines, with "
                "--address auto"
            )

    def rows(self, clips: Sequence[Utterance]) -> Iterator[Row]:
        """Yield the row of each clip, in turn.

        Raises
        ------
        GemoclapError : no cluster answers; a worker lacks a file that this process sees, has another model, or dies each time.
        """
        return (row for row, _ in self._answers(clips, wants_features=False))

    def featured(self, clips: Sequence[Utterance]) -> Iterator[Featured | GemoclapError]:
        """Yield the pooled features of each clip in turn, or the error that kept it from being read; raises as `rows`."""
        return (_unpacked(answer, features) for answer, features in self._answers(clips, wants_features=True))

    def _answers(self, clips: Sequence[Utterance], wants_features: bool) -> Iterator[tuple[Row, bytes | None]]:
        if not clips:
            return
        with self._cluster(len(clips)), self._readable_errors():
            tables = self._dataset(clips, wants_features).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            )
            answers = (answer for table in tables for answer in _answers_in(table))
            for clip, (answer, features, machine) in zip(clips, answers, strict=True):
                if machine and Path(clip.path).exists():
                    raise GemoclapError(f"{clip.path}: is not on machine {machine}; {SAME_PATH}")
                yield parse_json(answer), features

    def _dataset(self, clips: Sequence[Utterance], wants_features: bool) -> Any:
        """Return the table of answers, which Ray makes while it is read."""
        data, resources = self.ray.data, self.ray.cluster_resources()
        device = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
        workers = self.workers or max(int(resources.get(device, 1)), 1)
        most = min(self.job.batch_size * SORTED_TOGETHER, -(-len(clips) // (workers * BLOCKS_EACH)))
        blocks = -(-len(clips) // most)
        workers = min(workers, blocks)
        self.say(
            f"Ray: {counted(len(clips), 'clip')} in {counted(blocks, 'block')}; processes: {workers}, with one {device} each"
        )
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = context.print_on_execution_start = False
        return data.from_items([{"clip": _text_of(clip)} for clip in clips], override_num_blocks=blocks).map_batches(
            Worker,
            fn_constructor_args=(self.job, self._origin(clips), wants_features),
            batch_size=None,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=1 if device == "GPU" else None,
            max_task_retries=RETRIES,
        )

    def _origin(self, clips: Sequence[Utterance]) -> Origin:
        own_model = self.job.model not in EMBEDDED_MODELS and os.path.exists(self.job.model)  # or one of the hub
        paths = [clip.path for clip in clips] + [self.job.model] * own_model
        relative = not all(os.path.isabs(path) for path in paths)
        return Origin(__version__, self.weights, os.getcwd() if relative else None)

    @contextmanager
    def _cluster(self, clips: int) -> Iterator[None]:
        """Connect to the cluster, or start one; nothing is done where the process is connected already."""
        if self.ray.is_initialized():
            yield
            return
        options: dict[str, Any] = {"log_to_driver": self.debug, "logging_level": "INFO" if self.debug else "ERROR"}
        if self.address == "local":
            options |= {"num_cpus": self.workers, "include_dashboard": False}
            options |= {"object_store_memory": OWN_MEMORY + clips * MEMORY_OF_CLIP}
        try:
            _call(self.address)
            with nullcontext() if self.debug else _closed_standard_error():
                self.ray.init(address=self.address, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise GemoclapError(
                f"--address {self.address}: {_lines_of(error)[0]}; on this machine, 'ray status' must show the cluster"
            ) from error
        try:
            yield
        finally:
            self.ray.shutdown()

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Turn an error of Ray's into one line. The rows until then are kept."""
        try:
            yield
        except self.ray.exceptions.RayActorError as error:
            if "creation task" in str(error):
                raise GemoclapError(
                    f"Ray: a worker could not start: {_lines_of(error)[-1]}; every machine needs gemoclap and what it needs"
                ) from error
            raise GemoclapError(
                f"Ray: workers died {RETRIES + 1} times at one block of clips, for lack of memory, or because a file makes a "
                "decoder crash; repeat the command to continue after the last row, with fewer --workers or without that file"
            ) from error
        except self.ray.exceptions.RayError as error:
            raise GemoclapError(f"Ray: {_lines_of(error)[0]}; --debug shows more") from error


def ray_module(debug: bool = False) -> Any:
    """Import Ray, which is an extra, with its usage statistics switched off, and return it.

    Parameters
    ----------
    debug : whether Ray may print what happens. Part of that would go to standard output, among the rows.

    Raises
    ------
    GemoclapError : it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not debug:
        os.environ |= {"RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_SCHEDULER_EVENTS": "0"}
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for module in ("ray", "pyarrow", "ray.data"):
        needed(module, "--engine ray", "'gemoclap[ray]'")
    if not debug:
        # The named options that are to replace ray_remote_args do not have max_task_retries, so pyproject.toml asks for a
        # version that still has both.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        for handler in logging.getLogger("ray.data").handlers:
            if handler.name == "console":
                handler.setLevel(logging.CRITICAL)
    return needed("ray", "--engine ray", "'gemoclap[ray]'")


def _call(address: str) -> None:
    """Raise an OSError or a ValueError unless somebody answers at ``HOST:PORT``; Ray would try for minutes, and say nothing."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


@contextmanager
def _closed_standard_error() -> Iterator[None]:
    """Drop what is written to standard error, by other languages than Python too: Ray reports its log level there."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _loaded(job: Job, origin: Origin) -> Predictor:
    """Return the predictor of a worker, after it has been made sure that it is the same as where the clips come from."""
    # Imported here, because it needs torch, which the command imports after it has checked its options.
    from gemoclap.encoders.fingerprint import fingerprint

    if origin.version != __version__:
        raise GemoclapError(f"gemoclap is {__version__}, but {origin.version} where the command runs; install the same")
    if origin.folder is not None:
        if not os.path.isdir(origin.folder):
            raise GemoclapError(f"{origin.folder}: no such folder, but relative paths refer to it; {SAME_PATH}")
        os.chdir(origin.folder)
    predictor = job.load()
    if fingerprint(predictor.model) != origin.weights:
        raise GemoclapError(f"{job.model}: is another model than where the command runs; {SAME_PATH}")
    return predictor


# What is sent: JSON, and the bytes of float32.


def _text_of(clip: Utterance) -> str:
    return to_json({"id": clip.id, "path": clip.path, "start": clip.start, "end": clip.end})


def _lacking(clip: Utterance) -> str | None:
    """Return the name of this machine if the file of the clip is not there."""
    return None if os.path.exists(clip.path) else socket.gethostname()


def _packed(clip: Utterance, answer: Featured | GemoclapError) -> Sent:
    if isinstance(answer, GemoclapError):
        return Sent(to_json({"error": str(answer)}), None, _lacking(clip))
    return Sent(to_json(answer._asdict() | {"features": None}), answer.features.astype(np.float32).tobytes(), None)


def _unpacked(answer: Row, features: bytes | None) -> Featured | GemoclapError:
    if features is None:
        return GemoclapError(answer["error"])
    stretches = [Stretch(*one) for one in answer["stretches"]]
    of_parts = np.frombuffer(features, np.float32).reshape(len(stretches), -1)
    return Featured(**answer | {"stretches": stretches, "features": of_parts})


def _answers_in(table: Any) -> Iterator[Sent]:
    if "problem" in table.column_names:
        raise GemoclapError(table.column("problem")[0].as_py())
    yield from map(Sent._make, zip(*(table.column(name).to_pylist() for name in Sent._fields), strict=True))


def _lines_of(error: Exception) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
