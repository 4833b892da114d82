"""Stores the output of frozen parts of a speech encoder, computed once for all folds, epochs, objectives and seeds.

There are three kinds. `FrozenFrames` has the output of a frozen front end and of the frozen layers above it. It replaces the
waveform in training. `LayerFeatures` has the pooled frames of each layer of a fully frozen encoder. A head needs no more.
`LayerFrames` has the frames of one layer, from which pseudo-labels are made. All are sources of model inputs
(`data.dataset.InputSource`), like the audio store.

The key of a clip is the hash of its prepared samples. The key of an encoder is the hash of its weights. If content changes, its
key changes, so outdated results are never used. A clip has the same output in any batch (`padding.py`), so it does not matter
together with which other clips it was encoded.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
import transformers
from torch import Tensor

from gemoclap.audio import SAMPLE_RATE
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore, pad_waveforms
from gemoclap.data.shards import Shards
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.encoders.pooling import POOLINGS
from gemoclap.encoders.provenance import HEARD, LABELLED
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError

VERSION = 2
"""Version of the output. It is raised when the same weights and samples give other output. Older caches are then ignored."""
BATCH_SECONDS = 80
"""Seconds of audio, padding included, that are encoded together on an accelerator."""
CPU_BATCH_SECONDS = 5
"""The same on a CPU. The frames of more audio would not fit into its cache (benchmarks/predict.py)."""

DEVICE_SHARE, MEMORY_SHARE = 0.25, 0.5
"""With `auto`, cached frames use at most this share of the free memory of a GPU, and of the machine."""
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Progress = Callable[[int, int], None]
Place = Literal["device", "memory", "disk"]


class FrozenInputs(ABC):
    """Base of the caches. It finds which clips are stored already, and encodes the others.

    Parameters
    ----------
    encoder : the encoder. Its cached part must not change while this object is in use.
    store : source of the audio.
    folder : folder of a cache on disk, which other runs and processes share. None keeps the cache in memory.
    """

    at_hand, is_exact = False, True

    def __init__(self, encoder: SpeechEncoder, store: AudioStore, folder: Path | None) -> None:
        self.encoder, self.store = encoder, store
        self.kept: dict[str, Tensor] | Shards = {} if folder is None else Shards(folder)

    @property
    def is_shared(self) -> bool:
        """Whether processes can use the results of others."""
        return isinstance(self.kept, Shards)

    def encode(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> None:
        """Encode the `utterances` that are not stored yet. On disk, finished clips stay stored if the process is killed."""
        self.refresh()
        self.store.preload(
            utterances
        )  # all clips are read together here, because `content_key` would decode them one by one
        missing = {self.store.content_key(row): row for row in utterances}
        missing = {key: row for key, row in missing.items() if key not in self.kept}
        done = 0
        with as_it_predicts(self.encoder), _writer(self.kept) as kept:
            for keys in self._batches(missing):
                waveforms, lengths = pad_waveforms([self.store(missing[key]) for key in keys])
                device = self.encoder.model.device
                for key, features in zip(keys, self._encode(waveforms.to(device), lengths.to(device)), strict=True):
                    kept[key] = features
                done += len(keys)
                if progress is not None:
                    progress(done, len(missing))

    def _batches(self, missing: dict[str, Utterance]) -> Iterator[list[str]]:
        """Yield the keys in batches of clips with similar lengths. A batch has at most `BATCH_SECONDS`, padding included."""
        # Clips of equal length are sorted by key. So batches and their rounding do not depend on the order of the clips.
        keys, batch = sorted(missing), list[str]()
        seconds = CPU_BATCH_SECONDS if self.encoder.model.device.type == "cpu" else BATCH_SECONDS
        lengths = self.store.lengths([missing[key] for key in keys])
        used = np.maximum(lengths, frame_counts(self.encoder, lengths) * self.encoder.hop_samples)
        for place in np.argsort(lengths, kind="stable"):
            if batch and (len(batch) + 1) * used[place] > seconds * SAMPLE_RATE:
                yield batch
                batch = []
            batch.append(keys[place])
        if batch:
            yield batch

    def of(self, utterance: Utterance) -> Tensor:
        """Return the stored output of a clip.

        Raises
        ------
        GemoclapError : the clip was not encoded, or its file is damaged.
        """
        try:
            return self.kept[self.store.content_key(utterance)]
        except KeyError:
            raise GemoclapError(f"{utterance.id}: nothing is cached of it; run again, which encodes it") from None

    def refresh(self) -> None:
        """Look for clips that other processes have encoded."""
        if isinstance(self.kept, Shards):
            self.kept.refresh()

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the number of samples of each clip, (N,) int64."""
        return self.store.lengths(utterances)

    @abstractmethod
    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return the keyword arguments that replace the waveforms, one row per utterance. All must be encoded already."""

    @abstractmethod
    def _encode(self, waveforms: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        """Compute the output to store for each clip of a batch."""


@contextmanager
def as_it_predicts(encoder: SpeechEncoder) -> Iterator[None]:
    """Switch off dropout, gradients and half precision during a block, and restore them afterwards."""
    training = encoder.training
    encoder.eval()
    try:
        # Otherwise cuDNN computes convolutions in TF32, and the cache would depend on the device that filled it.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.no_grad(), torch.autocast(encoder.model.device.type, enabled=False), exact:
            yield
    finally:
        encoder.train(training)


class FrozenFrames(FrozenInputs):
    """The output of a frozen front end and the frozen layers above it, in place of the waveform.

    Parameters
    ----------
    place : where the output is stored: on the device of the encoder, in the memory of the machine, or on disk below `folder`.
    dtype : type in which it is stored. It is computed in float32.
    """

    def __init__(
        self, encoder: SpeechEncoder, store: AudioStore, place: Place, dtype: torch.dtype, folder: str | os.PathLike
    ) -> None:
        on_disk = Path(folder) / "frozen" / f"{frozen_fingerprint(encoder)}-{str(dtype).removeprefix('torch.')}"
        super().__init__(encoder, store, on_disk if place == "disk" else None)
        self.dtype, self.is_exact = dtype, dtype == torch.float32
        self.device = encoder.model.device if place == "device" else torch.device("cpu")

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``frozen_frames`` (B, F, C), zero-padded, and ``frame_counts`` (B,)."""
        frames = [self.of(row) for row in utterances]
        counts = torch.tensor([len(one) for one in frames], device=self.device)
        return {"frozen_frames": torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), "frame_counts": counts}

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        features, counts = self.encoder.frozen_frames(waveforms, lengths)
        features = features.to(self.device, self.dtype)
        # Each clip is copied, because a view would keep the whole batch in memory, with its padding.
        return [row[:count].clone() for row, count in zip(features, counts.tolist(), strict=True)]


class LayerFeatures(FrozenInputs):
    """The pooled frames of every layer of a frozen encoder, in one table for all runs.

    Parameters
    ----------
    pooling : one of `encoders.pooling.POOLINGS`. With weighted layers it must be the mean: only the mean of a weighted sum of
        layers is the weighted sum of the means of the layers.
    folder : folder for the tables of all encoders. None keeps this table in memory.
    """

    at_hand = True

    def __init__(
        self, encoder: SpeechEncoder, store: AudioStore, pooling: str, folder: str | os.PathLike | None
    ) -> None:
        if not is_cacheable(encoder, pooling):
            raise ValueError(f"{pooling} over weighted layers is not a function of each layer's own")
        name = fingerprint(encoder.model, _determinants(encoder, ""), pooling)
        super().__init__(encoder, store, Path(folder) / "layers" / name if folder else None)
        self.pooling = pooling
        self._rows: dict[str, int] = {}
        self._table = torch.empty(0)

    def encode(self, utterances: Sequence[Utterance], progress: Progress | None = None) -> None:
        super().encode(utterances, progress)
        rows = {self.store.content_key(row): row for row in utterances}
        new = {key: row for key, row in rows.items() if key not in self._rows}
        if new:
            self._enter(new)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``layer_features`` (B, L, P), of the layers that are used."""
        return {"layer_features": self._table[[self._rows[self.store.content_key(row)] for row in utterances]]}

    def _enter(self, utterances: dict[str, Utterance]) -> None:
        """Add rows to the table in memory, for the layers that are used."""
        rows = torch.stack([self.of(row)[self.encoder.used_layers] for row in utterances.values()])
        self._rows |= {key: len(self._rows) + place for place, key in enumerate(utterances)}
        self._table = torch.cat([self._table, rows]) if len(self._table) else rows

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        return self.encoder.layer_features(waveforms, lengths, POOLINGS[self.pooling]).cpu().unbind()


class LayerFrames(FrozenInputs):
    """The frames of one layer of a frozen encoder, from which pseudo-labels are clustered.

    Parameters
    ----------
    layer : as in `SpeechEncoder.layer_frames`.
    dtype : type in which frames are stored. They are computed in float32.
    folder : folder for the frames of all encoders and layers. None keeps these frames in memory.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        store: AudioStore,
        layer: int,
        dtype: torch.dtype,
        folder: str | os.PathLike | None,
    ) -> None:
        name = fingerprint(encoder.model, _determinants(encoder, ""), layer, str(dtype))
        super().__init__(encoder, store, Path(folder) / "frames" / name if folder else None)
        self.layer, self.dtype, self.is_exact = layer, dtype, dtype == torch.float32

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return ``frames`` (B, F, D), zero-padded, and ``frame_counts`` (B,)."""
        frames = [self.of(row) for row in utterances]
        counts = torch.tensor([len(one) for one in frames])
        return {"frames": torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), "frame_counts": counts}

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        frames, mask = self.encoder.layer_frames(waveforms, lengths, self.layer)
        return [row[valid].to("cpu", self.dtype) for row, valid in zip(frames, mask, strict=True)]


def is_cacheable(encoder: SpeechEncoder, pooling: str) -> bool:
    """Whether `LayerFeatures` can replace the frames of an encoder with this pooling."""
    return pooling in POOLINGS and (encoder.layers != "weighted" or pooling == "mean")


def frozen_fingerprint(encoder: SpeechEncoder) -> str:
    """Return a hash of weights and settings of the frozen part, up to the layer whose output never changes."""
    model: Any = encoder.model
    until = encoder.constant_until
    if until:
        frozen = torch.nn.ModuleList(encoder.frozen_modules)
        return fingerprint(frozen, _determinants(encoder, ""), until, encoder.layers if until == "output" else None)
    return fingerprint(model.feature_extractor, _determinants(encoder, "conv_", "feat_extract_", "num_mel_", "padded"))


def frames_bytes(encoder: SpeechEncoder, store: AudioStore, rows: Sequence[Utterance], dtype: torch.dtype) -> int:
    """Return how many bytes the `FrozenFrames` of `rows` need."""
    unique = {store.content_key(row): row for row in rows}
    frames = int(frame_counts(encoder, store.lengths(list(unique.values()))).sum())
    config: Any = encoder.model.config
    if encoder.constant_until == "output":
        size = encoder.output_dim
    elif encoder.constant_until or not hasattr(config, "conv_dim"):
        size = config.hidden_size
    else:
        size = config.conv_dim[-1]
    return frames * size * dtype.itemsize


def frame_counts(encoder: SpeechEncoder, lengths: np.ndarray) -> np.ndarray:
    """Number of samples of each clip (N,) -> number of frames. A padded Whisper also makes frames of its padding."""
    return encoder.frame_counts(torch.from_numpy(lengths)).numpy()


def roomiest_place(needed: int, processes: int, device: torch.device) -> Place:
    """Return the fastest place with room for `needed` bytes per process: the device, the memory, or the disk."""
    if device.type == "cuda" and needed < DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "memory" if processes * needed < MEMORY_SHARE * psutil.virtual_memory().available else "disk"


def _determinants(encoder: SpeechEncoder, *prefixes: str) -> list[Any]:
    """Return the settings that the output depends on: fields of the config that begin with one of `prefixes`."""
    of_training = ("apply_spec_augment", "layerdrop", "encoder_layerdrop", LABELLED, HEARD)
    of_saving = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
    config = encoder.model.config.to_dict()
    fields = {
        name: value
        for name, value in config.items()
        if name.startswith(prefixes) and name not in of_training + of_saving
    }
    return [VERSION, torch.__version__, transformers.__version__, encoder.do_normalize, fields]


def _writer(kept: dict[str, Tensor] | Shards) -> AbstractContextManager[Any]:
    return kept.writer() if isinstance(kept, Shards) else nullcontext(kept)
