"""Settings of the loss and of the training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class ObjectiveSettings:
    """Loss; docs/methods.md has the formulas.

    Args:
        alpha: Weight of emotion in SL- and ML-GEmo-CLAP [S, C] and in multi_task [C]. Gender has the weight 1 - alpha.
        target: How the contrastive methods turn each row of the target matrix into probabilities: softmax [P], or row_sum
            (divide by the sum of the row) [C].
        scale: Factor s on the cosines in AM-Softmax [C].
        margin: Margin m that AM-Softmax subtracts from the cosine of the true class [C].
        votes: Train on the raters' votes: the target is the share of each class in the votes of an utterance, not its one
            label [C]. For ce, multi_task and the contrastive methods; needs a manifest with votes.
    """

    alpha: float = 0.9
    target: Literal["softmax", "row_sum"] = "softmax"
    scale: float = 30.0
    margin: float = 0.2
    votes: bool = False

    def __post_init__(self) -> None:
        check_limits("objective", self, alpha=SHARE, scale=POSITIVE, margin=AT_LEAST_0)


@dataclass
class TrainSettings:
    """Training.

    Args:
        epochs: Number of passes over the training set [C; P: 50].
        batch_size: Utterances per batch, in each process [C; P: 8].
        batch_seconds: Largest length of a batch in seconds of audio, padding included, in each process; replaces
            batch_size. A batch then holds many short clips or a few long ones.
        batching: How utterances are grouped into batches. dealt = clips of similar length, with emotions and genders spread
            evenly over the batches, which changes what a contrastive batch has to tell apart [C]; bucketed = clips of
            similar length, otherwise at random [C]; shuffled = at random [P], which needs more padding.
        chunk_size: Utterances that pass through the encoders at a time, to save memory. The loss and the gradients are
            still those of the whole batch; a second forward pass is the price. null = the whole batch at once.
        balance: Draw the same number of utterances from every class in an epoch, which helps UAR where a class is rare [C].
            The length of an epoch stays the same.
        balance_corpora: Draw the same number of utterances from every corpus in an epoch, where several are trained on
            together [C]. With 'balance', the classes within each corpus are drawn evenly too. The length of an epoch stays
            the same.
        lr: Peak learning rate of Adam [C; P: 1e-5].
        encoder_lr: Peak learning rate of the encoders' own weights; heads and projections use 'lr' [C]. null = 'lr'.
        weight_decay: Decoupled weight decay (AdamW) [C]. 0 = plain Adam [P].
        warmup_epochs: Length of the linear warm-up of the learning rate, in epochs [C; P: 5].
        schedule: Learning rate after the warm-up: constant [C], or cosine (falls to zero along a cosine).
        accumulate: Number of batches whose gradients are added up for one optimiser step.
        clip_norm: Largest gradient norm; larger gradients are scaled down to it. null = no clipping.
        gather: Compute the contrastive loss over the batches of all processes together. false = over each process's own
            batch.
        gradient_checkpointing: Save memory: keep only the output of each transformer layer and compute the rest again in
            the backward pass. About a third slower.
        compile: Compile the transformer layers with torch.compile. Worth it on a GPU; compiling takes minutes.
        precision: Precision of the training: no (float32), bf16, fp16, or auto (bf16 on a GPU that has it, otherwise
            float32).
        select: Epoch to report: last, or dev (the epoch with the best UAR on the development speakers; needs
            data.dev_speakers).
        seed: Seed of initialisation, batch order, dropout and augmentation.
        checkpoint_steps: Save a checkpoint every so many steps, also within an epoch. null = at the end of an epoch only.
        trackers: Experiment trackers to log to: any of tensorboard, wandb, mlflow.
    """

    epochs: int = 25
    batch_size: int = 16
    batch_seconds: float | None = None
    batching: Literal["dealt", "bucketed", "shuffled"] = "dealt"
    chunk_size: int | None = None
    balance: bool = False
    balance_corpora: bool = False
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
        if self.batch_seconds is None and self.batch_size < 2:
            raise GemoclapError(
                f"train.batch_size is {self.batch_size}: with every method a batch has two utterances or more, because "
                "contrastive losses compare them; set --train.batch_size to 2 or more"
            )
        if self.compile and self.gradient_checkpointing:
            raise GemoclapError("train.compile and train.gradient_checkpointing do not go together; set one of them")
        if self.batching == "shuffled" and self.batch_seconds is not None:
            raise GemoclapError(
                "train.batching shuffled takes batches of train.batch_size clips, because as many seconds at random are "
                "another number of batches in every epoch; set train.batch_seconds to null, or train.batching to bucketed"
            )
