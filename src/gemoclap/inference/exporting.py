"""A model -> one ONNX file that takes waveforms, for any batch and any length, and says itself how it is used.

The graph is traced. torch's newer exporter, which is built on torch.export, gives the same files with the same parts
(`encoders/portable.py`), but takes fifteen times as long and needs another package. A trace has one danger: a number that
depends on the length of the example would stay as it is. So every file is run on clips of other lengths before it is kept.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.nn import functional

from gemoclap import __version__
from gemoclap.audio import LONGEST_SECONDS, SAMPLE_RATE
from gemoclap.corpora.manifest import Utterance
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.encoders.portable import portable
from gemoclap.encoders.whisper import CHUNK_SECONDS, WhisperSpeechModel
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.inference.clipwise import ClipwisePredictor
from gemoclap.inference.contract import INPUTS, OUTPUTS, Contract
from gemoclap.labels import Vocabulary
from gemoclap.metrics import unweighted_average_recall
from gemoclap.models import Classifier, EmotionModel, classifier_of

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference of a probability between the file and torch."""
TRIED = 12
"""Batches that a file is tried on."""
TRIED_SECONDS = 5.0


class Whole(nn.Module):
    """A model from waveforms to all outputs, ``(B, T)`` and ``(B,)`` to `OUTPUTS`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        encoder = classifier.model.audio_encoder
        self.least_samples = encoder.min_samples + encoder.hop_samples

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Never too short for a frame, whatever the batch: padding makes no difference.
        waveforms = functional.pad(waveforms, (0, self.least_samples))
        features = self.classifier.model.get_audio_features(waveforms, lengths)
        embeddings = self.classifier.embed_features(features)
        return self.classifier.classify(embeddings), embeddings, features


def check_exportable(model: EmotionModel) -> None:
    """Raise a GemoclapError for a model that no file can be made of, or if a package is missing."""
    for module in ("onnx", "onnxruntime"):
        needed(module, "an export")
    seconds = model.config.clip_settings.max_seconds
    if isinstance(model.audio_encoder.model, WhisperSpeechModel) and (seconds is None or seconds > CHUNK_SECONDS):
        raise GemoclapError(
            f"this model uses {'clips of any length' if seconds is None else f'{seconds:g} s of a clip'}, and a file with "
            f"Whisper takes {CHUNK_SECONDS} s at most; train with --data.audio.max_seconds {CHUNK_SECONDS} or less"
        )


def export_onnx(model: EmotionModel, path: str | os.PathLike, title: str, int8: bool = False) -> tuple[Contract, float]:
    """Write a model into a file, and try the file.

    Parameters
    ----------
    path : the file; one that is there is overwritten.
    title : the model's name, for the contract.
    int8 : whether the weights of the encoder's matrix products become 8-bit integers.

    Returns
    -------
    The contract, and the largest difference of a probability between file and model.

    Raises
    ------
    GemoclapError : as `check_exportable`; the encoder cannot be exported; the file gives other answers than the model.
    """
    path = Path(path)
    check_exportable(model)
    model.to(torch.device("cpu"))  # type: ignore[arg-type]  # transformers' wrapper of it is typed as a plain function
    whole = Whole(classifier_of(model.eval())).eval()
    contract = _contract(whole, title, int8)
    _trace(whole, path)
    if int8:
        _quantize(path)
    _describe(path, contract)
    difference = largest_difference(whole, path)
    if not int8 and not difference <= TOLERANCE:
        raise GemoclapError(
            f"a {model.audio_encoder.model.config.model_type} encoder cannot be exported: the file's probabilities differ by "
            f"{difference:.2g} from the model's; predict with the model's folder"
        )
    return contract, difference


def largest_difference(whole: Whole, path: Path) -> float:
    """Return the largest difference of a probability between a file and a model, for noise of many lengths and batches."""
    session = needed("onnxruntime", "an export").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    draw, worst = np.random.default_rng(0), 0.0
    for number in range(TRIED):
        longest = round(TRIED_SECONDS * SAMPLE_RATE) if number else 2
        lengths = draw.integers(1, longest, size=1 + number % 3)
        waveforms = np.zeros((len(lengths), lengths.max()), np.float32)
        for row, length in zip(waveforms, lengths, strict=True):
            row[:length] = 10 ** draw.uniform(-3, -0.5) * draw.standard_normal(length)
        found = session.run(OUTPUTS[:1], dict(zip(INPUTS, (waveforms, lengths), strict=True)))[0]
        with torch.no_grad():
            wanted = whole(torch.from_numpy(waveforms), torch.from_numpy(lengths))[0].numpy()
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def unweighted_recall(predictor: ClipwisePredictor, rows: Sequence[Utterance], vocabulary: Vocabulary) -> float:
    """Return the UAR of a predictor on labelled clips.

    Raises
    ------
    GemoclapError : a clip cannot be read, as in 'gemoclap evaluate': without it, the figure would be that of other clips.
    """
    emotions = []
    for answer in predictor.predict_many(rows):
        if isinstance(answer, GemoclapError):
            raise answer
        emotions.append(answer.emotion)
    return unweighted_average_recall([str(vocabulary.resolve(row.emotion)) for row in rows], emotions)


def _contract(whole: Whole, title: str, int8: bool) -> Contract:
    model = whole.classifier.model
    config, audio = model.config, model.config.clip_settings
    with torch.no_grad():
        _, embeddings, features = whole(torch.randn(1, SAMPLE_RATE), torch.tensor([SAMPLE_RATE]))
    card: Any = ModelCard(model.card, ignore_metadata_errors=True).data if model.card else {}
    return Contract(
        title=title,
        labels=whole.classifier.labels,
        max_seconds=audio.max_seconds,
        trim_silence_db=audio.trim_silence_db,
        longest_seconds=audio.max_seconds or LONGEST_SECONDS,
        normalizes=config.audio_normalize,
        embedding_size=embeddings.shape[1],
        feature_size=features.shape[1],
        is_unit_length=bool((embeddings.norm(dim=1) - 1).abs() < 1e-4),
        temperature=config.softmax_temperature,
        quantized=int8,
        licence=card.get("license"),
        fingerprint=fingerprint(model),
        made_with={"gemoclap": __version__} | {name: version(name) for name in ("torch", "transformers", "onnx")},
    )


def _trace(whole: Whole, path: Path) -> None:
    """Write the graph of a model, traced on two clips of different lengths."""
    example = torch.randn(2, SAMPLE_RATE), torch.tensor([SAMPLE_RATE, SAMPLE_RATE // 2])
    rows = {0: "batch"}
    with torch.no_grad(), portable(whole), _quiet():
        try:
            torch.onnx.export(
                whole,
                example,
                str(path),
                dynamo=False,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_axes={name: rows for name in (*INPUTS, *OUTPUTS)} | {INPUTS[0]: {**rows, 1: "samples"}},
                opset_version=OPSET,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            kind = whole.classifier.model.audio_encoder.model.config.model_type
            reason = str(error).strip().split("\n")[0]
            raise GemoclapError(
                f"a {kind} encoder cannot be exported: {reason}; predict with the model's folder"
            ) from error


def _quantize(path: Path) -> None:
    """Turn the weights of the encoder's matrix products into 8-bit integers, one scale for each column.

    The products of the head stay, because they are few and small, and scaled by the temperature. Those of log-mel features stay
    too. The integers have no sign: with signed ones, sums of products overflow on processors without VNNI, so that the error
    would depend on the machine.
    """
    onnx, quantization = needed("onnx", "an export"), needed("onnxruntime.quantization", "an export")
    names = [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "MatMul"]
    with _quiet():
        quantization.quantize_dynamic(
            str(path),
            str(path),
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[name for name in names if "/audio_encoder/" not in name or "/feature_extractor/" in name],
            per_channel=True,
            weight_type=quantization.QuantType.QUInt8,
        )


def _describe(path: Path, contract: Contract) -> None:
    onnx = needed("onnx", "an export")
    graph = onnx.load(str(path))
    graph.producer_name, graph.producer_version = "gemoclap", __version__
    graph.doc_string = contract.title
    onnx.helper.set_model_props(graph, contract.metadata())
    onnx.save(graph, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what tracing and quantising warn of: numbers that may depend on the example, which the file is tried for."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
