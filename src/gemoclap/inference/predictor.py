"""A folder with a model -> the emotion of a clip."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import torch

from gemoclap.audio import SAMPLE_RATE
from gemoclap.clap.model import GEmoClapModel, fill_prompt
from gemoclap.clap.words import check_words
from gemoclap.config import AudioSettings
from gemoclap.cores import usable_cores
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.errors import NO_NUMBERS, GemoclapError
from gemoclap.group_statistics import Statistics, check_groups
from gemoclap.inference.abilities import no_gender, no_prompts, not_adaptable
from gemoclap.inference.clips import Audio, Part
from gemoclap.inference.clipwise import ClipwisePredictor
from gemoclap.inference.model_folder import DEFAULT, model_source, require_model
from gemoclap.inference.prediction import (
    ClipFeatures,
    Featured,
    PartPrediction,
    Prediction,
    adapt_clips,
    likeliest,
    prediction_of,
)
from gemoclap.inference.stream import EmotionStream
from gemoclap.labels import chosen_labels, prompt_word, untrained_remark
from gemoclap.models import (
    Classifier,
    EmotionModel,
    classifier_of,
    gender_probabilities,
    load_emotion_model,
    predicts_gender,
)

DECIDED_TOGETHER = 1024
"""Clips whose features go through the head at a time."""
CLASSIFIERS = 256
"""Sets of labels that are remembered; the oldest makes room."""


CPU_BATCH_SECONDS = 10
"""Seconds of audio, padding included, that a CPU gets at a time: the fastest of 5, 10 and 20 for the models of this package
(benchmarks/inference.py)."""


class Predictor(ClipwisePredictor):
    """Emotions of clips, by the classes a model was trained on or, compared with prompts, by any others.

    The same clip gives the same numbers alone, among others (but for the rounding of sums), and at every call.

    Attributes
    ----------
    check_speech : whether to look for speech: long pauses are left out, and a clip in which nobody speaks gets a remark that
        says so. It takes a few milliseconds a clip.
    workers : threads that read clips while the model works on others.
    any_words : whether `labels` may be words that are like no word for an emotion.

    Examples
    --------
    >>> predictor = Predictor.from_pretrained("runs/demo/model")  # doctest: +SKIP
    >>> predictor("clip.wav").emotion  # doctest: +SKIP
    'happy'
    >>> predictor("clip.wav", labels=["joyful", "furious"]).probabilities  # doctest: +SKIP
    {'joyful': 0.93, 'furious': 0.07}
    >>> predictor({"array": samples, "sampling_rate": 8000}).emotion  # doctest: +SKIP
    'sad'
    """

    def __init__(self, model: EmotionModel) -> None:
        super().__init__()
        self.model = model.eval()
        self.workers = 1 if model.device.type == "cpu" else min(8, usable_cores())
        self.any_words = False
        self._predict_gender = False
        self._classifiers: dict[tuple[str | tuple[str, ...] | None, bool], Classifier] = {}

    def __repr__(self) -> str:
        return f"<Predictor of {', '.join(self.labels)}, on {self.model.device}>"

    @property
    def predict_gender(self) -> bool:
        """Whether answers have the probabilities of the genders; only a model that was trained on both can."""
        return self._predict_gender

    @predict_gender.setter
    def predict_gender(self, wanted: bool) -> None:
        if wanted and not predicts_gender(self.model):
            raise no_gender()
        self._predict_gender = wanted

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike = DEFAULT, device: str | torch.device | None = None) -> Self:
        """Load a model's folder, or a repository of the hub.

        Parameters
        ----------
        name : ``"default"``, ``"small"`` (faster) and ``"research"`` come with this package; docs/models.md says what they
            were trained on.
        device : where it runs; None takes the accelerator where there is one.

        Raises
        ------
        GemoclapError : there is no model, or no such device.
        """
        source = model_source(name)
        require_model(source)
        model = load_emotion_model(source, with_text=False)
        try:
            model.to(device or default_device())  # type: ignore[arg-type]  # transformers' wrapper of it is typed as a plain function
        except (AssertionError, RuntimeError) as error:  # torch has no error of its own for a device that is not there
            if device is None:
                raise
            reason = str(error).splitlines()[0]
            raise GemoclapError(
                f"device {str(device)!r} cannot be used: {reason}; leave device out, or give 'cpu'"
            ) from error
        return cls(model)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes the model was trained on."""
        return self.model.config.emotions.emotions

    def predict_adapted(
        self,
        audios: Iterable[Audio],
        groups: Sequence[str],
        labels: Sequence[str] | None = None,
        batch_size: int = 16,
        known: Mapping[str, Statistics] | None = None,
    ) -> tuple[list[Prediction | GemoclapError], dict[str, Statistics]]:
        """Predict clips that are adapted to by group, without labels (`group_statistics`).

        Every clip is read before the first is predicted; 4 kB of each part of a clip stay in memory.

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
        return self.decide_adapted(self.featured(audios, batch_size), groups, labels, known)

    def decide_adapted(
        self,
        featured: Iterable[Featured | GemoclapError],
        groups: Sequence[str],
        labels: Sequence[str] | None = None,
        known: Mapping[str, Statistics] | None = None,
    ) -> tuple[list[Prediction | GemoclapError], dict[str, Statistics]]:
        """Return what `predict_adapted` does, for clips of which `featured` yields the features.

        What can be checked before is checked before the first clip is asked for.
        """
        self.check_adaptable()
        classifier = self._classifier(labels)
        check_groups(groups, known)
        found = list(featured)
        if len(found) != len(groups):
            raise GemoclapError(f"{len(groups)} groups for {len(found)} clips; give one each")
        readable = [number for number, clip in enumerate(found) if not isinstance(clip, GemoclapError)]
        if not readable:
            return [clip for clip in found if isinstance(clip, GemoclapError)], {}
        clips = [cast(Featured, found[number]) for number in readable]
        adapted, used = adapt_clips(clips, [groups[number] for number in readable], known)
        answers: list[Prediction | GemoclapError] = [
            answer
            for first in range(0, len(adapted), DECIDED_TOGETHER)
            for answer in self._decide(adapted[first : first + DECIDED_TOGETHER], classifier)
        ]
        by_number = dict(zip(readable, answers, strict=True))
        return [by_number.get(number, cast(GemoclapError, clip)) for number, clip in enumerate(found)], used

    def predict_parts(
        self, audios: Iterable[Audio], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[list[PartPrediction] | GemoclapError]:
        """Yield, for each clip in turn, the answers for its parts with speech, or the error that kept it from being read.

        `predict_many` takes their mean. A clip in which nobody speaks has no part.

        Raises
        ------
        GemoclapError : as `predict_many`.
        """
        classifier = self._classifier(labels)
        for clip in self.featured(audios, batch_size):
            yield clip if isinstance(clip, GemoclapError) else self._each_part(clip, classifier)

    def _each_part(self, clip: Featured, classifier: Classifier) -> list[PartPrediction] | GemoclapError:
        spoken = [one for one in clip.stretches if one.has_speech]
        if not spoken:
            return []
        probabilities, embeddings = self._scores(clip.features[clip.speaks], classifier)[:2]
        if not np.isfinite(probabilities).all():
            return GemoclapError(f"{clip.name}: {NO_NUMBERS}")
        return [
            PartPrediction(
                one.first / SAMPLE_RATE,
                (one.first + one.samples) / SAMPLE_RATE,
                *likeliest(classifier.labels, of_part),
                embedding,
            )
            for one, of_part, embedding in zip(spoken, probabilities, embeddings, strict=True)
        ]

    def embed_words(self, words: str) -> np.ndarray:
        """Return the embedding ``(E,)`` of words for an emotion, of unit length, to be compared with those of clips.

        The words go into the model's emotion prompt, as labels do.

        Raises
        ------
        GemoclapError : the model has no prompts, or the words are like no word for an emotion (see `any_words`).
        """
        if not isinstance(self.model, GEmoClapModel):
            raise no_prompts()
        if not isinstance(words, str) or not words.strip():
            raise GemoclapError(f"words must be a text such as 'angry', not {words!r}")
        if not self.any_words:
            check_words(self.model, [words], "words")
        prompt = fill_prompt(self.model.config.emotion_prompt, prompt_word(words, self.labels))
        with torch.inference_mode():
            return self.model.embed_prompts((prompt,))[0].cpu().numpy()

    def check_adaptable(self) -> None:
        """Raise a GemoclapError if the model cannot be adapted."""
        if self.model.standardizer is None:
            raise not_adaptable()

    def feature_space(self) -> str:
        """Return a hash of the mean and the deviation by which features are standardised.

        Statistics of features hold for models with the same ones. A GemoclapError is raised if the model cannot be adapted.
        """
        self.check_adaptable()
        return fingerprint(self.model.standardizer)

    @property
    def needs_adaptation(self) -> str | None:
        """A sentence, if the model was trained on features that were adapted to speakers (`model.standardize: speaker`)."""
        by_speaker = self.model.config.audio_standardize == "speaker"
        return "the model was trained on clips that were adapted to their speakers" if by_speaker else None

    def clip_features(self, audios: Iterable[Audio], batch_size: int = 16) -> list[ClipFeatures | GemoclapError]:
        """Return the pooled features of each clip, or the error that kept it from being read."""
        return [
            one if isinstance(one, GemoclapError) else ClipFeatures.of(one) for one in self.featured(audios, batch_size)
        ]

    def probabilities(self, features: np.ndarray, labels: Sequence[str] | None = None) -> np.ndarray:
        """Return probabilities ``(N, C)`` of features that `clip_features` returned, ``(N, P)``."""
        classifier = self._classifier(labels)
        with torch.inference_mode():
            embeddings = classifier.embed_features(torch.from_numpy(features).to(self.model.device))
            return classifier.classify(embeddings).cpu().numpy()

    def check_labels(self, labels: Sequence[str] | None) -> None:
        """Raise the GemoclapError that these labels lead to, if any, before there is a clip."""
        self._classifier(labels)

    def decide(self, clip: Featured, labels: Sequence[str] | None = None) -> Prediction | GemoclapError:
        """Return the answer for a clip of which the features are known, or the error that the labels lead to."""
        try:
            return self._decide([clip], self._classifier(labels))[0]
        except GemoclapError as error:
            return error

    def stream(self, sample_rate: int = SAMPLE_RATE, **options: Any) -> EmotionStream:
        """Return a stream that takes chunks of sound and gives the emotion of each window of speech.

        Parameters
        ----------
        sample_rate : Hz of the chunks.
        options : `settings`, `turns`, `labels`, `batch_size`, `adapt` and `state` of `inference.stream.EmotionStream`.

        Raises
        ------
        GemoclapError : a setting makes no sense.
        """
        return EmotionStream(self, sample_rate, **options)

    def _classifier(self, labels: Sequence[str] | None) -> Classifier:
        own = labels if labels is None or isinstance(labels, str) else tuple(labels)
        chosen_labels(own, self.labels)  # what is no text cannot be looked up
        key = own, self.any_words
        if key not in self._classifiers:
            found = classifier_of(self.model, own)
            if isinstance(self.model, GEmoClapModel) and not self.any_words:
                check_words(self.model, found.labels)
            if len(self._classifiers) == CLASSIFIERS:
                del self._classifiers[next(iter(self._classifiers))]
            self._classifiers[key] = found
        return self._classifiers[key]

    @property
    def _audio_settings(self) -> AudioSettings:
        return self.model.config.clip_settings

    @property
    def _most_samples(self) -> float:
        return CPU_BATCH_SECONDS * SAMPLE_RATE if self.model.device.type == "cpu" else math.inf

    def _features(self, parts: Sequence[Part]) -> np.ndarray:
        waveforms = [torch.from_numpy(part.waveform) for part in parts]
        lengths = torch.tensor([len(one) for one in waveforms], device=self.model.device)
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self.model.device)
        with torch.inference_mode():
            return self.model.get_audio_features(padded, lengths).float().cpu().numpy()

    def _decide(self, clips: Sequence[Featured], classifier: Classifier) -> list[Prediction | GemoclapError]:
        """Return the answer for clips by their features, or an error where that is no number."""
        parts = [clip.counted for clip in clips]
        scores = self._scores(np.concatenate(parts), classifier)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        by_clip = zip(clips, *(np.split(score, ends) for score in scores), strict=True)
        labels = classifier.labels
        remark = untrained_remark(labels, self.labels)
        return [prediction_of(clip, labels, *of_parts, label_remark=remark) for clip, *of_parts in by_clip]

    def _scores(self, pooled: np.ndarray, classifier: Classifier) -> list[np.ndarray]:
        """Return probabilities ``(N, C)`` and embeddings ``(N, E)`` of pooled features, and genders ``(N, 2)`` if wanted."""
        with torch.inference_mode():
            features = torch.from_numpy(pooled).to(self.model.device)
            embeddings = classifier.embed_features(features)
            scores = [classifier.classify(embeddings).cpu().numpy(), embeddings.cpu().numpy()]
            if self.predict_gender:
                scores.append(gender_probabilities(self.model, features).cpu().numpy())
        return scores


def default_device() -> torch.device:
    """Return the accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
