"""The methods by name, and what reports call them."""

from __future__ import annotations

METHODS = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
"""The contrastive methods, in the paper's order."""
HEADS = ("ce", "am_softmax", "multi_task")
"""Plain heads on the same speech encoder, trained alike: what contrast with prompts is to be compared with."""
TRAINED = (*METHODS, *HEADS, "gmp_tl")
"""All methods with gradient descent."""
BASELINES = ("egemaps_svm",)
"""Methods fitted without gradient descent, evaluated in the same folds."""
TITLES = {
    "emo_clap": "Emo-CLAP",
    "sl_gemo_clap": "SL-GEmo-CLAP",
    "ml_gemo_clap": "ML-GEmo-CLAP",
    "ce": "Cross-entropy",
    "am_softmax": "AM-Softmax",
    "multi_task": "Cross-entropy, emotion and gender",
    "gmp_tl": "GMP-TL",
    "egemaps_svm": "eGeMAPS + SVM",
}
"""How the papers write the methods, and reports the baselines."""
OF_PROMPTS = (
    "text_encoder", "freeze_text", "text_pooling", "emotion_prompt", "gender_prompt", "initial_temperature", "max_temperature",
)  # fmt: skip
"""Settings of a model that mean nothing to one without prompts."""
OF_PROJECTION = ("projection_dim", "projection_dropout")
"""Settings of a model that mean nothing to one without a projection."""


def meaningless_to_heads(projects: bool) -> tuple[str, ...]:
    """Return the settings of a model that mean nothing to one with a plain head, whether or not it projects."""
    return OF_PROMPTS if projects else OF_PROMPTS + OF_PROJECTION
