"""One thread that has the model, and gives it the sound of all clients together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from itertools import chain, pairwise
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.inference.clips import Audio, Clip, ClipReader, Part, Stretch
from gemoclap.inference.prediction import ClipFeatures, Featured, Prediction
from gemoclap.inference.predictor import Predictor
from gemoclap.serving.limits import Limits, took_too_long
from gemoclap.serving.metrics import Metrics

Answer = Prediction | GemoclapError
Labels = tuple[str, ...] | None
AHEAD = 4
"""Parts of a long clip that are in the queue at once, so that it holds up nobody."""


class _Waiting(NamedTuple):
    part: Part | None
    then: Callable[..., Any]
    answer: Future[Any]


class Batcher:
    """Gathers parts of clips while the model is at work on others, and gives them to it together.

    Nothing waits for a batch to fill: where there is one part, it goes alone and at once. Its features are those of
    `Predictor` but for the rounding of sums, whoever it shares a batch with.

    Parameters
    ----------
    predictor : is used by this thread alone, since patches of transformers' models are not for several at once.
    batch_size : parts that the model gets together at most; 1 turns batching off.
    metrics : count batches.
    """

    def __init__(self, predictor: Predictor, batch_size: int, metrics: Metrics) -> None:
        self._predictor, self._batch_size, self._metrics = predictor, batch_size, metrics
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, part: Part, then: Callable[[np.ndarray], Any]) -> Future[Any]:
        """Put a part in the queue; cancelling the future takes it out again.

        Parameters
        ----------
        then : is called by the thread with the features ``(P,)``, in the order of the queue; the future has its result.
        """
        answer: Future[Any] = Future()
        self._queue.put(_Waiting(part, then, answer))
        return answer

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Let the thread call a function that needs the model; the future has its result."""
        answer: Future[Any] = Future()
        self._queue.put(_Waiting(None, function, answer))
        return answer

    def close(self) -> None:
        """Answer what is in the queue, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            wanted = [one for one in batch if one.answer.set_running_or_notify_cancel()]
            if not wanted:
                continue
            parts = [one.part for one in wanted if one.part is not None]
            try:
                features = iter(self._features(parts))
            except BaseException as error:  # whoever waits is told, whatever it was, and the thread lives on
                for one in wanted:
                    one.answer.set_exception(error)
                continue
            for one in wanted:
                given = [] if one.part is None else [next(features)]
                try:
                    one.answer.set_result(one.then(*given))
                except BaseException as error:
                    one.answer.set_exception(error)

    def _features(self, parts: Sequence[Part]) -> list[np.ndarray]:
        if not parts:
            return []
        self._metrics.batch_size.observe(len(parts))
        return self._predictor.features_of(parts, self._batch_size)

    def _next(self) -> list[_Waiting]:
        """Wait for a part, and return it with those that came meanwhile; nothing at the end."""
        found = []
        one = self._queue.get()
        while one is not None:
            found.append(one)
            if len(found) == self._batch_size:
                return found
            try:
                one = self._queue.get_nowait()
            except Empty:
                return found
        if found:
            self._queue.put(None)  # the end comes after these
        return found


class SharedPredictor:
    """Predicts as a `Predictor` does, in any thread; the model gets the sound of all callers together.

    Streams and timelines take it for a `Predictor`.

    Parameters
    ----------
    predictor : decides, in the batcher's thread.
    batcher : is asked for features.
    limits : how long an answer may take.
    until : when all answers must be there, a time of `time.monotonic`; None lets each of them take `limits.answer_seconds`.
    """

    def __init__(self, predictor: Predictor, batcher: Batcher, limits: Limits, until: float | None = None) -> None:
        self._predictor, self._batcher, self._limits, self._until = predictor, batcher, limits, until
        self._reader = ClipReader(predictor.model.config.clip_settings)
        self._checked: set[Labels] = set()
        self.model, self.labels = predictor.model, predictor.labels

    def predict_many(
        self, audios: Sequence[Audio], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Answer]:
        """Yield the answer for each window in turn, as `Predictor.predict_many` does."""
        own = None if labels is None else tuple(labels)
        self.check_labels(own)
        waiting = [self.begin(self._reader.read(audio), own) for audio in audios]
        for future in waiting:
            yield self.wait(future)

    def check_labels(self, labels: Labels) -> None:
        """Raise the GemoclapError that these labels lead to, if any."""
        if labels is not None and labels not in self._checked:
            self.wait(self._batcher.call(lambda: self._predictor.check_labels(labels)))
            self._checked.add(labels)

    def predict(self, clip: Clip, labels: Labels) -> Answer:
        """Return the answer for a clip.

        Raises
        ------
        Refused : it took too long.
        """
        return self.wait(self.begin(clip, labels))

    def begin(self, clip: Clip, labels: Labels) -> Future[Answer]:
        """Put the parts of a clip in the queue, and return the future of its answer; waits where there are many."""
        return self._begin(clip, lambda featured: self._predictor.decide(featured, labels))

    def check_adaptable(self) -> None:
        """Raise a GemoclapError if the model cannot be adapted."""
        self._predictor.check_adaptable()

    def feature_space(self) -> str:
        """Return what says which models' statistics are alike, as `Predictor.feature_space` does."""
        return self._predictor.feature_space()

    def clip_features(self, audios: Sequence[Audio], batch_size: int = 16) -> list[ClipFeatures]:
        """Return the pooled features of each window, as `Predictor.clip_features` does."""
        waiting = [self._begin(self._reader.read(audio), ClipFeatures.of) for audio in audios]
        return [self.wait(future) for future in waiting]

    def probabilities(self, features: np.ndarray, labels: Sequence[str] | None = None) -> np.ndarray:
        """Return probabilities ``(N, C)`` of features, as `Predictor.probabilities` does."""
        return self.wait(self._batcher.call(lambda: self._predictor.probabilities(features, labels)))

    def _begin(self, clip: Clip, then: Callable[[Featured], Any]) -> Future[Any]:
        """Put the parts of a clip in the queue, and return the future of what is made of their features."""
        rows: list[np.ndarray] = []
        stretches: list[Stretch] = []

        def done(row: np.ndarray) -> Any:
            if len(rows) < len(stretches) - 1:
                raise RuntimeError(f"{clip.name}: the model failed at a part of it")
            return then(Featured.of(clip, np.stack([*rows, row]), stretches))

        waiting: list[Future[Any]] = []
        for part, following in pairwise(chain(clip, [None])):
            assert part is not None
            stretches.append(part.stretch)
            waiting.append(self._batcher.submit(part, done if following is None else rows.append))
            if len(waiting) > AHEAD:
                self.wait(waiting.pop(0))
        return waiting[-1]

    def wait(self, future: Future[Any]) -> Any:
        """Return the result of a future; raises a Refused where it takes too long."""
        seconds = self._limits.answer_seconds if self._until is None else self._until - monotonic()
        try:
            return future.result(max(0.0, seconds))
        except Late:
            future.cancel()
            raise took_too_long(self._limits) from None
