"""A training killed anywhere and started again ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

SCRIPT = Path(__file__).with_name("tiny_training.py")


def run_plans(plans: list[dict[str, Any]]) -> str:
    command = [sys.executable, str(SCRIPT), json.dumps(plans)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def random_deaths(chance: random.Random) -> list[tuple[str, float]]:
    return [
        ("before rename", 1),
        ("step", chance.randint(1, 4)),
        ("writing", chance.randint(1, 4)),
        ("step", chance.randint(1, 6)),
        ("before rename", chance.randint(1, 4)),
        ("after rename", chance.randint(1, 4)),
        ("validation", 1),
        ("seconds", chance.uniform(0.02, 0.1)),
        ("seconds", chance.uniform(0.02, 0.2)),
    ]


def best_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "checkpoints" / "best.safetensors").read_bytes()).hexdigest()


def last_state(folder: Path) -> dict[str, Any]:
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    del state["log_bytes"]  # depends on how many digits the times have
    return state


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in found:
        row.pop("seconds", None)
    return found


def assert_same(first: Any, second: Any) -> None:
    """Compare nested states, tensors bit by bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def test_a_killed_training_ends_as_an_undisturbed_one(tiny: ModuleType, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {"plain": {}, "averaged": {"ema_decay": 0.9}}
    plans = [
        {
            "folder": str(tmp_path / f"killed {name}"),
            "settings": {"epochs": 8, **chosen},
            "deaths": random_deaths(random.Random(name)),
        }
        for name, chosen in settings.items()
    ]
    told = run_plans(plans)
    assert told.count(": -9") >= 12, told
    for name, chosen in settings.items():
        whole, killed = tmp_path / f"whole {name}", tmp_path / f"killed {name}"
        tiny.train(whole, epochs=8, **chosen)
        assert best_hash(killed) == best_hash(whole)
        assert_same(last_state(killed), last_state(whole))
        assert rows(killed) == rows(whole)
        left = {path.name for path in (killed / "checkpoints").iterdir()}
        assert left == {"last.pt", "best.safetensors"}
