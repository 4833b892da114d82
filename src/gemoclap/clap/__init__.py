"""The GEmo-CLAP family: Emo-CLAP, SL-GEmo-CLAP, ML-GEmo-CLAP (Pan et al., arXiv 2306.07848).

Importing this package registers the model with transformers.
"""

from gemoclap.clap.audio_classification import GEmoClapForAudioClassification

__all__ = ["GEmoClapForAudioClassification"]
