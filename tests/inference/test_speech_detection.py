"""Speech detection against Silero's own network and rules."""

from __future__ import annotations

import importlib.util
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sound import noise
from torch import Tensor

from gemoclap.audio import load_audio
from gemoclap.corpora.synthetic import generate
from gemoclap.errors import GemoclapError
from gemoclap.inference import silero
from gemoclap.inference.silero import CONTEXT, FRAME, SIZE, SpeechNet, load_speech_net, speech_probabilities
from gemoclap.inference.speech import GROUP, Speech, SpeechDetector, SpeechRules, SpeechState, has_speech

PACKAGE = Path(find_spec("silero_vad").submodule_search_locations[0])  # type: ignore[union-attr, index]


def silero_rules() -> ModuleType:
    """Import Silero's rules without the package, which would limit torch to one thread."""
    spec = importlib.util.spec_from_file_location("silero_rules", PACKAGE / "utils_vad.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(CONTEXT, np.float32), np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)


def test_the_network_is_the_packages_own() -> None:
    theirs = torch.jit.load(PACKAGE / "data" / "silero_vad.jit")
    weights = {}
    for name, weight in theirs.state_dict().items():
        if name.startswith("_model."):
            name = name.removeprefix("_model.").replace("stft.forward_basis_buffer", "stft_conv.weight")
            name = name.replace("decoder.rnn.", "lstm_cell.").replace("decoder.decoder.2.", "final_conv.")
            for layer in range(4):
                name = name.replace(f"encoder.{layer}.reparam_conv", f"conv{layer + 1}")
            weights[name] = weight
    sound = noise(40 * FRAME / 16000).astype(np.float32) * np.repeat(np.linspace(0, 3, 40), FRAME).astype(np.float32)
    with torch.no_grad():
        expected = [theirs(torch.from_numpy(frame)[None], 16000).item() for frame in sound.reshape(-1, FRAME)]
    found, *_ = speech_probabilities(SpeechNet(weights), sound, *start())
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_voices_are_speech_and_noise_tones_and_silence_are_not(tmp_path: Path) -> None:
    rows = generate(tmp_path, speakers=2, sentences=1, takes=1)
    voices = np.concatenate([load_audio(row.path) for row in rows])
    time = np.arange(len(voices)) / 16000
    for sound, low, high in (
        (voices, 0.7, 1.0),
        (0.05 * noise(len(voices) / 16000), 0.0, 0.05),
        (0.3 * np.sin(2 * np.pi * 440 * time), 0.0, 0.05),
        (np.zeros(len(voices)), 0.0, 0.0),
    ):
        whole = sound[: len(sound) // FRAME * FRAME].astype(np.float32)
        found, *_ = speech_probabilities(load_speech_net(), whole, *start())
        assert low <= (found > 0.5).mean() <= high


def test_a_clip_has_speech_wherever_it_is_in_it(tmp_path: Path) -> None:
    row = generate(tmp_path, speakers=1, sentences=1, takes=1)[0]
    voice, hiss = load_audio(row.path), (0.02 * noise(4.0)).astype(np.float32)
    for before in (0, 5000, 64000):
        sound = np.concatenate([hiss[:before], voice])
        assert has_speech([sound]) and has_speech(np.array_split(sound, 37))
    assert not has_speech([hiss]) and not has_speech([]) and not has_speech(np.array_split(hiss, 37))
    read: list[int] = []
    assert has_speech(block for block in np.array_split(np.tile(voice, 50), 100) if read.append(0) is None)
    assert len(read) < 5  # the rest is not looked at


def test_a_missing_or_other_package_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_speech_net.cache_clear()
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(GemoclapError, match="pip install silero-vad=="):
        load_speech_net()
    (tmp_path / "silero_vad" / "data").mkdir(parents=True)
    (tmp_path / "silero_vad" / "data" / silero.WEIGHTS).write_bytes(b"others")
    (tmp_path / "silero_vad" / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location(
        "silero_vad", tmp_path / "silero_vad" / "__init__.py", submodule_search_locations=[str(tmp_path / "silero_vad")]
    )
    monkeypatch.setattr(silero, "find_spec", lambda name: spec)
    with pytest.raises(GemoclapError, match=r"not the weights of silero-vad"):
        load_speech_net()


class Spelt:
    """Finds the probability of a frame in its first sample."""

    def __call__(self, frames: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return frames[:, CONTEXT], hidden, cell


def detected(probabilities: np.ndarray, rules: SpeechRules) -> list[Speech]:
    """Return what a detector says of frames with these probabilities, group by group."""
    sound = np.zeros(len(probabilities) * FRAME, np.float32)
    sound[::FRAME] = probabilities
    detector = SpeechDetector(Spelt(), rules, SpeechState())  # type: ignore[arg-type]
    found = [speech for place in range(0, len(sound), GROUP) for speech in detector.add(sound[place : place + GROUP])]
    return found + detector.finish()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rules", [SpeechRules(), SpeechRules(0.7, 0.1, 0.0), SpeechRules(0.4, 1.0, 0.8)])
def test_the_rules_are_those_of_silero(seed: int, rules: SpeechRules) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, 60)
    probabilities = np.concatenate(
        [rng.uniform(*rng.choice([(0, 0.3), (0.2, 0.8), (0.6, 1)]), size) for size in lengths]
    )
    # Where silence and speech take turns at once, and nobody speaks at the end.
    probabilities = np.append(probabilities, np.zeros(50)).astype(np.float32)
    expected = silero_rules().get_speech_timestamps_from_probs(
        probabilities.tolist(),
        threshold=rules.threshold,
        sampling_rate=16000,
        min_speech_duration_ms=1000 * rules.min_speech,
        min_silence_duration_ms=1000 * rules.min_silence,
        speech_pad_ms=30,
        audio_length_samples=len(probabilities) * FRAME,
    )
    found = [speech for speech in detected(probabilities, rules) if speech.has_ended]
    assert [(one.first, one.until) for one in found] == [(one["start"], one["end"]) for one in expected]
    assert len(found) > 1


def test_what_is_said_early_stays_true() -> None:
    probabilities = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [5, 40, 6, 70, 30, 33]).astype(np.float32)
    found = detected(probabilities, SpeechRules())
    ended = [speech for speech in found if speech.has_ended]
    assert [(one.first, one.until) for one in ended] == [
        (5 * FRAME - 480, 121 * FRAME + 480),
        (151 * FRAME - 480, 184 * FRAME),
    ]
    for early in found:
        (whole,) = [one for one in ended if one.first == early.first]
        assert early.until <= whole.until


def test_a_pause_at_the_end_is_no_speech() -> None:
    ended = detected(np.repeat([1.0, 0.0], [20, 5]).astype(np.float32), SpeechRules())[-1]
    assert ended == Speech(0, 20 * FRAME + 480, True)
