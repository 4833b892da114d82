"""An ONNX file that 'gemoclap export' wrote -> the emotion of a clip, without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.audio import SAMPLE_RATE
from gemoclap.config import AudioSettings
from gemoclap.cores import usable_cores
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.inference.clips import Part
from gemoclap.inference.clipwise import ClipwisePredictor
from gemoclap.inference.contract import INPUTS, OUTPUTS, Contract
from gemoclap.inference.model_folder import EMBEDDED_MODELS
from gemoclap.inference.prediction import Featured, Prediction, prediction_of
from gemoclap.labels import chosen_labels, class_columns

BATCH_SECONDS = 120.0
"""Seconds of sound in a batch, padding included: larger ones are no faster on a CPU."""


class OnnxPredictor(ClipwisePredictor):
    """As `Predictor`, from a single file. It needs numpy, soundfile, soxr and onnxruntime, and neither torch nor transformers.

    `check_speech` needs torch.

    Attributes
    ----------
    contract : what the file takes and gives; ``"\\n".join(predictor.contract.words())`` says it in words.

    Examples
    --------
    >>> predictor = OnnxPredictor("default.onnx")  # doctest: +SKIP
    >>> predictor("clip.wav").emotion  # doctest: +SKIP
    'happy'
    """

    def __init__(
        self, path: str | os.PathLike, threads: int | None = None, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> None:
        """Load a file.

        Parameters
        ----------
        threads : that one operator may use; None takes as many as there are cores that this process may use.
        providers : of onnxruntime, such as ``("CUDAExecutionProvider",)``.

        Raises
        ------
        GemoclapError : there is no such file, it cannot be loaded, or 'gemoclap export' did not write it.
        """
        super().__init__()
        onnxruntime = needed("onnxruntime", "an ONNX file")
        path = Path(path)
        if not path.is_file():
            file = path.name if path.suffix == ".onnx" else f"{path.name}.onnx"
            is_folder = path.is_dir()
            model = f"--model {path} " if is_folder or str(path) in EMBEDDED_MODELS else ""
            why = "is a folder, not an ONNX file" if is_folder else "no such file"
            raise GemoclapError(f"{path}: {why}; 'gemoclap export {model}-o {file}' writes one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()  # onnxruntime counts those of the machine
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # onnxruntime has a dozen of its own, which have no common base
            raise GemoclapError(f"{path}: cannot be loaded: {str(error).splitlines()[0]}; export it again") from error
        self.contract = Contract.read(self._session.get_modelmeta().custom_metadata_map, path)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the file."""
        return self.contract.labels

    @property
    def _audio_settings(self) -> AudioSettings:
        return self.contract.audio_settings

    @property
    def _most_samples(self) -> float:
        # Products of 8-bit integers are scaled by the largest value of the whole batch: alone, a clip has one answer.
        return 0 if self.contract.quantized else BATCH_SECONDS * SAMPLE_RATE

    def _classifier(self, labels: Sequence[str] | None) -> dict[str, int]:
        """Return label -> its column of the probabilities."""
        known = self.contract.labels
        wanted = chosen_labels(labels, known)
        columns = class_columns(wanted, known, "this file", "use the model's folder for other words")
        return dict(zip(wanted, columns, strict=True))

    def _features(self, parts: Sequence[Part]) -> np.ndarray:
        """Return all outputs side by side: the graph decides at once."""
        lengths = np.array([len(part.waveform) for part in parts], np.int64)
        waveforms = np.zeros((len(parts), lengths.max()), np.float32)
        for row, part in zip(waveforms, parts, strict=True):
            row[: len(part.waveform)] = part.waveform
        return np.concatenate(self._session.run(OUTPUTS, dict(zip(INPUTS, (waveforms, lengths), strict=True))), axis=1)

    def _decide(self, clips: Sequence[Featured], classifier: dict[str, int]) -> list[Prediction | GemoclapError]:
        return [self._decided(clip, classifier) for clip in clips]

    def _decided(self, clip: Featured, columns: dict[str, int]) -> Prediction | GemoclapError:
        classes = len(self.contract.labels)
        probabilities, embeddings = np.split(
            clip.counted[:, : classes + self.contract.embedding_size], [classes], axis=1
        )
        chosen = probabilities[:, [*columns.values()]]
        if len(columns) < classes:
            chosen = chosen / chosen.sum(axis=1, keepdims=True)  # the softmax over these classes alone
        return prediction_of(clip, [*columns], chosen, embeddings)
