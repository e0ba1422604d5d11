"""A search gives every point once, the same again from the same history, and learns where told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from weakseg.stages.sweeps.file import Metric
from weakseg.stages.sweeps.search import (
    BayesSearch,
    GridSearch,
    RandomSearch,
    Search,
    Seen,
    point_id,
)
from weakseg.stages.sweeps.space import Parameter, Value, read_parameter
from weakseg.targets import ConfigurationError


def space(**items: Any) -> dict[str, Parameter]:
    return {name: read_parameter(name, item) for name, item in items.items()}


def explore(
    search: Search, judge: Callable[[dict[str, Value]], float | None] = lambda values: 0.0
) -> list[Seen]:
    history: list[Seen] = []
    while len(history) < search.total:
        values = search.propose(history)
        if values is None:
            break
        metric = judge(values)
        history.append(Seen(values, metric, metric is None))
    return history


NUMBERS: dict[str, dict[str, Any]] = {
    "whole": {"min": 1, "max": 4},
    "real": {"min": 0.5, "max": 2.0},
    "exponent": {"distribution": "log_uniform", "min": -2, "max": 0},
    "logarithmic": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-2},
    "steps": {"distribution": "q_uniform", "min": 0.1, "max": 0.9, "q": 0.2},
    "normal": {"distribution": "q_normal", "mu": 3, "sigma": 1, "q": 0.5},
}
BOUNDS = {
    "whole": (1, 4),
    "real": (0.5, 2.0),
    "exponent": (math.exp(-2), 1),
    "logarithmic": (1e-4, 1e-2),
    "steps": (0.0, 1.0),
    "normal": (-9, 15),
}


def test_grid_is_every_combination_in_the_order_of_the_file() -> None:
    grid = GridSearch(space(a={"values": ["x", "y"]}, b={"min": 1, "max": 3}), cap=None)
    history = explore(grid)
    assert [(s.values["a"], s.values["b"]) for s in history] == [
        (a, b) for a in "xy" for b in (1, 2, 3)
    ]
    assert grid.propose(history) is None


def test_grid_that_has_grown_goes_on_with_what_is_new() -> None:
    history = explore(GridSearch(space(a={"values": [1, 2]}), cap=None))
    grown = GridSearch(space(a={"values": [3, 2, 1]}), cap=None)
    assert grown.propose(history) == {"a": 3}
    assert not grown.includes({"a": 7})
    assert GridSearch(space(a={"values": [1, 2, 3]}), cap=2).total == 2


def test_steps_of_a_grid_are_wandbs() -> None:
    # As in wandb, the maximum of q_uniform is left out.
    assert read_parameter("steps", NUMBERS["steps"]).grid == (0.1, 0.3, 0.5, 0.7)
    assert read_parameter("a", {"distribution": "q_uniform", "min": 2, "max": 8, "q": 2}).grid == (
        2,
        4,
        6,
    )


def test_drawn_points_differ_keep_to_their_bounds_and_come_again() -> None:
    search = RandomSearch(space(**NUMBERS), total=100, seed=3)
    history = explore(search)
    assert len({point_id(seen.values) for seen in history}) == 100
    for name, (low, high) in BOUNDS.items():
        values = [seen.values[name] for seen in history]
        assert all(low <= value <= high for value in values), name  # type: ignore[operator]
        assert len(set(map(str, values))) > 3
    assert {type(seen.values["whole"]) for seen in history} == {int}
    assert explore(RandomSearch(space(**NUMBERS), total=5, seed=3)) == history[:5]
    assert explore(RandomSearch(space(**NUMBERS), total=5, seed=4)) != history[:5]


def test_probabilities_are_kept() -> None:
    shares = {"values": ["rare", "often"], "probabilities": [0.1, 0.9]}
    drawn = explore(RandomSearch(space(a=shares, b=NUMBERS["real"]), total=100, seed=0))
    rare = sum(seen.values["a"] == "rare" for seen in drawn)
    # 10 of 100 on average, with a standard deviation of 3; alike they would be 50.
    assert 1 <= rare <= 25


@pytest.mark.parametrize("kind", ["random", "bayes"])
def test_small_space_is_used_up_and_no_point_comes_twice(kind: str) -> None:
    small = space(a={"values": [1, 2]}, b={"values": ["x", "y"]})
    if kind == "bayes":
        pytest.importorskip("optuna")
        search: Search = BayesSearch(small, Metric("m", "maximize"), total=9, seed=0)
    else:
        search = RandomSearch(small, total=9, seed=0)
    history = explore(search, lambda values: float(values["a"]))  # type: ignore[arg-type]
    assert len(history) == len({point_id(seen.values) for seen in history}) == 4


BAYES = {"x": {"min": 0.0, "max": 1.0}, "kind": {"values": ["bad", "good"]}, "k": NUMBERS["whole"]}


def valley(values: dict[str, Value]) -> float:
    x = values["x"]
    assert isinstance(x, float)
    return abs(x - 0.7) + (0.5 if values["kind"] == "bad" else 0.0)


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_bayes_finds_more_good_points_than_chance(goal: str) -> None:
    pytest.importorskip("optuna")
    sign = 1.0 if goal == "minimize" else -1.0

    def near(history: list[Seen]) -> int:
        return sum(valley(dict(seen.values)) < 0.15 for seen in history[10:])

    found = explore(
        BayesSearch(space(**BAYES), Metric("m", goal), total=40, seed=0),
        lambda values: sign * valley(values),
    )
    by_chance = explore(RandomSearch(space(**BAYES), total=40, seed=0))
    # By chance 15 % of the points lie there.
    assert near(found) >= 2 * near(by_chance)


def test_bayes_chooses_the_same_again_but_other_points_beside_running_ones() -> None:
    pytest.importorskip("optuna")

    def search() -> BayesSearch:
        return BayesSearch(space(**BAYES), Metric("m"), total=30, seed=1)

    history = explore(search(), valley)[:12]
    first = search().propose(history)
    assert first is not None
    assert search().propose(history) == first
    assert search().propose([*history, Seen(first)]) != first
    failed = [*history, Seen(first, None, has_failed=True)]
    assert search().propose(failed) not in (None, first)


def test_bayes_refuses_what_it_cannot_search() -> None:
    pytest.importorskip("optuna")
    for item in (NUMBERS["normal"], {"values": [1, 2], "probabilities": [0.5, 0.5]}):
        with pytest.raises(ConfigurationError, match=r"parameters.a: method: bayes knows values"):
            BayesSearch(space(a=item), Metric("m"), total=3, seed=0)
