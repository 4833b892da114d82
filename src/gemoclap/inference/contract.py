"""The inputs and outputs of an exported model. They are written into its file, and printed in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemoclap.audio import SAMPLE_RATE
from gemoclap.audio.silence import FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.inference.clips import PAUSE

KEY = "gemoclap"
"""The metadata of the file with the contract, as JSON."""
INPUTS = ("waveforms", "lengths")
OUTPUTS = ("probabilities", "embeddings", "features")


@dataclass(frozen=True)
class Contract:
    """How an ONNX file is used.

    Attributes
    ----------
    title : the model's name.
    labels : the classes, in the order of the probabilities.
    max_seconds, trim_silence_db : as in `config.AudioSettings`.
    longest_seconds : a longer clip is cut into parts of equal length.
    normalizes : whether the file brings each clip to zero mean and unit variance, so that the level does not count.
    embedding_size, feature_size : of the two outputs beside the probabilities.
    is_unit_length : whether the embeddings are of unit length.
    temperature : by which the logits are divided in the file; 1 if no temperature was fitted.
    quantized : whether the weights of the encoder's matrix products are 8-bit integers.
    licence : of the weights, as the model's card says; None if it does not.
    fingerprint : hash of the model's weights, before they were quantised.
    made_with : versions of the packages that made the file.
    sampling_rate : Hz.
    version : of this contract.
    """

    title: str
    labels: tuple[str, ...]
    max_seconds: float | None
    trim_silence_db: float | None
    longest_seconds: float
    normalizes: bool
    embedding_size: int
    feature_size: int
    is_unit_length: bool
    temperature: float
    quantized: bool
    licence: str | None
    fingerprint: str
    made_with: dict[str, str]
    sampling_rate: int = SAMPLE_RATE
    version: int = 1

    @property
    def audio_settings(self) -> AudioSettings:
        """How a clip is prepared."""
        return AudioSettings(self.max_seconds, self.trim_silence_db)

    def metadata(self) -> dict[str, str]:
        """Return what is written into the file: the whole contract, and the most wanted entries under names of their own."""
        return {
            KEY: json.dumps(asdict(self), ensure_ascii=False),
            "labels": json.dumps(self.labels, ensure_ascii=False),
            "sampling_rate": str(self.sampling_rate),
            "contract": "\n".join(self.words()),
        }

    @classmethod
    def read(cls, metadata: Mapping[str, str], path: Path) -> Contract:
        """Return the contract of a file.

        Raises
        ------
        GemoclapError : there is none, or it is of another version.
        """
        if KEY not in metadata:
            raise GemoclapError(f"{path}: was not written by 'gemoclap export', which says how a model is used")
        try:
            found: dict[str, Any] = json.loads(metadata[KEY])
            if found["version"] == cls.version:
                return cls(**{**found, "labels": tuple(found["labels"])})
        except (TypeError, ValueError, LookupError) as error:
            raise GemoclapError(f"{path}: its metadata is damaged ({error}); export the model again") from None
        raise GemoclapError(
            f"{path}: has version {found['version']} of the contract, this gemoclap reads {cls.version}; export it again"
        )

    def words(self) -> list[str]:
        """Return the contract in plain words, a line each."""
        return [
            f"input {INPUTS[0]}: float32 (batch, samples), mono at {self.sampling_rate} Hz, full scale at 1, zeros at the "
            "end of shorter clips",
            f"input {INPUTS[1]}: int64 (batch,), number of samples of each clip, at least 1",
            f"output {OUTPUTS[0]}: float32 (batch, {len(self.labels)}), for {', '.join(self.labels)}; they add up to 1",
            f"output {OUTPUTS[1]}: float32 (batch, {self.embedding_size})"
            + (", of unit length" if self.is_unit_length else ""),
            f"output {OUTPUTS[2]}: float32 (batch, {self.feature_size}), pooled over the clip, before the head",
            self._level(),
            self._trimming(),
            f"length: cut a clip of more than {self.longest_seconds:g} s into as few parts of equal length as possible; "
            "the answer is the mean of their probabilities",
            f"pauses: the file does not look for speech; 'gemoclap predict' also leaves out pauses of {PAUSE:g} s or more, and "
            "weights the mean by length",
            "rounding: gemoclap rounds each part to 16 bits, relative to its peak; what comes from a 16-bit file at this rate "
            "stays as it is, and otherwise it hardly matters",
            f"inside: {'scaling of each clip, ' if self.normalizes else ''}front end, encoder, pooling, prompts or head, and "
            f"the temperature {self.temperature:.4g}",
            "batches: "
            + (
                "give one clip at a time, because 8-bit products are scaled by what else is in the batch"
                if self.quantized
                else "a clip has the same answer alone and in any batch"
            ),
            "weights: "
            + ("8-bit integers in the encoder's matrix products" if self.quantized else "32-bit floats")
            + (f"; licence: {self.licence}" if self.licence else ""),
        ]

    def _level(self) -> str:
        if self.normalizes:
            return "level: any; the file brings each clip to zero mean and unit variance"
        return "level: leave it as it was recorded"

    def _trimming(self) -> str:
        if self.trim_silence_db is None:
            return "silence: leave it"
        return (
            f"silence: cut off head and tail up to {1000 * MARGIN_SECONDS:g} ms around the first and the last loud frame; "
            f"a frame of {1000 * FRAME_SECONDS:g} ms, every {1000 * HOP_SECONDS:g} ms, is loud if its RMS is at most "
            f"{self.trim_silence_db:g} dB below that of the loudest"
        )
