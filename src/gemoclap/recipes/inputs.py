"""Provides the inputs of a model: waveforms, or the output of its frozen parts, which is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate.utils import broadcast_object_list

from gemoclap.config import AudioSettings, CacheSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource
from gemoclap.encoders.feature_cache import (
    DTYPES,
    FrozenFrames,
    FrozenInputs,
    LayerFeatures,
    Place,
    frames_bytes,
    frozen_fingerprint,
    is_cacheable,
    roomiest_place,
)
from gemoclap.encoders.fingerprint import fingerprint
from gemoclap.encoders.pooling import POOLINGS
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.files import cache_home
from gemoclap.models import EmotionModel
from gemoclap.recipes.run_folder import on_every_process
from gemoclap.terminal import progress_bar
from gemoclap.training.distributed import process_state, resolve_precision


def cache_folder(settings: CacheSettings) -> Path:
    """Return the folder of the caches on disk, which need not exist yet."""
    return cache_home(settings.folder)


def load_audio_store(cache: CacheSettings, audio: AudioSettings, utterances: Sequence[Utterance]) -> AudioStore:
    """Return a store with the clips of `utterances` decoded and prepared."""
    folder = cache_folder(cache) if cache.audio == "disk" else None
    store = AudioStore(audio, folder)
    with progress_bar("reading audio") as progress:
        in_shares(lambda share: store.preload(share, progress=progress), utterances, shared=folder is not None)
    return store


def in_shares(work: Callable[[Sequence[Utterance]], None], utterances: Sequence[Utterance], shared: bool) -> None:
    """Do the work for all `utterances`, divided among the processes if they share the results.

    With `shared`, each process first does its part. Then each does what is still missing. If one process fails, all fail.
    """
    state = process_state()
    if shared and state.num_processes > 1:
        on_every_process(lambda: work(utterances[state.process_index :: state.num_processes]))
    # Of shared results nothing is missing now, unless processes have folders of their own (nodes with their own disks).
    on_every_process(lambda: work(utterances))


class InputSources:
    """Chooses the inputs of each model, and shares computed inputs among all models of a run.

    Parameters
    ----------
    store : the waveforms.
    settings : `cache` says what is stored and where, `train.precision` in which precision.
    """

    def __init__(self, store: AudioStore, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self._known: dict[str, FrozenInputs] = {}

    def for_model(self, model: EmotionModel, utterances: Sequence[Utterance]) -> InputSource:
        """Move `model` to the device and return the source of its inputs, prepared for `utterances`.

        The inputs are waveforms or, if `cache` allows it, the output of the frozen parts of the audio encoder.
        """
        encoder = model.audio_encoder
        model.to(process_state().device)  # type: ignore[arg-type]  # transformers' wrapper is typed as a plain function
        if self._keeps_pooled_layers(model):
            return self._pooled_layers(model, utterances)
        if encoder.is_frozen("all") and self.settings.cache.layers != "never":
            self._say_what_is_kept(model.config.audio_pooling)
        return self.for_encoder(encoder, utterances)

    def for_test(self, model: EmotionModel, utterances: Sequence[Utterance]) -> InputSource:
        """Move a trained `model` to the device and return the source of its inputs for `utterances`, which it processes once.

        The inputs are waveforms or, if the audio encoder is fully frozen, its pooled layers, which other models share.
        """
        model.to(process_state().device)  # type: ignore[arg-type]
        return self._pooled_layers(model, utterances) if self._keeps_pooled_layers(model) else self.store

    def for_encoder(self, encoder: SpeechEncoder, utterances: Sequence[Utterance]) -> InputSource:
        """Return the source of inputs for an encoder on its device: waveforms, or the output of its frozen part."""
        if encoder.constant_until is None or self.settings.cache.frames == "never":
            return self.store
        key = frozen_fingerprint(encoder)
        if key not in self._known:
            self._known[key] = self._frozen_frames(encoder, utterances)
        return self._encoded(key, encoder, utterances, "frozen layers, once for all epochs")

    def _frozen_frames(self, encoder: SpeechEncoder, utterances: Sequence[Utterance]) -> FrozenFrames:
        cache, device = self.settings.cache, process_state().device
        precision = resolve_precision(self.settings.train.precision, device)
        dtype = DTYPES[
            {"no": "float32"}.get(precision, precision) if cache.frames_dtype == "auto" else cache.frames_dtype
        ]
        place: Place
        if cache.frames == "auto":
            needed = frames_bytes(encoder, self.store, utterances, dtype)
            # One process decides for all of them: they must agree on who encodes what, and they share the memory.
            chosen = [roomiest_place(needed, process_state().num_processes, device)]
            broadcast_object_list(chosen)
            place = chosen[0]
        else:
            place = cache.frames  # type: ignore[assignment]  # "never" does not come here
        return FrozenFrames(encoder, self.store, place, dtype, cache_folder(cache))

    def _keeps_pooled_layers(self, model: EmotionModel) -> bool:
        """Whether the pooled layers of a fully frozen encoder are used in place of the waveforms."""
        encoder, allowed = model.audio_encoder, self.settings.cache.layers != "never"
        return allowed and encoder.is_frozen("all") and is_cacheable(encoder, model.config.audio_pooling)

    def _pooled_layers(self, model: EmotionModel, utterances: Sequence[Utterance]) -> FrozenInputs:
        encoder, cache, pooling = model.audio_encoder, self.settings.cache, model.config.audio_pooling
        key = f"{fingerprint(encoder.model)} {encoder.layers} {pooling}"
        if key not in self._known:
            folder = cache_folder(cache) if cache.layers == "disk" else None
            self._known[key] = LayerFeatures(encoder, self.store, pooling, folder)
        return self._encoded(key, encoder, utterances, "encoding, once for all folds")

    def _say_what_is_kept(self, pooling: str) -> None:
        """Print once why the pooled layers of a frozen encoder are not stored."""
        if process_state().is_main_process and not self._known:
            if pooling in POOLINGS:
                print(
                    f"the frozen encoder runs in every step, because {pooling} pooling of weighted layers needs the frames of "
                    "all; with --model.pooling mean, or with one number or several in --model.layers, it would run once"
                )
            else:
                print(
                    f"{pooling} pooling is trained, so the frames of the frozen encoder are stored, and not pooled vectors"
                )

    def _encoded(self, key: str, encoder: SpeechEncoder, utterances: Sequence[Utterance], what: str) -> FrozenInputs:
        source = self._known[key]
        source.encoder = encoder
        with progress_bar(what) as progress:
            in_shares(lambda share: source.encode(share, progress), utterances, source.is_shared)
        return source
