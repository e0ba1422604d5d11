"""Say how long and how carefully to train."""

from __future__ import annotations

from dataclasses import dataclass

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.training.engine import ACCELERATORS, PRECISIONS
from weakseg.training.schedule import DECAYS


@dataclass(frozen=True)
class FitSettings:
    """Settings of the training loop.

    Args:
        epochs: Passes over the data, at least 1. With `max_steps`, parts that the training is
            cut into, each with a validation at its end.
        batch_size: Frames in a step, at least 1; whoever builds the sampler reads it.
        gradient_clip: Longest gradient (2-norm) a step may use, > 0; None leaves it as it is.
        ema_decay: Momentum of the averaged weights, in [0, 1]; None trains without. With it,
            the averaged weights are what is validated and kept as the best.
        precision: auto (bf16 on GPUs that have it, else 32), 32, bf16, or 16 (GPU only).
        accelerator: auto (a GPU if there is one), cpu or gpu.
        workers: Processes that read frames, at least 0; 0 reads in this process.
        checkpoint_seconds: Longest time between two saved states, >= 0; 0 saves every step.
        warmup_fraction: Share of all steps in which the learning rate rises, in [0, 1].
        lr_decay: What the learning rate does after that: cosine, poly or constant; see `Schedule`.
        lr_decay_power: Of poly, > 0.
        seed: Seed of everything random in a step.
        max_steps: Steps of the whole training, at least `epochs`, so that trainings on more or
            less data can be compared: the data are gone through as often, or as far, as it takes.
            The learning rate's schedule has exactly these steps. None lets the data decide.
        max_steps_per_epoch: Cuts epochs short, at least 1; None takes all the data. Not together
            with `max_steps`.
        log_every: Steps between two rows of figures, at least 1.
        deterministic: Ask torch for repeatable GPU kernels, at some cost in speed. The CPU's
            are repeatable anyway, for the same number of threads.
    """

    epochs: int = 6
    batch_size: int = 16
    gradient_clip: float | None = 1.0
    ema_decay: float | None = None
    precision: str = "auto"
    accelerator: str = "auto"
    workers: int = 0
    checkpoint_seconds: float = 60.0
    warmup_fraction: float = 0.1
    lr_decay: str = "cosine"
    lr_decay_power: float = 0.9
    seed: int = 0
    max_steps: int | None = None
    max_steps_per_epoch: int | None = None
    log_every: int = 10
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with."""
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size, log_every=self.log_every)
        check_at_least(0, workers=self.workers, checkpoint_seconds=self.checkpoint_seconds)
        check_in_unit(warmup_fraction=self.warmup_fraction)
        check_one_of(DECAYS, lr_decay=self.lr_decay)
        check_positive(lr_decay_power=self.lr_decay_power)
        check_one_of(PRECISIONS, precision=self.precision)
        check_one_of(ACCELERATORS, accelerator=self.accelerator)
        if self.gradient_clip is not None:
            check_positive(gradient_clip=self.gradient_clip)
        if self.ema_decay is not None:
            check_in_unit(ema_decay=self.ema_decay)
        if self.max_steps_per_epoch is not None:
            check_at_least(1, max_steps_per_epoch=self.max_steps_per_epoch)
        if self.max_steps is not None:
            check_at_least(self.epochs, max_steps=self.max_steps)
            if self.max_steps_per_epoch is not None:
                raise ValueError(
                    "max_steps and max_steps_per_epoch both say how long to train: take one of them"
                )
