"""Names of the methods, and their titles in reports."""

from __future__ import annotations

from collections.abc import Sequence

from gemoclap.errors import GemoclapError, did_you_mean

METHODS = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
"""The contrastive methods, in the paper's order."""
HEADS = ("ce", "am_softmax", "multi_task")
"""Classification heads without prompts on the same speech encoder and the same training: baselines of `METHODS`."""
ONE_TRAINING = (*METHODS, *HEADS)
"""Methods that are one training on an audio encoder, so that encoders and settings can be compared by them."""
TRAINED = (*ONE_TRAINING, "gmp_tl")
"""All methods that are trained by gradient descent."""
VOTED = (*METHODS, "ce", "multi_task")
"""Methods that can train on raters' votes (`ObjectiveSettings.votes`)."""
BASELINES = ("egemaps_svm",)
"""Methods that are fitted without gradient descent, in the same folds."""
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
"""Titles in reports: as the papers write the methods, and our own for the baselines."""
OF_PROMPTS = (
    "text_encoder", "freeze_text", "text_pooling", "emotion_prompt", "gender_prompt", "initial_temperature", "max_temperature",
)  # fmt: skip
"""Model settings that have no effect on a model without prompts."""
OF_PROJECTION = ("projection_dim", "projection_dropout")
"""Model settings that have no effect on a model without a projection."""


FOR_SOME = {
    "objective.alpha": ("sl_gemo_clap", "ml_gemo_clap", "multi_task", "gmp_tl"),
    "objective.target": METHODS,
    "objective.scale": ("am_softmax", "gmp_tl"),
    "objective.margin": ("am_softmax", "gmp_tl"),
    "model.project_plain_heads": (*HEADS, "gmp_tl"),
}
"""Settings that have an effect on some methods only."""


def affected(setting: str, projects: bool) -> tuple[str, ...]:
    """Return the trained methods on which a setting, such as ``objective.alpha``, has an effect.

    `projects` = plain heads have a projection below them (``model.project_plain_heads``).
    """
    if setting.startswith("gmp."):
        return ("gmp_tl",)
    if setting.removeprefix("model.") in meaningless_to_heads(projects):
        return METHODS
    return FOR_SOME.get(setting, TRAINED)


def meaningless_to_heads(projects: bool) -> tuple[str, ...]:
    """Return the model settings that have no effect on a plain head; `projects` = it has a projection below it."""
    return OF_PROMPTS if projects else OF_PROMPTS + OF_PROJECTION


def check_methods(methods: Sequence[str], known: Sequence[str], task: str, kind: str = "") -> None:
    """Raise a GemoclapError unless `methods` are some of the `known` ones, each given once.

    Messages name what is done with them, such as ``"train"``, and what the known ones have in common, such as ``"that is
    trained"``.
    """
    for method in methods:
        if method not in known:
            which = f"no method {kind} is called" if kind else "no method is called"
            raise GemoclapError(f"{which} {method!r}{did_you_mean(method, [*known])}; known: {', '.join(known)}")
        if methods.count(method) > 1:
            raise GemoclapError(f"method {method!r} is given twice; give each once")
    if not methods:
        raise GemoclapError(f"no method to {task}; give some of {', '.join(known)} with --methods")
