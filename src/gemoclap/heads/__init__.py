"""Plain heads on a speech encoder: baselines for every method, and the last stage of GMP-TL.

Importing this package registers the model with transformers.
"""

from gemoclap.heads.audio_classification import SpeechForAudioClassification

__all__ = ["SpeechForAudioClassification"]
