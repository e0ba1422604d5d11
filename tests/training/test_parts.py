"""The loop's parts do their one thing: schedule, average, device, weights, figures."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from weakseg.errors import WeightsError
from weakseg.models import load_weights, save_weights
from weakseg.training.ema import WeightAverage
from weakseg.training.engine import choose_accelerator, choose_precision
from weakseg.training.fit import seed_of_step
from weakseg.training.metrics_log import MetricsLog
from weakseg.training.schedule import Schedule
from weakseg.training.state import parameter_groups


@given(steps=st.integers(1, 500), warmup=st.floats(0, 1))
def test_the_rate_rises_then_falls_and_stays_in_bounds(steps: int, warmup: float) -> None:
    schedule = Schedule(steps=steps, warmup_fraction=warmup)
    factors = [schedule.factor(step) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_the_rate_follows_half_a_cosine() -> None:
    schedule = Schedule(steps=100, warmup_fraction=0.0)
    assert schedule.factor(0) == 1
    assert math.isclose(schedule.factor(50), 0.5)
    assert schedule.factor(100) < 1e-12


def test_every_group_keeps_its_own_full_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = Schedule(steps=10, warmup_fraction=0.0)
    for _ in range(3):  # applying twice changes nothing
        assert math.isclose(schedule.apply(optimizer, 5), 0.5)
    assert math.isclose(optimizer.param_groups[1]["lr"], 0.05)


def test_the_average_of_constant_weights_is_those_weights() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.99)
    for _ in range(5):
        average.update(model)
    assert torch.equal(average.module.state_dict()["weight"], model.weight)


def test_the_average_trails_by_its_momentum_with_buffers_included() -> None:
    model = nn.BatchNorm1d(1)
    average = WeightAverage(model, decay=0.05)  # below the warming momentum (1 + 0) / 10
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(2.0)
        model.num_batches_tracked.fill_(7)
    average.update(model)
    state = average.module.state_dict()
    assert math.isclose(float(state["weight"]), 0.05 * 1 + 0.95 * 3, rel_tol=1e-6)
    assert math.isclose(float(state["running_mean"]), 0.95 * 2, rel_tol=1e-6)
    assert int(state["num_batches_tracked"]) == 7


def test_vectors_are_spared_weight_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    model[2].requires_grad_(False)
    matrices, vectors = parameter_groups(model)
    assert "weight_decay" not in matrices
    assert [p.ndim for p in matrices["params"]] == [2]
    assert vectors["weight_decay"] == 0
    assert len(vectors["params"]) == 3


def test_devices_and_precisions_are_chosen_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_accelerator("auto") == "cpu"
    with pytest.raises(ValueError, match="no CUDA device"):
        choose_accelerator("gpu")
    assert choose_precision("auto", "cpu") == "32-true"
    assert choose_precision("bf16", "cpu") == "bf16-mixed"
    with pytest.raises(ValueError, match="needs a GPU"):
        choose_precision("16", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    assert choose_accelerator("auto") == "cuda"
    assert choose_accelerator("cpu") == "cpu"
    assert choose_precision("auto", "cuda") == "bf16-mixed"


def test_weights_go_to_disk_and_back(tmp_path: Path) -> None:
    first, second = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.normal_(first.weight)
    save_weights(tmp_path / "a.safetensors", first)
    load_weights(tmp_path / "a.safetensors", second)
    assert torch.equal(first.weight, second.weight)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        load_weights(tmp_path / "a.safetensors", nn.Linear(2, 2))


def test_weights_shared_by_two_layers_can_be_written(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(tmp_path / "a.safetensors", model)
    load_weights(tmp_path / "a.safetensors", model)


def test_figures_are_wound_back(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
    assert log.sync() == 0
    log.append({"loss": 1.0})
    length = log.sync()
    log.append({"loss": math.nan})
    assert log.path.read_text() == '{"loss": 1.0}\n{"loss": null}\n'
    log.rewind(length)
    log.rewind(length + 10)  # a file that is shorter already stays
    assert log.path.read_text() == '{"loss": 1.0}\n'


def test_steps_get_unrelated_seeds() -> None:
    seeds = {seed_of_step(seed, step) for seed in range(10) for step in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
