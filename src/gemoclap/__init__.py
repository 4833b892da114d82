"""gemoclap: speech emotion recognition by contrastive language-audio pretraining."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemoclap.registering import register_with_transformers

if TYPE_CHECKING:
    from gemoclap.clap.model import GEmoClapConfig, GEmoClapModel
    from gemoclap.errors import GemoclapError
    from gemoclap.inference.onnx_predictor import OnnxPredictor
    from gemoclap.inference.prediction import Prediction
    from gemoclap.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["GEmoClapConfig", "GEmoClapModel", "GemoclapError", "OnnxPredictor", "Prediction", "Predictor"]

_HOMES = {
    "GEmoClapConfig": "gemoclap.clap.model",
    "GEmoClapModel": "gemoclap.clap.model",
    "GemoclapError": "gemoclap.errors",
    "OnnxPredictor": "gemoclap.inference.onnx_predictor",
    "Prediction": "gemoclap.inference.prediction",
    "Predictor": "gemoclap.inference.predictor",
}


def __getattr__(name: str) -> Any:
    """Import torch and transformers only when a name that needs them is asked for: `gemoclap --help` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gemoclap' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


register_with_transformers()
