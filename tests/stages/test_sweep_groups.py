"""What a sweep's report says: seeds merged, the best against the next, what moves the metric."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from weakseg.stages.sweeps.file import Metric
from weakseg.stages.sweeps.groups import (
    epsilon_squared,
    group_points,
    half_width,
    importance,
    is_seed,
    judge,
    merged_by,
)
from weakseg.stages.sweeps.ledger import FAILED, FINISHED, Point, by_metric
from weakseg.stages.sweeps.verdicts import words_by_setting, words_of

METRIC = Metric("val/iou", "maximize", None)


def point(number: int, metric: float | None, **parameters: object) -> Point:
    status = FINISHED if metric is not None else FAILED
    named = {key.replace("__", "."): value for key, value in parameters.items()}
    return Point(number, f"p{number}", named, (), status=status, metric=metric)  # type: ignore[arg-type]


def test_seeds_are_merged() -> None:
    points = [
        point(0, 0.2, refine="none", seed=0),
        point(1, 0.4, refine="crf", seed=0),
        point(2, 0.3, refine="none", seed=1),
        point(3, None, refine="crf", seed=1),
    ]
    none, crf = group_points(points)
    assert (none.name, none.points, none.mean) == ("refine=none", (0, 2), pytest.approx(0.25))
    assert none.spread == pytest.approx(np.std([0.2, 0.3], ddof=1))
    assert (crf.points, crf.mean) == ((1, 3), 0.4)
    assert math.isnan(crf.spread) and math.isnan(crf.half_width)
    assert is_seed("seed") and is_seed("stage1.seed") and not is_seed("seeds.count")


def test_intervals_are_students() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 5, 11, 12, 30, 200):
        values = rng.normal(size=count)
        low, high = stats.t.interval(
            0.95, count - 1, values.mean(), values.std(ddof=1) / math.sqrt(count)
        )
        assert half_width(list(values)) == pytest.approx((high - low) / 2, rel=0.002)
    assert math.isnan(half_width([1.0]))


def test_the_best_is_set_against_the_next_seed_by_seed() -> None:
    # Both spread by far more than they differ, but differ alike on every seed.
    points = [
        point(2 * seed + (refine == "crf"), 0.1 * seed + gain, refine=refine, seed=seed)
        for seed in range(3)
        for refine, gain in (("none", 0.0), ("crf", 0.05 + 0.001 * seed))
    ]
    verdict = judge(group_points(points), 1.0)
    assert verdict is not None and verdict.other is not None
    assert verdict.best.name == "refine=crf" and verdict.other.name == "refine=none"
    assert verdict.difference == pytest.approx(0.051)
    assert verdict.is_paired and verdict.is_clear
    assert "more than seeds alone make" in words_of(verdict, METRIC)
    less = judge(group_points(points), -1.0)
    assert less is not None and less.best.name == "refine=none"
    assert less.difference == pytest.approx(-0.051)


def test_each_setting_is_judged_with_everything_else_equal() -> None:
    gains = {"none": 0.0, "crf": 0.1, "sam": 0.02}
    points = [
        point(k, 0.3 + gains[refine] + 0.1 * seed + 0.001 * k, refine=refine, rule=rule, seed=seed)
        for k, (refine, rule, seed) in enumerate(
            itertools.product(gains, ("otsu", "size"), (0, 1, 2))
        )
    ]
    # sam lacks the worst seed of one rule: no value is to gain by that.
    points = [
        one for one in points if one.parameters != {"refine": "sam", "rule": "size", "seed": 0}
    ]
    none, crf, sam = merged_by(points, "refine")
    assert [one.name for one in (none, crf, sam)] == ["refine=none", "refine=crf", "refine=sam"]
    whole = {
        (p.parameters["refine"], p.parameters["rule"], p.parameters["seed"]): p for p in points
    }
    for one, refine in ((none, "none"), (sam, "sam")):
        assert one.values["0"] == whole[refine, "otsu", 0].metric
        expected = [whole[refine, rule, 1].metric for rule in ("otsu", "size")]
        assert one.values["1"] == pytest.approx(np.mean(expected))
    first, second = words_by_setting(points, METRIC)
    assert first.startswith("refine=crf (0.5")
    assert "above refine=sam" in first and "more than seeds alone make" in first
    assert second.startswith("rule=size") and "above rule=otsu" in second
    # One setting: the verdict says it. Drawn at random: nothing else is equal.
    assert words_by_setting([p for p in points if p.parameters["rule"] == "otsu"][:0], METRIC) == []
    assert (
        words_by_setting([point(0, 0.3, refine="none"), point(1, 0.4, refine="crf")], METRIC) == []
    )
    drawn = [point(k, 0.3 + 0.1 * k, refine=name, lr=0.1 * k) for k, name in enumerate(gains)]
    assert merged_by(drawn, "refine") == [] and words_by_setting(drawn, METRIC) == []


def test_without_a_seed_nothing_else_counts_as_one() -> None:
    points = [
        point(k, 0.3 + 0.1 * (cam == "b") + 0.001 * k, cam=cam, refine=refine, rule=rule)
        for k, (cam, refine, rule) in enumerate(
            itertools.product("ab", ("none", "crf", "sam"), ("otsu", "size"))
        )
    ]
    for one in (*group_points(points), *merged_by(points, "cam")):
        assert len(one.values) == 1 and math.isnan(one.half_width)
    assert merged_by(points, "cam")[0].mean == pytest.approx(
        np.mean([p.metric for p in points[:6]])
    )
    told = [words_of(judge(group_points(points), 1.0), METRIC), *words_by_setting(points, METRIC)]
    assert len(told) == 4
    for line in told:
        assert "with one seed, nobody knows whether that is more than chance; run three" in line


def test_several_seeds_count_together_in_any_order() -> None:
    points = []
    for refine, gain in (("none", 0.0), ("crf", 0.1)):
        for stage1, stage2 in itertools.product((0, 1), (0, 1)):
            seeds = {"stage1__seed": stage1, "stage2__seed": stage2}
            # As a file says them whose order was changed.
            own = seeds if refine == "crf" else dict(reversed(seeds.items()))
            metric = 0.3 + gain + 0.01 * stage1 + 0.002 * stage2
            points.append(point(len(points), metric, refine=refine, **own))
    for groups in (group_points(points), merged_by(points, "refine")):
        assert [sorted(one.values) for one in groups] == 2 * [["0+0", "0+1", "1+0", "1+1"]]
        verdict = judge(groups, 1.0)
        assert verdict is not None and verdict.is_paired
        assert verdict.difference == pytest.approx(0.1)
        assert verdict.half_width == pytest.approx(0, abs=1e-12)


def test_chance_is_called_chance() -> None:
    values = {"a": (0.30, 0.36, 0.33), "b": (0.34, 0.31, 0.33)}
    points = [
        point(k, value, refine=name, seed=seed)
        for k, (name, seed, value) in enumerate(
            (name, seed, value) for name, own in values.items() for seed, value in enumerate(own)
        )
    ]
    verdict = judge(group_points(points), 1.0)
    assert verdict is not None and not verdict.is_clear
    assert "no more than seeds alone could make" in words_of(verdict, METRIC)
    few = judge(group_points([one for one in points if one.parameters["seed"] != 2]), 1.0)
    assert few is not None
    assert "two seeds are too few to say whether that is chance" in words_of(few, METRIC)


def test_little_is_said_of_little() -> None:
    assert "No finished point has the metric val/iou" in words_of(None, METRIC)
    assert "names no metric" in words_of(None, None)
    one = judge(group_points([point(0, 0.5, refine="crf")]), 1.0)
    assert words_of(one, METRIC) == "Best val/iou: refine=crf, 0.5000 over 1 seed."
    two = judge(group_points([point(0, 0.5, a=1), point(1, 0.4, a=2)]), 1.0)
    assert "run three" in words_of(two, METRIC)
    assert judge([], 1.0) is None


def test_missing_seeds_do_not_turn_a_verdict_round() -> None:
    values = {"a": (0.5, 0.51, 0.9), "b": (0.6, 0.611, None)}
    points = [
        point(k, value, refine=name, seed=seed)
        for k, (name, seed, value) in enumerate(
            (name, seed, value) for name, own in values.items() for seed, value in enumerate(own)
        )
    ]
    verdict = judge(group_points(points), 1.0)
    assert verdict is not None and verdict.best.name == "refine=a"
    assert verdict.is_contradicted and not verdict.is_clear
    assert "wait for the missing ones" in words_of(verdict, METRIC)


def test_too_few_points_say_nothing_of_importance() -> None:
    points = [point(k, 0.1 * k, refine=name, seed=0) for k, name in enumerate("abc")]
    assert importance(points) == {"refine": None, "seed": 0.0}


def test_another_metric_is_read_from_the_figures() -> None:
    made = Point(0, "p", {}, (), status=FINISHED, metric=0.9, figures={"val/loss": 0.1, "ok": True})
    assert by_metric(made, Metric("val/loss", "minimize", None)).metric == 0.1
    assert by_metric(made, Metric("ok", "minimize", None)).metric is None
    assert by_metric(made, None).metric is None


def test_importance_is_the_variance_a_setting_explains() -> None:
    rng = np.random.default_rng(1)
    points = [
        point(k, float(gain + rng.normal(0, 0.01)), refine=refine, lr=float(rng.uniform()), seed=k)
        for k, (refine, gain) in enumerate([("none", 0.0), ("crf", 0.1), ("sam", 0.2)] * 20)
    ]
    found = importance([*points, point(99, None, refine="none", lr=0.5, seed=99)])
    assert next(iter(found)) == "refine"
    assert found["refine"] is not None and found["refine"] > 0.95
    assert found["lr"] is not None and found["lr"] < 0.2, (
        "sixty numbers do not explain what four bins cannot"
    )


def test_epsilon_squared_agrees_with_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    levels = np.repeat([0, 1, 2], 15)
    values = rng.normal(size=45) + 0.8 * levels
    f, _ = stats.f_oneway(*(values[levels == kind] for kind in range(3)))
    expected = 2 * (f - 1) / (2 * f + 42)  # (SSB - df MSW) / SST, by F
    assert epsilon_squared(values, levels.tolist()) == pytest.approx(expected)
    assert epsilon_squared(values, [0] * 45) == 0
    assert epsilon_squared(np.ones(45), levels.tolist()) == 0
    assert epsilon_squared(values[:3], [0, 1, 2]) == 0
