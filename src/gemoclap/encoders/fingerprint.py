"""Hashes the weights of an encoder, and everything else that its output depends on, for the keys of caches."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def fingerprint(module: nn.Module, *determinants: Any) -> str:
    """Return a hash, 16 hex digits, of all weights and buffers of `module`, and of the plain data in `determinants`."""
    digest = hashlib.sha256(json.dumps(determinants, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # It is viewed as bytes, because NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
