"""Train a tiny network, to be killed at chosen places: used by the tests, and run by them.

`python tiny_training.py JSON` runs plans of a folder, settings and deaths: one attempt after
another, each in a process of its own made by fork (importing torch takes longer than the whole
training), and a last one that may live. A death names the place and the call of it at which the
attempt kills itself with SIGKILL, or seconds after which it is killed wherever it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401 - here, not in every attempt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from weakseg.training import FitResult, FitSettings, StopFlag, fit

FRAMES = 24
BATCH = 4


class Noise(Dataset[dict[str, Tensor]]):
    """Frames of noise whose brightness tells the label, drawn anew in each epoch."""

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        label = float(index % 2)
        image = torch.rand(3, 8, 8, generator=generator) * 0.5 + 0.3 * label
        return {"image": image, "label": torch.tensor(label)}


class Order:
    """A new shuffle in each epoch."""

    def batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        shuffle = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(epoch)).tolist()
        return [[(epoch, i) for i in shuffle[k : k + BATCH]] for k in range(0, FRAMES, BATCH)]


def tiny_network() -> nn.Module:
    """A network with all that makes resuming hard: batch norm, dropout, momentum."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 1),
    )


def tiny_loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of the label."""
    logits = model(batch["image"])[:, 0]
    loss = nn.functional.binary_cross_entropy_with_logits(logits, batch["label"])
    return {"loss": loss, "spread": logits.std()}


def tiny_validation(model: nn.Module) -> dict[str, float]:
    """How well the network tells the frames of epoch 99 apart."""
    samples = [Noise()[99, index] for index in range(FRAMES)]
    logits = model(torch.stack([sample["image"] for sample in samples]))[:, 0]
    labels = torch.stack([sample["label"] for sample in samples])
    return {"margin": float(logits[labels == 1].mean() - logits[labels == 0].mean())}


def train(
    folder: Path,
    *,
    step_loss: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]] = tiny_loss,
    validate: Callable[[nn.Module], dict[str, float]] = tiny_validation,
    monitor: str | None = "margin",
    stop: StopFlag | None = None,
    model: nn.Module | None = None,
    on_log: Callable[[dict[str, float | int | str], int], None] = lambda row, step: None,
    **settings: Any,
) -> FitResult:
    """Run the tiny training in `folder`, on the CPU."""
    defaults = {"epochs": 4, "log_every": 2, "checkpoint_seconds": 0.02, "accelerator": "cpu"}
    return fit(
        tiny_network() if model is None else model,
        optimizer_factory=lambda groups: torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1),
        dataset=Noise(),
        sampler=Order(),
        step_loss=step_loss,
        validate=validate,
        monitor=monitor,
        settings=FitSettings(**{**defaults, **settings}),
        checkpoints=folder / "checkpoints",
        on_log=on_log,
        stop=StopFlag() if stop is None else stop,
        log_path=folder / "metrics.jsonl",
    )


def die() -> None:
    """End this process as a crash of the machine would."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable[..., Any], at_call: float, *, after: bool) -> Callable[..., Any]:
    """Wrap a function so that its `at_call`-th call is the process's last deed."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at_call and not after:
            die()
        result = function(*args, **kwargs)
        if calls == at_call:
            die()
        return result

    return wrapped


def attempt(folder: Path, place: str, call: float, settings: dict[str, Any]) -> None:
    """Train, dying at the given call of the given place."""
    torch.set_num_threads(1)
    step_loss, validate = tiny_loss, tiny_validation
    if place == "step":
        step_loss = dying(tiny_loss, call, after=True)
    elif place == "validation":
        validate = dying(tiny_validation, call, after=True)
    elif place == "writing":
        torch.save = dying(torch.save, call, after=True)
    elif place == "before rename":
        os.replace = dying(os.replace, call, after=False)
    elif place == "after rename":
        os.replace = dying(os.replace, call, after=True)
    # The reader's random numbers and Python's hash seed must not matter either.
    torch.manual_seed(os.getpid())
    network = tiny_network()
    torch.manual_seed(os.getpid())
    train(folder, step_loss=step_loss, validate=validate, model=network, **settings)


def run_child(folder: Path, place: str, call: float, settings: dict[str, Any]) -> int:
    """Run one attempt in a process of its own and return how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            attempt(folder, place, call, settings)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if place == "seconds":
        time.sleep(call)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Run the plans."""
    for plan in json.loads(sys.argv[1]):
        for place, call in [*plan["deaths"], ("nowhere", 0)]:
            status = run_child(Path(plan["folder"]), place, call, plan["settings"])
            print(f"{place} {call}: {status}", flush=True)
            if status not in (0, -signal.SIGKILL):
                sys.exit(1)


if __name__ == "__main__":
    main()
