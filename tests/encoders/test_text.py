"""TextEncoder against plain transformers and sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny import PROMPTS, save_text_encoder, text_config, text_tokenizer
from transformers import AutoModel, AutoTokenizer, T5Config

from gemoclap.encoders import text
from gemoclap.encoders.text import TextEncoder, minilm_folder
from gemoclap.errors import GemoclapError

UNEVEN_PROMPTS = ("sad", "The emotion is angry and then some more of it", "The emotion is happy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_text_encoder(tmp_path)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_equals_transformers_prompt_by_prompt(folder: Path, pooling: Literal["first", "mean"]) -> None:
    encoder = TextEncoder.from_pretrained(str(folder), pooling).eval()
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        vectors = encoder(UNEVEN_PROMPTS)
        states = [plain(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0] for prompt in UNEVEN_PROMPTS]
    expected = torch.stack([state[0] if pooling == "first" else state.mean(0) for state in states])
    assert vectors.shape == (3, encoder.output_dim)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tiny", "minilm"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_prompt_does_not_depend_on_its_neighbours(folder: Path, name: str, pooling: Literal["first", "mean"]) -> None:
    encoder = TextEncoder.from_pretrained(name if name == "minilm" else str(folder), pooling).eval()
    with torch.no_grad():
        together = encoder(UNEVEN_PROMPTS)
        one_by_one = torch.cat([encoder([prompt]) for prompt in UNEVEN_PROMPTS])
    torch.testing.assert_close(together, one_by_one, atol=1e-5, rtol=0)


def test_minilm_equals_sentence_transformers() -> None:
    encoder = TextEncoder.from_pretrained("minilm").eval()
    reference = SentenceTransformer(str(minilm_folder()), device="cpu")
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(encoder(UNEVEN_PROMPTS), dim=-1)
    expected = torch.from_numpy(reference.encode(list(UNEVEN_PROMPTS), show_progress_bar=False))
    assert encoder.output_dim == 384
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_pooling_picked_by_auto(folder: Path) -> None:
    assert TextEncoder.from_pretrained("minilm").pooling == "mean"
    assert TextEncoder.from_pretrained("minilm", "first").pooling == "first"
    assert TextEncoder.from_pretrained(str(folder)).pooling == "first"


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_every_parameter_has_a_gradient(pooling: Literal["first", "mean"]) -> None:
    encoder = TextEncoder.from_config(text_config(), text_tokenizer(), pooling).train()
    encoder(PROMPTS).square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_a_frozen_encoder_keeps_still_in_training(folder: Path) -> None:
    encoder = TextEncoder.from_pretrained(str(folder))
    encoder.train()
    assert not torch.equal(encoder(PROMPTS), encoder(PROMPTS))
    encoder.freeze()
    encoder.train()
    vectors = encoder(PROMPTS)
    assert torch.equal(vectors, encoder(PROMPTS))
    assert not vectors.requires_grad


def test_other_weights_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / text.MINILM_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(text, "files", lambda name: package)
    minilm_folder.cache_clear()
    try:
        with pytest.raises(GemoclapError, match="SHA-256"):
            minilm_folder()
        (package / "model" / "model.safetensors").unlink()
        with pytest.raises(GemoclapError, match="pip install"):
            minilm_folder()
    finally:
        minilm_folder.cache_clear()


def test_what_is_no_text_encoder(folder: Path, tmp_path: Path) -> None:
    T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8, vocab_size=10).save_pretrained(tmp_path / "t5")
    for name in ("t5", "missing"):
        with pytest.raises(GemoclapError, match=name):
            TextEncoder.from_pretrained(str(tmp_path / name))
    with pytest.raises(GemoclapError, match="auto, first or mean"):
        TextEncoder.from_pretrained(str(folder), "last")  # type: ignore[arg-type]


def test_a_prompt_too_long_to_read(folder: Path) -> None:
    encoder = TextEncoder.from_pretrained(str(folder))
    with pytest.raises(GemoclapError, match="60"):
        encoder(["The emotion is " + "very " * 40 + "sad"])
