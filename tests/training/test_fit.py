"""The training loop learns, keeps the best, stops when asked, and says what goes wrong."""

from __future__ import annotations

import json
import logging
import math
import resource
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from weakseg.errors import ArtifactError
from weakseg.training import FitSettings, Interrupted, StopFlag, TrainingError


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_learns_and_tells_every_epoch(
    tiny: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[dict[str, Any], int]] = []
    with caplog.at_level(logging.INFO):
        result = tiny.train(tmp_path, on_log=lambda row, step: told.append((row, step)))
    epochs = [row for row in rows(tmp_path) if "train/loss" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["train/loss"] < 0.5 * epochs[0]["train/loss"]
    assert result.best["margin"] == max(row["val/margin"] for row in epochs)
    assert result.epochs == 4
    assert [{"step": step, **row} for row, step in told] == rows(tmp_path)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert len(lines) == 4
    assert "left" in lines[0]


def test_the_model_ends_with_the_best_weights(tiny: ModuleType, tmp_path: Path) -> None:
    figures = iter([0.1, 0.7, 0.7, 0.2])
    snapshots: list[dict[str, Tensor]] = []

    def validate(model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        snapshots.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"margin": next(figures)}

    network = tiny.tiny_network()
    result = tiny.train(tmp_path, validate=validate, model=network)
    assert result.best_epoch == 2  # of two equals, the earlier
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, snapshots[1][name])


def test_no_figure_is_worse_than_any_figure(tiny: ModuleType, tmp_path: Path) -> None:
    figures = iter([math.nan, -3.0, math.nan, -4.0])
    result = tiny.train(tmp_path, validate=lambda model: {"margin": next(figures)})
    assert result.best_epoch == 2
    assert any(row.get("val/margin", 0) is None for row in rows(tmp_path))


def test_a_complete_training_returns_at_once(tiny: ModuleType, tmp_path: Path) -> None:
    first_model, second_model = tiny.tiny_network(), tiny.tiny_network()
    first = tiny.train(tmp_path, model=first_model)
    before = rows(tmp_path)

    def never(*args: object) -> dict[str, float]:
        raise AssertionError("called again")

    second = tiny.train(tmp_path, model=second_model, step_loss=never, validate=never)
    assert second == first
    assert rows(tmp_path) == before
    for name, value in first_model.state_dict().items():
        assert torch.equal(second_model.state_dict()[name], value)


def test_a_stopped_training_goes_on_exactly(tiny: ModuleType, tmp_path: Path) -> None:
    stop = StopFlag()
    calls = 0

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 9:
            stop.set("SIGTERM")
        return tiny.tiny_loss(model, batch)

    settings = {"checkpoint_seconds": 1e6}
    with pytest.raises(Interrupted, match="SIGTERM after step 9 of 24"):
        tiny.train(tmp_path / "stopped", step_loss=loss, stop=stop, **settings)
    tiny.train(tmp_path / "stopped", step_loss=loss, **settings)
    assert calls == 24
    tiny.train(tmp_path / "whole")
    stopped, whole = (
        (tmp_path / name / "checkpoints" / "best.safetensors").read_bytes()
        for name in ("stopped", "whole")
    )
    assert stopped == whole


def test_a_loss_that_is_not_finite_is_refused_by_name(tiny: ModuleType, tmp_path: Path) -> None:
    calls = 0

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        parts = tiny.tiny_loss(model, batch)
        return {**parts, "dice": parts["loss"] * (math.nan if calls == 8 else 1.0)}

    with pytest.raises(TrainingError, match=r"step 8 \(epoch 2, batch 2\).*dice nan.*Lower the"):
        tiny.train(tmp_path, step_loss=loss)
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_gradients_that_are_not_finite_are_refused(tiny: ModuleType, tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        root = (model(batch["image"]) * 0).sum().abs().sqrt()  # 0, with an infinite slope
        return {"loss": root}

    with pytest.raises(TrainingError, match="gradient_norm"):
        tiny.train(tmp_path, step_loss=loss)


def test_gradients_are_clipped_and_their_norm_is_told(tiny: ModuleType, tmp_path: Path) -> None:
    network = tiny.tiny_network()
    norms: list[float] = []

    def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))

    handle = register_optimizer_step_pre_hook(look)
    try:
        tiny.train(tmp_path, model=network, epochs=1, gradient_clip=0.01, log_every=1)
    finally:
        handle.remove()
    assert max(norms) <= 0.01 * (1 + 1e-4)
    assert max(row.get("step/gradient_norm", 0) for row in rows(tmp_path)) > 0.1


def test_the_averaged_weights_are_validated_and_kept(tiny: ModuleType, tmp_path: Path) -> None:
    trained = tiny.tiny_network()
    seen: list[Tensor] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(model.state_dict()["0.weight"].clone())
        assert not torch.equal(seen[-1], trained.state_dict()["0.weight"])
        return {"margin": float(len(seen))}

    tiny.train(tmp_path, model=trained, validate=validate, ema_decay=0.9)
    assert torch.equal(trained.state_dict()["0.weight"], seen[-1])


def test_bf16_trains_on_the_cpu(tiny: ModuleType, tmp_path: Path) -> None:
    dtypes: set[torch.dtype] = set()

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        dtypes.add(model(batch["image"]).dtype)
        return tiny.tiny_loss(model, batch)

    result = tiny.train(tmp_path, precision="bf16", step_loss=loss, epochs=2)
    assert result.best["margin"] > 0
    assert dtypes == {torch.float32}  # losses always meet 32 bits


def test_epochs_can_be_cut_short(tiny: ModuleType, tmp_path: Path) -> None:
    tiny.train(tmp_path, max_steps_per_epoch=2, log_every=1)
    assert max(row["step"] for row in rows(tmp_path)) == 8


def test_other_settings_are_not_mixed_into_a_training(tiny: ModuleType, tmp_path: Path) -> None:
    tiny.train(tmp_path, epochs=1)
    with pytest.raises(TrainingError, match="steps was 6, now 12"):
        tiny.train(tmp_path, epochs=2)


def test_a_damaged_checkpoint_is_named(tiny: ModuleType, tmp_path: Path) -> None:
    tiny.train(tmp_path, epochs=1)
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"last\.pt is no checkpoint.*delete it"):
        tiny.train(tmp_path, epochs=1)


def test_a_missing_best_file_is_named(tiny: ModuleType, tmp_path: Path) -> None:
    tiny.train(tmp_path, epochs=1)
    (tmp_path / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"best\.safetensors"):
        tiny.train(tmp_path, epochs=1)


def test_a_disk_that_refuses_is_told_and_loses_nothing(tiny: ModuleType, tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set("SIGTERM")
    with pytest.raises(Interrupted):
        tiny.train(tmp_path, stop=stop)
    last = tmp_path / "checkpoints" / "last.pt"
    before = last.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises((ArtifactError, TrainingError), match=r"cannot write .*last\.pt"):
            tiny.train(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert last.read_bytes() == before


def test_without_a_monitor_the_last_epoch_is_kept(tiny: ModuleType, tmp_path: Path) -> None:
    """However much worse its figures are, and after a stop too."""
    falling = iter((4.0, 3.0, 2.0, 1.0))

    def validate(model: nn.Module) -> dict[str, float]:
        return {"margin": next(falling)}

    last = tiny.train(tmp_path / "last", monitor=None, validate=validate)
    assert (last.best_epoch, last.best) == (4, {"margin": 1.0})
    falling = iter((4.0, 3.0, 2.0, 1.0))
    first = tiny.train(tmp_path / "first", validate=validate)
    assert first.best_epoch == 1
    weights = [tmp_path / name / "checkpoints" / "best.safetensors" for name in ("last", "first")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_a_wrong_monitor_is_answered_with_the_known_ones(tiny: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="margin"):
        tiny.train(tmp_path, validate=lambda model: {"other": 1.0})


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"epochs": 0}, "epochs"),
        ({"precision": "8"}, "precision"),
        ({"ema_decay": 1.5}, "ema_decay"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"max_steps_per_epoch": 0}, "max_steps_per_epoch"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        FitSettings(**wrong)


def test_the_repeatable_option_leaves_torch_as_it_was(tiny: ModuleType, tmp_path: Path) -> None:
    inside: list[bool] = []

    def validate(model: nn.Module) -> dict[str, float]:
        inside.append(torch.are_deterministic_algorithms_enabled())
        return {"margin": 0.0}

    tiny.train(tmp_path, validate=validate, deterministic=True, epochs=1)
    assert inside == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_states_are_saved_as_often_as_asked(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = 0
    plain = torch.save

    def counted(*args: Any) -> None:
        nonlocal saves
        saves += 1
        plain(*args)

    monkeypatch.setattr(torch, "save", counted)
    tiny.train(tmp_path / "every", epochs=1, checkpoint_seconds=0.0)
    assert saves == 1 + 6 + 1  # the start, each step, the end of the epoch
    saves = 0
    tiny.train(tmp_path / "seldom", epochs=1, checkpoint_seconds=3600.0)
    assert saves == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_a_gpu_trains_and_goes_on(tiny: ModuleType, tmp_path: Path, precision: str) -> None:
    stop = StopFlag()

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if time.monotonic() > begin + 0.2:
            stop.set("a test")
        return tiny.tiny_loss(model, batch)

    begin = time.monotonic()
    settings = {"accelerator": "gpu", "precision": precision, "epochs": 40}
    with pytest.raises(Interrupted):
        tiny.train(tmp_path, step_loss=loss, stop=stop, **settings)
    assert tiny.train(tmp_path, **settings).best["margin"] > 0
