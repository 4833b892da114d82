"""A folder with a model -> the emotion of a clip."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, repeat, takewhile
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch

from gemoclap.audio import SAMPLE_RATE, Recording, as_float, load_clip
from gemoclap.corpora.manifest import Utterance
from gemoclap.encoders.feature_cache import CPU_BATCH_SECONDS
from gemoclap.errors import GemoclapError
from gemoclap.inference.adaptation import Statistics, adapt, check_groups
from gemoclap.inference.answers import NO_SPEECH_REMARK, SILENT_REMARK
from gemoclap.inference.model_folder import DEFAULT, model_source, require_model
from gemoclap.inference.speech import has_speech
from gemoclap.inference.stream import EmotionStream
from gemoclap.models import NO_NUMBERS, Classifier, EmotionModel, classifier_of, load_emotion_model

Audio = str | os.PathLike | np.ndarray | Utterance | Recording
"""A file, a manifest row (its stretch of the file), a waveform (T,) at 16 kHz mono: float with full scale at 1, or
signed PCM; or what `recording_of` makes of one."""


@dataclass(frozen=True)
class Prediction:
    """What is said of one clip.

    Attributes
    ----------
    emotion : the likeliest label.
    confidence : its probability.
    probabilities : label -> probability; they add up to one.
    embedding : (E,) float32: of unit length in the space that audio and prompts share; of a model with a plain head its
        pooled features.
    remark : why the answer may mean less than it seems, such as "silent"; None where nothing is remarkable.
    has_speech : False of a silent clip, of channels that cancel, and where `Predictor.check_speech` found no speech.
    """

    emotion: str
    confidence: float
    probabilities: dict[str, float]
    embedding: np.ndarray = field(repr=False)
    remark: str | None = None
    has_speech: bool = True


SORTED_TOGETHER = 16
"""Batches whose clips are sorted by length together, so that a batch holds little padding."""
DECIDED_TOGETHER = 1024
"""Clips whose features go through the head at a time."""
SHORTEST = 0.1
"""Seconds below which a clip is said to be very short: less than a syllable."""
SILENT = 10 ** (-60 / 20)
"""Peak (full scale 1) below which a clip is said to be silent: -60 dB."""


class Predictor:
    """Emotions of clips, by the classes a model was trained on or, compared with prompts, by any others.

    The same clip gives the same numbers alone, among others (to within 1e-6), and at every call.

    Attributes
    ----------
    check_speech : whether clips in which nobody speaks get a remark that says so. It takes a few milliseconds a clip.

    Examples
    --------
    >>> predictor = Predictor.from_pretrained("runs/demo/model")  # doctest: +SKIP
    >>> predictor("clip.wav").emotion  # doctest: +SKIP
    'happy'
    >>> predictor("clip.wav", labels=["bored", "excited"]).probabilities  # doctest: +SKIP
    {'bored': 0.07, 'excited': 0.93}
    """

    def __init__(self, model: EmotionModel) -> None:
        self.model = model.eval()
        self.check_speech = False
        self._classifiers: dict[str | tuple[str, ...] | None, Classifier] = {}

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike = DEFAULT, device: str | torch.device | None = None) -> Self:
        """Load a model's folder, or a repository of the hub.

        Parameters
        ----------
        name : ``"default"`` and ``"research"`` come with this package; docs/models.md says what they were trained on.
        device : where it runs; None takes the accelerator where there is one.

        Raises
        ------
        GemoclapError : there is no model.
        """
        source = model_source(name)
        require_model(source)
        model = load_emotion_model(source, with_text=False)
        model.to(device or default_device())  # type: ignore[arg-type]  # transformers' wrapper of it is typed as a plain function
        return cls(model)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes the model was trained on."""
        return self.model.config.emotions.emotions

    def __call__(self, audio: Audio, labels: Sequence[str] | None = None) -> Prediction:
        """Classify one clip, trimmed as in training.

        Parameters
        ----------
        audio : a file of any format that soundfile reads, or a waveform (T,) at 16 kHz mono, float with full scale at 1
            or signed PCM.
        labels : classes to choose among, put into the model's emotion prompt; None takes the trained ones.

        Raises
        ------
        GemoclapError : the audio cannot be read or has no samples, or fewer than two labels, or others than a plain head knows.
        """
        prediction = next(self.predict_many([audio], labels))
        if isinstance(prediction, GemoclapError):
            raise prediction
        return prediction

    def predict_many(
        self, audios: Iterable[Audio], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Prediction | GemoclapError]:
        """Yield, for each clip in turn, what is said of it, or the error that kept it from being read.

        `SORTED_TOGETHER` batches are decoded at a time and sorted by length; what is decoded next is decoded meanwhile.
        """
        classifier = self._classifier(labels)
        for clip in self._featured(audios, batch_size):
            yield clip if isinstance(clip, GemoclapError) else self._decide([clip], classifier)[0]

    def predict_adapted(
        self,
        audios: Iterable[Audio],
        groups: Sequence[str],
        labels: Sequence[str] | None = None,
        batch_size: int = 16,
        known: Mapping[str, Statistics] | None = None,
    ) -> tuple[list[Prediction | GemoclapError], dict[str, Statistics]]:
        """Predict clips that are adapted to by group, without labels (`inference.adaptation`).

        Every clip is looked at before the first is predicted; 4 kB of each stay in memory.

        Parameters
        ----------
        groups : for each clip, whose it is: a speaker, or whatever was recorded together.
        known : statistics of the groups, measured before; without them, each group's own are used.

        Returns
        -------
        What `predict_many` yields, and the statistics of each group.

        Raises
        ------
        GemoclapError : as `predict_many`; the model does not standardise its features; no statistics of a group.
        """
        if self.model.standardizer is None:
            raise GemoclapError(
                "this model does not standardise its features, so it cannot be adapted; train it frozen"
            )
        classifier = self._classifier(labels)
        check_groups(groups, known)
        found = list(self._featured(audios, batch_size))
        if len(found) != len(groups):
            raise GemoclapError(f"{len(groups)} groups for {len(found)} clips; give one each")
        readable = [number for number, clip in enumerate(found) if not isinstance(clip, GemoclapError)]
        if not readable:
            return [clip for clip in found if isinstance(clip, GemoclapError)], {}
        clips = [cast(_Featured, found[number]) for number in readable]
        features, used = adapt(
            np.stack([clip.features for clip in clips]),
            [groups[number] for number in readable],
            known,
            [clip.has_speech for clip in clips],
        )
        adapted = [clip._replace(features=row) for clip, row in zip(clips, features, strict=True)]
        answers: list[Prediction | GemoclapError] = [
            answer
            for first in range(0, len(adapted), DECIDED_TOGETHER)
            for answer in self._decide(adapted[first : first + DECIDED_TOGETHER], classifier)
        ]
        by_number = dict(zip(readable, answers, strict=True))
        return [by_number.get(number, cast(GemoclapError, clip)) for number, clip in enumerate(found)], used

    def _featured(self, audios: Iterable[Audio], batch_size: int) -> Iterator[_Featured | GemoclapError]:
        """Yield the pooled features of each clip in turn, or the error that kept it from being read."""
        with ThreadPoolExecutor(1) as ahead:
            windows = ([*islice(audios, batch_size * SORTED_TOGETHER)] for audios in repeat(iter(audios)))
            loaded: deque[Future[list[_Clip | GemoclapError]]] = deque()
            for window in takewhile(bool, windows):
                loaded.append(ahead.submit(self._load_all, window))
                if len(loaded) > 1:
                    yield from self._window(loaded.popleft().result(), batch_size)
            while loaded:
                yield from self._window(loaded.popleft().result(), batch_size)

    def stream(self, sample_rate: int = SAMPLE_RATE, **options: Any) -> EmotionStream:
        """Return a stream that takes chunks of sound and gives the emotion of each window of speech.

        Parameters
        ----------
        sample_rate : Hz of the chunks.
        options : `settings`, `turns`, `labels`, `batch_size` and `state` of `inference.stream.EmotionStream`.

        Raises
        ------
        GemoclapError : a setting makes no sense.
        """
        return EmotionStream(self, sample_rate, **options)

    def _load_all(self, audios: Sequence[Audio]) -> list[_Clip | GemoclapError]:
        return [_attempt(self._load, audio) for audio in audios]

    def _window(self, clips: Sequence[_Clip | GemoclapError], batch_size: int) -> Iterator[_Featured | GemoclapError]:
        """Yield the features in the order of the clips; the model gets them in batches of like length."""
        readable = [(number, clip) for number, clip in enumerate(clips) if not isinstance(clip, GemoclapError)]
        readable.sort(key=lambda one: len(one[1].waveform))
        found: dict[int, _Featured] = {}
        for batch in self._batches(readable, batch_size):
            numbers, of_batch = zip(*batch, strict=True)
            found |= zip(numbers, self._features(of_batch), strict=True)
        for number, clip in enumerate(clips):
            yield clip if isinstance(clip, GemoclapError) else found[number]

    def _batches(self, clips: Sequence[tuple[int, _Clip]], batch_size: int) -> Iterator[list[tuple[int, _Clip]]]:
        """Yield the clips, sorted by length, in batches; on a CPU of no more than `CPU_BATCH_SECONDS`."""
        most = CPU_BATCH_SECONDS * SAMPLE_RATE if self.model.device.type == "cpu" else np.inf
        batch: list[tuple[int, _Clip]] = []
        for one in clips:
            if batch and (len(batch) == batch_size or (len(batch) + 1) * len(one[1].waveform) > most):
                yield batch
                batch = []
            batch.append(one)
        if batch:
            yield batch

    def load(self, audio: Audio) -> np.ndarray:
        """Return a clip as the encoder gets it, (T,) float32: decoded and trimmed as in training."""
        return self._load(audio).waveform

    def _load(self, audio: Audio) -> _Clip:
        recording, settings = recording_of(audio), self.model.config.audio_settings
        waveform = load_clip(recording, settings)
        remark = _remark(recording, len(waveform), settings.max_seconds)
        is_sound = recording.peak >= SILENT and not recording.channels_cancel
        speaks = is_sound and (not self.check_speech or has_speech([waveform]))
        if is_sound and not speaks:
            remark = f"{NO_SPEECH_REMARK}; {remark}" if remark else NO_SPEECH_REMARK
        return _Clip(recording.name, waveform, remark, speaks)

    def _classifier(self, labels: Sequence[str] | None) -> Classifier:
        key = labels if labels is None or isinstance(labels, str) else tuple(labels)
        if key not in self._classifiers:
            self._classifiers[key] = classifier_of(self.model, labels)
        return self._classifiers[key]

    def _features(self, clips: Sequence[_Clip]) -> list[_Featured]:
        waveforms = [torch.from_numpy(clip.waveform) for clip in clips]
        lengths = torch.tensor([len(one) for one in waveforms], device=self.model.device)
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self.model.device)
        with torch.inference_mode():
            features = self.model.get_audio_features(padded, lengths).float().cpu().numpy()
        return [
            _Featured(clip.name, row, clip.remark, clip.has_speech) for clip, row in zip(clips, features, strict=True)
        ]

    def _decide(self, clips: Sequence[_Featured], classifier: Classifier) -> list[Prediction | GemoclapError]:
        """Return what is said of clips by their features, or an error where that is no number."""
        with torch.inference_mode():
            features = torch.from_numpy(np.stack([clip.features for clip in clips])).to(self.model.device)
            embeddings = classifier.embed_features(features)
            probabilities = classifier.classify(embeddings).cpu().numpy()
        decided = zip(clips, probabilities, embeddings.cpu().numpy(), strict=True)
        return [_prediction(clip, scores, embedding, classifier.labels) for clip, scores, embedding in decided]


def _prediction(
    clip: _Featured, scores: np.ndarray, embedding: np.ndarray, labels: Sequence[str]
) -> Prediction | GemoclapError:
    if not np.isfinite(scores).all():
        return GemoclapError(f"{clip.name}: {NO_NUMBERS}")
    by_label = {label: float(score) for label, score in zip(labels, scores, strict=True)}
    emotion = max(by_label, key=lambda label: by_label[label])
    return Prediction(emotion, by_label[emotion], by_label, embedding, clip.remark, clip.has_speech)


class _Featured(NamedTuple):
    """What errors call a clip, its pooled features ``(P,)``, standardised by training, and what is remarkable about it."""

    name: str
    features: np.ndarray
    remark: str | None
    has_speech: bool


class _Clip(NamedTuple):
    """What errors call it, what the encoder gets, and what is remarkable about it."""

    name: str
    waveform: np.ndarray
    remark: str | None
    has_speech: bool


def _remark(recording: Recording, used: int, max_seconds: float | None) -> str | None:
    """Return why a clip's answer may mean little, None where it need not; `used` is the number of samples used."""
    seconds = recording.samples / SAMPLE_RATE
    if recording.channels_cancel:
        return "the channels cancel each other when they are mixed: one is inverted"
    if recording.peak < SILENT:
        return SILENT_REMARK
    if seconds < SHORTEST:
        return f"very short: {1000 * seconds:.0f} ms"
    if max_seconds is not None and used >= round(max_seconds * SAMPLE_RATE) < recording.samples:
        return f"only {max_seconds:g} of {seconds:.1f} s were used, as in training"
    return None


def default_device() -> torch.device:
    """Return the accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def recording_of(audio: Audio) -> Recording:
    """Return a clip as it was recorded, which is read when it is needed."""
    if isinstance(audio, Recording):
        return audio
    if isinstance(audio, Utterance):
        return Recording(audio.path, audio.start, audio.end)
    if isinstance(audio, str | os.PathLike):
        return Recording(audio)
    return Recording(_checked(np.asarray(audio)))


def _attempt(load: Callable[[Audio], _Clip], audio: Audio) -> _Clip | GemoclapError:
    try:
        return load(audio)
    except GemoclapError as error:
        return error


def _checked(waveform: np.ndarray) -> np.ndarray:
    """Return a waveform as `load_audio` would have: float32, full scale at 1."""
    if waveform.ndim != 1 or not len(waveform):
        raise GemoclapError(
            f"a waveform must be one-dimensional, mono at {SAMPLE_RATE} Hz, not of shape {waveform.shape}"
        )
    return as_float(waveform, "a waveform")
