"""Train a network so that stopping at any moment, even by force, changes nothing.

No step depends on the history of the process: the random numbers of step s come from (seed, s),
its learning rate from s, the batches of epoch e from the sampler's pure function of e. So
weights, optimiser and counters are all it takes to go on exactly.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from weakseg.data.batches import make_loader
from weakseg.training.companion import Companion
from weakseg.training.engine import make_fabric, repeatable_kernels
from weakseg.training.errors import TrainingError
from weakseg.training.metrics_log import MetricsLog
from weakseg.training.order import BatchOrder, batches_of
from weakseg.training.progress import clock_face, track
from weakseg.training.schedule import Schedule
from weakseg.training.settings import FitSettings
from weakseg.training.signals import Interrupted, StopFlag
from weakseg.training.state import OptimizerFactory, Position, TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]
StepLoss = Callable[[nn.Module, Batch], dict[str, Tensor]]
Validate = Callable[[nn.Module], dict[str, float]]
OnLog = Callable[[dict[str, float | int | str], int], None]


@dataclass(frozen=True)
class FitResult:
    """What a training ended with: the best epoch's figures, its number from 1, all epochs."""

    best: dict[str, float]
    best_epoch: int
    epochs: int


def fit(
    model: nn.Module,
    *,
    optimizer_factory: OptimizerFactory,
    dataset: Dataset[Any],
    sampler: BatchOrder,
    step_loss: StepLoss,
    validate: Validate,
    monitor: str | None,
    settings: FitSettings,
    checkpoints: Path,
    on_log: OnLog,
    stop: StopFlag,
    log_path: Path,
    companion: Companion | None = None,
) -> FitResult:
    """Train `model`, going on from `checkpoints` if a training was begun there.

    Afterwards `model` holds the best weights, on the training device, in evaluation mode.
    A training that is already complete returns at once.

    Args:
        model: The network. Its weights count only if there is nothing to go on from.
        optimizer_factory: Makes the optimiser of parameter groups. Biases and other vectors
            come in a group of their own, without weight decay.
        dataset: Gives the samples of the sampler's keys.
        sampler: Gives each epoch's batches.
        step_loss: Gives the losses of a batch: "loss" is minimised, the others are told.
        validate: Gives an epoch's figures. Called without gradients, in evaluation mode.
        monitor: The figure whose highest value makes an epoch the best; the first wins ties.
            None takes the last epoch, whatever its figures.
        settings: Length, precision and care.
        checkpoints: Folder of `last.pt`, to go on from, and `best.safetensors`, to use.
        on_log: Gets every row of figures, and the steps taken so far.
        stop: Looked at after every step.
        log_path: JSON lines of the same rows, wound back when a training goes on.
        companion: What goes through the training beside the network; None for nothing.

    Raises:
        Interrupted: If `stop` was set; the state is saved.
        TrainingError: If the loss is not finite, or `checkpoints` belong to other settings.
    """
    lengths = [len(batches_of(sampler, epoch, settings)) for epoch in range(settings.epochs)]
    if min(lengths) == 0:
        raise ValueError("the sampler gives an epoch without batches: there is nothing to train on")
    fabric = make_fabric(settings.accelerator, settings.precision)
    state = TrainingState(
        model,
        optimizer_factory=optimizer_factory,
        fabric=fabric,
        settings=settings,
        steps=sum(lengths),
        folder=checkpoints,
        metrics=MetricsLog(log_path),
        companion=companion,
    )
    loop = _Loop(fabric, state, settings=settings, steps=sum(lengths), on_log=on_log, stop=stop)
    with repeatable_kernels(settings.deterministic):
        state.restore()
        while not state.at.is_complete:
            started = time.monotonic()
            loop.obey_stop()
            loop.train_epoch(dataset, sampler, step_loss)
            loop.end_epoch(validate, monitor, started)
    state.load_best()
    model.eval()
    return FitResult(best=state.best, best_epoch=state.best_epoch, epochs=settings.epochs)


class _Loop:
    """The steps and epochs that move a training's state."""

    def __init__(
        self,
        fabric: Fabric,
        state: TrainingState,
        *,
        settings: FitSettings,
        steps: int,
        on_log: OnLog,
        stop: StopFlag,
    ) -> None:
        self.fabric = fabric
        self.state = state
        self.settings = settings
        self.steps = steps
        self.schedule = Schedule(
            steps, settings.warmup_fraction, settings.lr_decay, settings.lr_decay_power
        )
        self.on_log = on_log
        self.stop = stop

    def train_epoch(self, dataset: Dataset[Any], sampler: BatchOrder, step_loss: StepLoss) -> None:
        """Take the steps of the epoch that are still to be taken."""
        state, settings = self.state, self.settings
        left = batches_of(sampler, state.at.epoch, settings)[state.at.batch :]
        loader = make_loader(dataset, left, workers=settings.workers)
        what = f"epoch {state.at.epoch + 1}/{settings.epochs}"
        state.wrapped_model.train()
        try:
            for batch in track(loader, total=len(left), what=what, unit="steps"):
                self.take_step(batch, step_loss)
                self.obey_stop()
                state.save_if_due()
        except RuntimeError as error:
            # A signal to the whole process group kills the reading processes too, and torch then
            # raises anywhere, even within a step: go on from the saved state, not from this one.
            if self.stop.is_set and "DataLoader worker" in str(error):
                raise self._interrupted() from error
            raise

    def take_step(self, batch: Batch, step_loss: StepLoss) -> None:
        """Move the weights once."""
        state = self.state
        torch.manual_seed(seed_of_step(self.settings.seed, state.at.step))
        lr = self.schedule.apply(state.optimizer, state.at.step)
        state.begin_step(self.steps)
        losses = step_loss(state.wrapped_model, self.fabric.to_device(batch))
        # One transfer for all of them: each would make the GPU wait.
        values = torch.stack([part.detach().float() for part in losses.values()]).tolist()
        parts = dict(zip(losses, values, strict=True))
        self._refuse_non_finite(parts, lr)
        state.wrapped_optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(losses["loss"])
        norm = self._clip()
        # With a scaler, a gradient that overflows is skipped and the scale lowered.
        if state.scaler is None:
            self._refuse_non_finite({**parts, "gradient_norm": norm}, lr)
        state.wrapped_optimizer.step()
        state.end_step()
        for name, value in parts.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        state.at = Position(state.at.epoch, state.at.batch + 1, state.at.step + 1)
        if state.at.step % self.settings.log_every == 0:
            steps = {f"step/{name}": value for name, value in parts.items()}
            self._tell({**steps, "step/gradient_norm": norm, "step/lr": lr})

    def end_epoch(self, validate: Validate, monitor: str | None, started: float) -> None:
        """Validate, keep the best weights, save, and tell the epoch's figures."""
        state, epochs = self.state, self.settings.epochs
        torch.manual_seed(seed_of_step(self.settings.seed, state.at.step))
        figures = self._validate(validate)
        if monitor is not None and monitor not in figures:
            known = ", ".join(figures)
            raise ValueError(f"monitor must be one of the validation's {known}, got {monitor!r}")
        is_best = (
            monitor is None
            or not state.best
            or _rank(figures[monitor]) > _rank(state.best[monitor])
        )
        if is_best:
            state.keep_best(figures)
        shown = {f"train/{name}": total / state.at.batch for name, total in state.sums.items()}
        shown.update({f"val/{name}": value for name, value in figures.items()})
        seconds = time.monotonic() - started
        self._tell({**shown, "seconds": round(seconds, 3)})
        epoch = state.at.epoch + 1
        state.at = Position(epoch, 0, state.at.step, is_complete=epoch == epochs)
        state.sums = {}
        state.save()
        told = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        mark = " (best so far)" if is_best else ""
        left = clock_face(seconds * (epochs - epoch))
        took = clock_face(seconds)
        log.info("epoch %d/%d: %s%s, %s, about %s left", epoch, epochs, told, mark, took, left)

    def obey_stop(self) -> None:
        """Save and stop if somebody asked for it."""
        if self.stop.is_set:
            self.state.save()
            raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            f"training was stopped by {self.stop.reason} after step {self.state.at.step} of "
            f"{self.steps}: run the same command again to go on"
        )

    def _clip(self) -> float:
        limit = self.settings.gradient_clip
        norm = self.fabric.clip_gradients(
            self.state.wrapped_model,
            self.state.wrapped_optimizer,
            max_norm=math.inf if limit is None else limit,
            error_if_nonfinite=False,
        )
        assert norm is not None  # Fabric gives one whenever a longest norm is asked for.
        return float(norm)

    def _refuse_non_finite(self, parts: dict[str, float], lr: float) -> None:
        if all(map(math.isfinite, parts.values())):
            return
        at = self.state.at
        told = ", ".join(f"{name} {value:g}" for name, value in parts.items())
        raise TrainingError(
            f"training left the finite numbers at step {at.step + 1} (epoch {at.epoch + 1}, batch "
            f"{at.batch + 1}): {told}. Lower the learning rate ({lr:g} at this step) or train "
            f"with precision 32; {self.state.path} keeps the last saved state"
        )

    def _validate(self, validate: Validate) -> dict[str, float]:
        module = self.state.wrapped_model
        if self.state.average is not None:
            module = self.fabric.setup_module(self.state.average.module)
        module.eval()
        with torch.no_grad():
            return {name: float(value) for name, value in validate(module).items()}

    def _tell(self, row: dict[str, float]) -> None:
        full: dict[str, float | int | str] = {"epoch": self.state.at.epoch + 1, **row}
        self.state.metrics.append({"step": self.state.at.step, **full})
        self.on_log(full, self.state.at.step)


def seed_of_step(seed: int, step: int) -> int:
    """Return the seed of a step's random numbers, unrelated to those of other steps."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _rank(value: float) -> float:
    """Order figures so that NaN comes last."""
    return -math.inf if math.isnan(value) else value
