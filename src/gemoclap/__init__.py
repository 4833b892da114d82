"""gemoclap: speech emotion recognition by contrastive language-audio pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemoclap.registering import register_with_transformers
from gemoclap.starting import imported_later

if TYPE_CHECKING:
    from gemoclap.clap.model import GEmoClapConfig, GEmoClapModel
    from gemoclap.errors import GemoclapError
    from gemoclap.inference.onnx_predictor import OnnxPredictor
    from gemoclap.inference.prediction import Prediction
    from gemoclap.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["GEmoClapConfig", "GEmoClapModel", "GemoclapError", "OnnxPredictor", "Prediction", "Predictor"]

# torch and transformers are imported only when a name that needs them is asked for: `gemoclap --help` stays quick.
__getattr__ = imported_later(
    __name__,
    {
        "GEmoClapConfig": "gemoclap.clap.model",
        "GEmoClapModel": "gemoclap.clap.model",
        "GemoclapError": "gemoclap.errors",
        "OnnxPredictor": "gemoclap.inference.onnx_predictor",
        "Prediction": "gemoclap.inference.prediction",
        "Predictor": "gemoclap.inference.predictor",
    },
)

register_with_transformers()
