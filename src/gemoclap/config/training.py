"""Settings of the loss and of the training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class ObjectiveSettings:
    """The loss; docs/methods.md has it in full.

    Args:
        alpha: Weight of emotion against gender in SL- and ML-GEmo-CLAP [S, C] and in multi_task [C].
        target: Normaliser of the target matrix rows of the contrastive methods: softmax [P] or row_sum [C].
        scale: Of the cosines in AM-Softmax, s [C].
        margin: That AM-Softmax takes from the cosine of the true class, m [C].
    """

    alpha: float = 0.9
    target: Literal["softmax", "row_sum"] = "softmax"
    scale: float = 30.0
    margin: float = 0.2

    def __post_init__(self) -> None:
        check_limits("objective", self, alpha=SHARE, scale=POSITIVE, margin=AT_LEAST_0)


@dataclass
class TrainSettings:
    """One training run.

    Args:
        epochs: Passes over the training set [C; P: 50].
        batch_size: Utterances a batch and process [C; P: 8].
        batch_seconds: Seconds of audio a batch and process may hold with its padding, in place of batch_size: many
            short clips, few long ones.
        batching: Who rides together: dealt = clips of like length, with emotions and genders dealt out evenly, which
            changes what a contrastive batch has to tell apart [C]; bucketed = clips of like length, at random
            otherwise [C]; shuffled = at random [P], with the more padding.
        chunk_size: Utterances that go through the encoders at a time, with the loss over the whole batch all the same;
            the gradients are those of the batch in one piece, at the cost of a second forward pass. Null: all at once.
        balance: Draw as many utterances of every class in an epoch, for UAR where a class is rare [C]; an epoch stays
            as long.
        lr: Peak learning rate of Adam [C; P: 1e-5].
        encoder_lr: Peak learning rate of the encoders' own weights, where heads and projections have 'lr'; null: the same [C].
        weight_decay: Decoupled weight decay [C]; 0 is plain Adam [P].
        warmup_epochs: Linear warm-up [C; P: 5].
        schedule: After the warm-up: constant [C] or cosine down to zero.
        accumulate: Batches whose gradients are added before a step.
        clip_norm: Largest gradient norm; null leaves gradients alone.
        gather: Gather embeddings and labels of all processes for the loss, with gradient, so that the matrix does not
            shrink.
        gradient_checkpointing: Keep the output of each transformer layer only and compute the rest again in the backward
            pass: less memory, about a third slower.
        compile: torch.compile the transformer layers; pays on a GPU, after minutes of compiling.
        precision: auto picks bf16 on devices that have it and no (float32) on a CPU.
        select: Which epoch is reported: the last, or the one with the best UAR on the development speakers (needs
            data.dev_speakers).
        seed: Of initialisation, batch order, dropout and augmentation.
        checkpoint_steps: Also checkpoint within an epoch every so many steps; null only at the end of each epoch.
        trackers: Any of tensorboard, wandb, mlflow.
    """

    epochs: int = 25
    batch_size: int = 16
    batch_seconds: float | None = None
    batching: Literal["dealt", "bucketed", "shuffled"] = "dealt"
    chunk_size: int | None = None
    balance: bool = False
    lr: float = 1e-3
    encoder_lr: float | None = None
    weight_decay: float = 0.01
    warmup_epochs: float = 3.0
    schedule: Literal["constant", "cosine"] = "cosine"
    accumulate: int = 1
    clip_norm: float | None = 5.0
    gather: bool = True
    gradient_checkpointing: bool = False
    compile: bool = False
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    select: Literal["last", "dev"] = "last"
    seed: int = 0
    checkpoint_steps: int | None = None
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_limits(
            "train",
            self,
            epochs=AT_LEAST_1,
            batch_seconds=POSITIVE,
            chunk_size=AT_LEAST_1,
            lr=POSITIVE,
            encoder_lr=POSITIVE,
            weight_decay=AT_LEAST_0,
            warmup_epochs=AT_LEAST_0,
            accumulate=AT_LEAST_1,
            clip_norm=POSITIVE,
            seed=AT_LEAST_0,
            checkpoint_steps=AT_LEAST_1,
        )
        if self.compile and self.gradient_checkpointing:
            raise GemoclapError("train.compile and train.gradient_checkpointing do not go together; set one of them")
        if self.batching == "shuffled" and self.batch_seconds is not None:
            raise GemoclapError(
                "train.batching shuffled takes batches of train.batch_size clips, because as many seconds at random are "
                "another number of batches in every epoch; set train.batch_seconds to null, or train.batching to bucketed"
            )
