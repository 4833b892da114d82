"""Pooled features of a frozen encoder, standardised over the clips of each speaker (`model.standardize: speaker`) [C].

`gemoclap predict --adapt speaker` does the same to the features of a trained model. Here the heads are trained on such
features too. No labels are used, but which clips are one speaker's has to be known, in tests as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.dataset import InputSource, eval_batches
from gemoclap.data.perturb import PerturbedUtterance
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import adapt
from gemoclap.models import EmotionModel
from gemoclap.terminal import progress_bar

BATCH = 32
"""Number of utterances whose features are computed together."""


def pooled_features(
    model: EmotionModel, utterances: Sequence[Utterance], source: InputSource, what: str
) -> dict[str, Tensor]:
    """Return id -> pooled features ``(D_a,)`` on the CPU, in the order of `utterances`. `what` is shown as the progress.

    Afterwards the model is in evaluation mode.
    """
    model.eval()
    found: dict[str, Tensor] = {}
    with torch.inference_mode(), progress_bar(what) as progress:
        for batch in eval_batches(utterances, source, None, BATCH):
            features = model.get_audio_features(**batch.to(model.device).inputs).float().cpu()
            found |= dict(zip(batch.ids, features, strict=True))
            progress(len(found), len(utterances))
    return {row.id: found[row.id] for row in utterances}


class SpeakerFeatures:
    """A source of model inputs (`InputSource`): features that were standardised over the clips of each speaker.

    The statistics of training count as 8 further clips, as in prediction (`group_statistics`).

    Parameters
    ----------
    model : its encoder is frozen, and its standardizer has the statistics of the training utterances.
    parts : the training, development and test utterances. A speaker's clips of different parts are not mixed. The perturbed
        copies of a speaker's clips are speakers of their own, because a telephone call is not a studio.
    source : gives the inputs of the encoder, and the lengths of the clips.
    known : features of some of the parts, as `pooled_features` returns them, so that their clips are not encoded again.

    Raises
    ------
    GemoclapError : an utterance has no speaker.
    """

    at_hand, is_exact = True, True

    def __init__(
        self,
        model: EmotionModel,
        parts: Iterable[Sequence[Utterance]],
        source: InputSource,
        known: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._source = source
        self._features: dict[str, Tensor] = {}
        for part in parts:
            if part:
                groups = [_voice(row) for row in part]
                if known and all(row.id in known for row in part):
                    features = {row.id: known[row.id] for row in part}
                else:
                    features = pooled_features(model, part, source, "features of each speaker")
                adapted, _ = adapt(np.stack([one.numpy() for one in features.values()]), groups)
                self._features |= dict(zip(features, torch.from_numpy(adapted), strict=True))

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the length of each clip, as the source of the encoder's inputs has it."""
        return self._source.lengths(utterances)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``features`` (B, D_a)."""
        return {"features": torch.stack([self._features[row.id] for row in utterances])}


def by_speaker(
    model: EmotionModel,
    parts: Iterable[Sequence[Utterance]],
    source: InputSource,
    known: Mapping[str, Tensor] | None = None,
) -> InputSource:
    """Return the `SpeakerFeatures` of a model of `model.standardize: speaker`, and `source` itself for any other model."""
    return SpeakerFeatures(model, parts, source, known) if model.config.audio_standardize == "speaker" else source


def _voice(row: Utterance) -> str:
    """Return the name of the group of clips that are standardised together."""
    if row.speaker is None:
        raise GemoclapError(
            f"{row.id}: model.standardize: speaker needs the speaker of every utterance; fill the manifest's field speaker in"
        )
    return f"{speaker_name(row)} {row.copy if isinstance(row, PerturbedUtterance) else 0}"
