"""Self-supervised pre-training of MockingJay and NPC, plain or emotion-aware (EMS), on any speech."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gemoclap.config.ems import PretrainSettings, ScoreHead
from gemoclap.corpora.layout import rows_of_folder
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.dataset import InputSource, InputsWithSeries, TrainBatches, eval_batches
from gemoclap.ems.guesses import in_words, l1_beside_guesses, not_beaten
from gemoclap.ems.intensity import IntensityModel
from gemoclap.ems.losses import Reconstruction
from gemoclap.ems.pretraining import MockingJayForPretraining, NPCForPretraining
from gemoclap.encoders.mockingjay import MockingJayConfig, MockingJayModel
from gemoclap.encoders.npc import NPCConfig, NPCModel
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.provenance import named_speakers, remember
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import as_bytes, file_hash
from gemoclap.recipes.holding import holds_output
from gemoclap.recipes.inputs import cache_folder, load_audio_store
from gemoclap.recipes.intensity import curves
from gemoclap.recipes.model_card import write_encoder_card
from gemoclap.recipes.run_folder import (
    claim,
    drop_checkpoint,
    on_main_process,
    refuse_other_run,
    save_folder,
    training_key,
)
from gemoclap.recipes.supervised import is_trained
from gemoclap.training.distributed import process_state
from gemoclap.training.loop import run_epochs
from gemoclap.wording import counted

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "mockingjay": {
        "paper": {},
        "small": {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "attention_dropout": 0.0},
    },
    "npc": {"paper": {}, "small": {"hidden_size": 128}},
}
"""Sizes that differ from the defaults of the configs. The defaults are those of the papers [S]."""
HELD_OUT_SEED = 0
"""Seed for the masks of held-out clips. It is fixed, so that all epochs are compared on the same frames."""


@holds_output
def pretrain(settings: PretrainSettings, output: str | os.PathLike) -> Path:
    """Pre-train an encoder on the speech that the settings name; return its folder.

    `output` gets config.yaml, log.jsonl and model/. `--model.audio_encoder` takes the folder model/. An interrupted training is
    resumed. A finished one is not changed.

    Raises
    ------
    GemoclapError : there is no speech; masks follow the intensity, and there is no intensity model; or a fault in audio,
        settings or folder.
    """
    output = Path(output)
    rows = read_speech(settings)
    config = {**asdict(settings), "speech_sha256": _hash(rows), "intensity_sha256": _weights_hash(settings)}
    refuse_other_run(output, config)
    if not is_trained(output):
        model = build(settings)
        store = load_audio_store(settings.cache, settings.audio, rows)
        source = _source(settings, store, rows)
        claim(output, config)
        train_rows, held_out = divide(rows, settings.held_out)
        _fit(settings, model, train_rows, held_out, source, training_key(config), output)
        on_main_process(
            lambda: save_folder(output / "model", lambda folder: save_encoder(model, folder, settings, rows))
        )
    drop_checkpoint(output)
    return output / "model"


def read_speech(settings: PretrainSettings) -> list[Utterance]:
    """Return the utterances of the given manifests and folders, without the corpora and speakers in ``leave_out``.

    Raises
    ------
    GemoclapError : nothing is given; a path is neither manifest nor folder; two have a file in common; no utterance is left; or
        ``leave_out`` names a corpus or speaker that does not exist.
    """
    if not settings.speech:
        raise GemoclapError("no speech; name manifests, or folders of audio files, with --speech")
    sources = {name: read_source(Path(name)) for name in settings.speech}
    _refuse_files_twice(settings.speech, sources)
    rows = [row for found in sources.values() for row in found]
    known = {name for row in rows for name in (row.corpus, speaker_name(row)) if name}
    for name in settings.leave_out:
        if name not in known:
            raise GemoclapError(
                f"leave_out: no corpus or speaker is called {name!r}{did_you_mean(name, sorted(known))}"
            )
    kept = [row for row in rows if not {row.corpus, speaker_name(row)} & set(settings.leave_out)]
    if len(kept) < 4:
        without = f" without {', '.join(settings.leave_out)}" if settings.leave_out else ""
        raise GemoclapError(
            f"too little speech to pre-train on{without}: {counted(len(kept), 'utterance')}; name more with --speech"
        )
    return kept


def _refuse_files_twice(names: Sequence[str], sources: Mapping[str, Sequence[Utterance]]) -> None:
    """Refuse a file that two manifests or folders have: it would count twice, and could be held out and trained on."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise GemoclapError(f"speech: {twice} is named twice; name each manifest and folder once")
    whose: dict[str, str] = {}
    for name, rows in sources.items():
        for path in {os.path.realpath(row.path) for row in rows}:
            if whose.setdefault(path, name) != name:
                raise GemoclapError(
                    f"speech: {path} is in {whose[path]} and in {name}; name each file in one of them only"
                )


def read_source(path: Path) -> list[Utterance]:
    """Return the utterances of a manifest, or one for each audio file below a folder.

    Raises
    ------
    GemoclapError : the manifest cannot be read, or there is no audio below the folder.
    """
    return rows_of_folder(path) if path.is_dir() else read_manifest(path)


def divide(rows: Sequence[Utterance], share: float) -> tuple[list[Utterance], list[Utterance]]:
    """Return the utterances to train on, and those held out, which are about `share` of all.

    They are chosen by a hash of their id, so that every run holds out the same ones.
    """
    held_out = [row for row in rows if _share_from(row.id) < share]
    return [row for row in rows if _share_from(row.id) >= share], held_out


def _share_from(name: str) -> float:
    """Return a number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.sha256(as_bytes(name)).digest()[:6]) / 2**48


def build(settings: PretrainSettings) -> MockingJayForPretraining | NPCForPretraining:
    """Return the untrained model with its heads; its weights depend on the seed only.

    Raises
    ------
    GemoclapError : the encoder does not have an option, or does not accept its value.
    """
    model = settings.model
    head = cast(ScoreHead, model.score_head)  # PretrainModelSettings has converted true and false to words
    options = {**SIZES[model.encoder][model.size], **model.options}
    torch.manual_seed(settings.train.seed)
    try:
        if model.encoder == "mockingjay":
            encoder = MockingJayModel(_config(MockingJayConfig, options))
            # PretrainModelSettings has refused "none", which is NPC's.
            masking = cast(Any, model.masking)
            return MockingJayForPretraining(encoder, head, masking, add_intensity=model.add_intensity)
        return NPCForPretraining(NPCModel(_config(NPCConfig, options)), head, model.masking, model.reading)
    except (TypeError, ValueError) as error:
        raise GemoclapError(f"model.options: {model.encoder}: {str(error).splitlines()[0]}") from error


def _config(config_class: type, options: dict[str, Any]) -> Any:
    known = [field for field in config_class.__annotations__ if field != "model_type"]
    for option in options:
        if option not in known:
            raise GemoclapError(f"model.options: there is no {option!r}{did_you_mean(option, known)}")
    return config_class(**options)


def _source(settings: PretrainSettings, store: AudioStore, rows: Sequence[Utterance]) -> InputSource:
    if not settings.needs_intensity:
        return store
    model = load_intensity_model(str(settings.model.intensity_model))
    kept = curves(model, store, rows, cache_folder(settings.cache))
    source = InputsWithSeries(store, store, kept, "intensity")
    return ShiftedInputs(source, store, settings.train.seed) if settings.model.masking == "shifted" else source


class ShiftedInputs:
    """Clips with their intensity, and with the shift of shifted masks. The shift is made from a hash of clip and seed."""

    def __init__(self, source: InputsWithSeries, store: AudioStore, seed: int) -> None:
        self.source, self.store, self.seed = source, store, seed
        self.at_hand, self.is_exact = source.at_hand, source.is_exact

    def lengths(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Return the number of samples of each clip, (N,) int64."""
        return self.source.lengths(utterances)

    def inputs(self, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Return the inputs of the clips and ``intensity_shift`` (B,) float64."""
        shifts = [_share_from(f"{self.seed} {self.store.content_key(row)}") for row in utterances]
        return {**self.source.inputs(utterances), "intensity_shift": torch.tensor(shifts, dtype=torch.float64)}


def load_intensity_model(name: str) -> IntensityModel:
    """Load what `gemoclap pretrain intensity` saved.

    Raises
    ------
    GemoclapError : there is no such model.
    """
    if not (Path(name) / "config.json").is_file():
        raise GemoclapError(f"{name}: no intensity model in it; 'gemoclap pretrain intensity' writes one, RUN/model")
    with readable_errors(name):
        return IntensityModel.from_pretrained(name).eval()


def _fit(
    settings: PretrainSettings,
    model: nn.Module,
    rows: Sequence[Utterance],
    held_out: Sequence[Utterance],
    source: InputSource,
    key: str,
    output: Path,
) -> None:
    state = process_state()
    objective = Reconstruction(settings.model.intensity_weight)
    batches = TrainBatches(rows, source, None, settings.train, state.process_index, state.num_processes)
    label = f"{settings.model.encoder} {settings.model.masking}"
    history = run_epochs(
        model,
        objective,
        batches,
        # The loss does not depend on pairs of utterances, so nothing has to be gathered.
        replace(settings.train, gather=False),
        output,
        run_key=key,
        evaluate=(lambda: held_out_losses(model, objective, held_out, source)) if held_out else None,
        label=label,
    )
    if held_out and settings.model.encoder == "mockingjay":
        on_main_process(lambda: _tell(label, history[-1]))


def _tell(label: str, row: Mapping[str, Any]) -> None:
    """Print the last row of the log on standard error, and a warning if simple guesses are as good as the model."""
    scores = {name.removeprefix("dev_"): value for name, value in row.items() if name.startswith("dev_")}
    print(f"{label}: {in_words(scores)}", file=sys.stderr)
    if guesses := not_beaten(scores):
        print(
            f"beware: {label}: the held-out L1 is not below that of {' or of '.join(guesses)}; train longer or with another "
            "train.lr, and see 'What MockingJay has to beat' in docs/methods.md",
            file=sys.stderr,
        )


def held_out_losses(
    model: nn.Module, objective: Reconstruction, rows: Sequence[Utterance], source: InputSource
) -> dict[str, float]:
    """Return the mean of every named loss over held-out clips. They are masked as in training, with the same masks each time.

    For MockingJay this includes the losses of simple guesses (`l1_beside_guesses`).
    """
    model.eval()
    device = process_state().device
    sums: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(HELD_OUT_SEED)
        for batch in eval_batches(rows, source, None, 16):
            moved = batch.to(device)
            outputs = model(**moved.inputs)
            losses = objective(outputs, moved.targets)
            if isinstance(model, MockingJayForPretraining):
                losses |= l1_beside_guesses(outputs, model.encoder.config.n_mels)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
    return {name: value / len(rows) for name, value in sums.items()}


def save_encoder(
    model: MockingJayForPretraining | NPCForPretraining,
    folder: Path,
    settings: PretrainSettings,
    rows: Sequence[Utterance] = (),
) -> None:
    """Save the encoder without its heads, as a folder that every command accepts as an audio encoder.

    `rows` are its training utterances, for the model card. None means that the encoder is not trained.
    """
    learnt_from = _labelled_by_way_of_intensity(settings) if rows else []
    remember(model.encoder.config, labelled=learnt_from, heard=named_speakers(rows))
    SpeechEncoder(model.encoder, do_normalize=False).save_pretrained(folder)
    if rows:
        write_encoder_card(folder / "README.md", settings, rows)


def _labelled_by_way_of_intensity(settings: PretrainSettings) -> list[str]:
    """Return the speakers whose labels were used indirectly.

    They are those that the intensity model was trained on, if its curves decide masks or are a target.
    """
    if not settings.needs_intensity:
        return []
    return load_intensity_model(str(settings.model.intensity_model)).config.trained_speakers or []


def _hash(rows: Sequence[Utterance]) -> str:
    """Return a hash of the utterances, 16 hex digits."""
    lines = sorted(f"{row.id} {row.path} {row.start} {row.end}" for row in rows)
    return hashlib.sha256(as_bytes("\n".join(lines))).hexdigest()[:16]


def _weights_hash(settings: PretrainSettings) -> str | None:
    if not settings.needs_intensity:
        return None
    weights = Path(str(settings.model.intensity_model)) / "model.safetensors"
    return file_hash(weights) if weights.is_file() else None
