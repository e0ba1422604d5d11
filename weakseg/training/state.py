"""Hold everything a training must not forget, save it and take it back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from weakseg.artifacts.atomic import remove_partials
from weakseg.errors import WeightsError
from weakseg.models import load_weights, save_weights
from weakseg.training.checkpoints import load_state, save_state
from weakseg.training.companion import Companion
from weakseg.training.ema import WeightAverage
from weakseg.training.engine import scaler_of
from weakseg.training.errors import TrainingError
from weakseg.training.metrics_log import MetricsLog
from weakseg.training.settings import FitSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


@dataclass(frozen=True)
class Position:
    """Where a training stands; everything counted from 0."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    is_complete: bool = False


class TrainingState:
    """The weights, the optimiser, the counters and the best figures of one training.

    Args:
        model: The trained network, put on Fabric's device.
        optimizer_factory: Makes the optimiser of parameter groups.
        fabric: Device and precision.
        settings: Of the training.
        steps: Steps of the whole training.
        folder: Where `last.pt` and `best.safetensors` are kept.
        metrics: The figures' file, wound back together with the state.
        companion: What is saved and restored with the network; None for nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer_factory: OptimizerFactory,
        fabric: Fabric,
        settings: FitSettings,
        steps: int,
        folder: Path,
        metrics: MetricsLog,
        companion: Companion | None = None,
    ) -> None:
        """Make the state a training starts from."""
        # Channels last: convolutions run up to twice as fast on CPUs and tensor cores.
        self.model = model.to(fabric.device).to(memory_format=torch.channels_last)
        self.optimizer = optimizer_factory(parameter_groups(model))
        self.wrapped_model, self.wrapped_optimizer = fabric.setup(model, self.optimizer)
        decay = settings.ema_decay
        self.average = None if decay is None else WeightAverage(model, decay=decay)
        self.companion = companion
        if companion is not None:
            companion.attach(model)
        self.scaler = scaler_of(fabric)
        self.at = Position()
        self.sums: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.best_epoch = 0
        self.metrics = metrics
        self._fixed = {"steps": steps, "seed": settings.seed, "ema_decay": decay}
        self._pause = settings.checkpoint_seconds
        self._save_due = math.inf
        self._last = folder / "last.pt"
        self._best = folder / "best.safetensors"

    @property
    def kept_model(self) -> nn.Module:
        """The network that is validated and kept: the averaged one if there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def path(self) -> Path:
        """The file to resume from."""
        return self._last

    def begin_step(self, steps: int) -> None:
        """Let the companion know that a step of `steps` is about to be taken."""
        if self.companion is not None:
            self.companion.begin_step(self.at.step, steps)

    def end_step(self) -> None:
        """Let all that follows the weights see where the step led; before it is counted."""
        if self.average is not None:
            self.average.update(self.model)
        if self.companion is not None:
            self.companion.end_step(self.model)

    def keep_best(self, figures: dict[str, float]) -> None:
        """Keep the weights as the best so far, with their figures."""
        self.best, self.best_epoch = dict(figures), self.at.epoch + 1
        save_weights(self._best, self.kept_model)

    def load_best(self) -> None:
        """Put the best weights into the model.

        Raises:
            TrainingError: If their file is missing or damaged.
        """
        try:
            load_weights(self._best, self.model)
        except WeightsError as error:
            folder = self._best.parent
            raise TrainingError(f"{error}; or delete {folder} to train again") from error

    def save_if_due(self) -> None:
        """Save if the last saved state has grown old."""
        if time.monotonic() >= self._save_due:
            self.save()

    def save(self) -> None:
        """Write everything to `last.pt`."""
        started = time.monotonic()
        save_state(self._last, self._give())
        now = time.monotonic()
        # On a slow disk save less often, so that at most a tenth of the time goes into it.
        self._save_due = now + (max(self._pause, 10 * (now - started)) if self._pause else 0.0)

    def restore(self) -> None:
        """Go back to the saved state; without one, save the start.

        Raises:
            TrainingError: If the file is damaged or belongs to other settings.
        """
        remove_partials(self._last.parent)
        if not self._last.exists():
            self.save()
            return
        saved = load_state(self._last)
        try:
            self._take(saved)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"{self._last} belongs to a training with other settings ({error}): "
                "use another folder, or delete this one to start again"
            ) from error
        self._save_due = time.monotonic() + self._pause
        if not self.at.is_complete:
            self.metrics.rewind(saved["log_bytes"])

    def _give(self) -> dict[str, Any]:
        average = self.average
        return {
            "fixed": self._fixed,
            "position": vars(self.at),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "average": None if average is None else average.module.state_dict(),
            "average_updates": 0 if average is None else average.updates,
            "companion": None if self.companion is None else self.companion.state_dict(),
            "sums": self.sums,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "log_bytes": self.metrics.sync(),
        }

    def _take(self, saved: dict[str, Any]) -> None:
        for name, mine in self._fixed.items():
            if saved["fixed"][name] != mine:
                raise ValueError(f"{name} was {saved['fixed'][name]}, now {mine}")
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.module.load_state_dict(saved["average"])
            self.average.updates = saved["average_updates"]
        if self.companion is not None:
            self.companion.load_state_dict(saved["companion"])
        if self.scaler is not None and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        self.at = Position(**saved["position"])
        self.sums = saved["sums"]
        self.best = saved["best"]
        self.best_epoch = saved["best_epoch"]


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Split what is trained into matrices, and vectors (biases, norms) without weight decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1]},
        {
            "params": [parameter for parameter in trained if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]
