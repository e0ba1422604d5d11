"""A training can be given its number of steps, whatever the number of frames."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weakseg.training import FitSettings, Interrupted, StopFlag
from weakseg.training.schedule import Schedule


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("steps", "epochs"), [(10, 3), (3, 3), (17, 2)])
def test_a_training_can_have_exactly_so_many_steps(
    tiny: ModuleType, tmp_path: Path, steps: int, epochs: int
) -> None:
    """Of 6 batches a pass: less than one pass, or several, in parts of equal length."""
    seen: list[Tensor] = []

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(batch["image"])
        return tiny.tiny_loss(model, batch)

    tiny.train(tmp_path, step_loss=loss, max_steps=steps, epochs=epochs, log_every=1)
    found = rows(tmp_path)
    ends = [row["step"] for row in found if "train/loss" in row]
    assert ends == [steps * (part + 1) // epochs for part in range(epochs)]
    rates = [row["step/lr"] for row in found if "step/lr" in row]
    whole = Schedule(steps=steps)
    assert rates == pytest.approx([0.05 * whole.factor(step) for step in range(steps)])
    # The data are gone through in their order, pass by pass, across the ends of the parts.
    keys = [keys for number in range(3) for keys in tiny.Order().batches(number)]
    for image, batch in zip(seen, keys[:steps], strict=True):
        assert torch.equal(image, torch.stack([tiny.Noise()[key]["image"] for key in batch]))


def test_a_training_of_so_many_steps_goes_on_exactly(tiny: ModuleType, tmp_path: Path) -> None:
    stop = StopFlag()
    calls = 0

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 8:
            stop.set("SIGTERM")
        return tiny.tiny_loss(model, batch)

    settings = {"max_steps": 14, "epochs": 3}
    with pytest.raises(Interrupted, match="after step 8 of 14"):
        tiny.train(tmp_path / "stopped", step_loss=loss, stop=stop, **settings)
    tiny.train(tmp_path / "stopped", step_loss=loss, **settings)
    assert calls == 14
    tiny.train(tmp_path / "whole", **settings)
    stopped, whole = (
        (tmp_path / name / "checkpoints" / "best.safetensors").read_bytes()
        for name in ("stopped", "whole")
    )
    assert stopped == whole


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_steps": 2, "epochs": 3}, "max_steps must be at least 3"),
        ({"max_steps": 9, "max_steps_per_epoch": 3}, "both say how long to train"),
    ],
)
def test_impossible_lengths_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FitSettings(**settings)


@pytest.mark.parametrize(("decay", "half"), [("cosine", 0.5), ("poly", 0.25), ("constant", 1.0)])
def test_the_rate_falls_as_asked(decay: str, half: float) -> None:
    schedule = Schedule(100, 0.0, decay, 2.0)
    assert schedule.factor(0) == 1
    assert schedule.factor(50) == pytest.approx(half)
    assert schedule.factor(100) == (1 if decay == "constant" else 0)


def test_the_decay_reaches_the_training(tiny: ModuleType, tmp_path: Path) -> None:
    asked = {"lr_decay": "poly", "lr_decay_power": 0.5, "warmup_fraction": 0.25}
    tiny.train(tmp_path, max_steps=8, epochs=2, log_every=1, **asked)
    rates = [row["step/lr"] for row in rows(tmp_path) if "step/lr" in row]
    whole = Schedule(8, 0.25, "poly", 0.5)
    assert rates == pytest.approx([0.05 * whole.factor(step) for step in range(8)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"lr_decay": "steps"}, "lr_decay must be"), ({"lr_decay_power": 0.0}, "lr_decay_power must")],
)
def test_impossible_decays_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FitSettings(**settings)
