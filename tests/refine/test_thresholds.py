from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakseg.refine import (
    EvidenceStatistics,
    FalseAlarmThreshold,
    FixedThreshold,
    HighestThreshold,
    MixtureThreshold,
    OtsuThreshold,
    SizeThreshold,
    ThresholdChoice,
    ThresholdRule,
)

PEAKS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)
RULES = [
    FixedThreshold(),
    FalseAlarmThreshold(),
    OtsuThreshold(),
    MixtureThreshold(),
    SizeThreshold(),
    HighestThreshold(),
]


def smoke_free(peaks: list[float]) -> EvidenceStatistics:
    """Count frames of 100 pixels with 5 at their peak, and 0 elsewhere."""
    statistics = EvidenceStatistics()
    for i, peak in enumerate(peaks):
        smoke = np.zeros((10, 10), np.float32)
        smoke[0, :5] = peak
        statistics.add(f"frame{i:03d}", smoke, label=0, probability=0.1)
    return statistics


def two_levels(low: float, high: float, share: float, *, frames: int = 3) -> EvidenceStatistics:
    """Count smoke frames around two scores, `share` of the pixels around the high one."""
    rng = np.random.default_rng(0)
    statistics = smoke_free([0.05])
    for i in range(frames):
        centre = np.where(np.arange(4000) < share * 4000, high, low)
        smoke = np.clip(rng.normal(centre, 0.04), 0, 1).astype(np.float32).reshape(40, 100)
        statistics.add(f"smoke{i}", smoke, label=1, probability=0.9)
    return statistics


def test_the_false_alarm_rule_finds_the_smallest_threshold_that_keeps_its_promise() -> None:
    peaks = [i / 100 for i in range(100)]
    choice = FalseAlarmThreshold(target=0.1, min_area=0.05).choose(smoke_free(peaks))
    alarms = sum(peak >= choice.threshold for peak in np.float32(peaks))
    earlier = sum(peak >= choice.threshold - 1 / 256 for peak in np.float32(peaks))
    assert alarms <= 10 < earlier
    assert choice.detail["alarm_share"] == alarms / 100
    assert choice.detail["target_met"]


def test_regions_under_the_minimum_area_raise_no_alarm() -> None:
    choice = FalseAlarmThreshold(target=0, min_area=0.06).choose(smoke_free([0.9, 0.8]))
    assert choice.threshold == 1 / 256


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1)
)
def test_a_higher_target_never_raises_the_threshold(
    peaks: list[float], one: float, other: float
) -> None:
    statistics = smoke_free(peaks)
    strict = FalseAlarmThreshold(target=min(one, other)).choose(statistics)
    loose = FalseAlarmThreshold(target=max(one, other)).choose(statistics)
    assert loose.threshold <= strict.threshold


def test_a_target_out_of_reach_is_told() -> None:
    choice = FalseAlarmThreshold(target=0).choose(smoke_free([1.0]))
    assert choice.threshold == 255 / 256
    assert not choice.detail["target_met"]
    assert choice.detail["alarm_share"] == 1


def test_the_floor_bounds_the_threshold_where_no_frame_does() -> None:
    statistics = smoke_free([0.0, 0.0])
    assert FalseAlarmThreshold().choose(statistics).threshold == 1 / 256
    assert FalseAlarmThreshold(floor=0.2).choose(statistics).threshold == 0.2


def test_the_ceiling_keeps_one_saturated_frame_from_cutting_all_smoke() -> None:
    statistics = smoke_free([1.0, 0.3, 0.2])
    bounded = FalseAlarmThreshold(target=0, ceiling=0.9).choose(statistics)
    assert bounded.threshold == 0.9
    assert bounded.detail["target_met"] is False
    reached = FalseAlarmThreshold(target=0.5, ceiling=0.9).choose(statistics)
    assert reached.threshold == FalseAlarmThreshold(target=0.5).choose(statistics).threshold < 0.9
    assert reached.detail["target_met"] is True
    with pytest.raises(ValueError, match="ceiling must be at least"):
        FalseAlarmThreshold(floor=0.5, ceiling=0.4)


@pytest.mark.parametrize("rule", [OtsuThreshold(), MixtureThreshold()])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_two_levels_are_parted_between_them(rule: ThresholdRule, share: float) -> None:
    choice = rule.choose(two_levels(0.2, 0.8, share))
    assert 0.35 < choice.threshold < 0.65
    assert 0.2 < choice.low < choice.high < 0.8
    assert choice.low <= choice.threshold <= choice.high


def test_otsu_agrees_with_brute_force(rng: np.random.Generator) -> None:
    smoke = rng.beta(0.5, 2, (30, 30)).astype(np.float32)
    statistics = EvidenceStatistics()
    statistics.add("a", smoke, label=1, probability=1)
    centres = (np.floor(smoke * 256) + 0.5) / 256

    def between(edge: int) -> float:
        above = smoke >= edge / 256
        gap = centres[above].mean() - centres[~above].mean()
        return float(above.mean() * (1 - above.mean()) * gap**2)

    edges = [edge for edge in range(1, 256) if 0 < (smoke >= edge / 256).sum() < smoke.size]
    best = max(edges, key=between)
    assert OtsuThreshold().choose(statistics).threshold == pytest.approx(best / 256)


def test_the_mixture_cuts_lower_than_otsu_beside_a_narrow_background() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0.1, 0.01, 5000), rng.normal(0.6, 0.15, 1000)
    smoke = np.clip(np.concatenate([narrow, wide]), 0, 1).astype(np.float32)[None]
    statistics = EvidenceStatistics()
    statistics.add("a", smoke, label=1, probability=1)
    mixture = MixtureThreshold().choose(statistics)
    assert 0.1 < mixture.threshold < OtsuThreshold().choose(statistics).threshold - 0.05
    assert mixture.detail["means"] == pytest.approx([0.1, 0.6], abs=0.03)


def test_the_size_rule_reaches_the_expected_share() -> None:
    smoke = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    statistics = EvidenceStatistics()
    statistics.add("a", smoke, label=1, probability=1)
    choice = SizeThreshold(expected_share=0.1).choose(statistics)
    assert choice.threshold == pytest.approx(0.9, abs=1 / 256)
    assert choice.low == pytest.approx(0.85, abs=1 / 256)
    assert choice.high == pytest.approx(0.95, abs=1 / 256)
    assert choice.detail["share_reached"] <= 0.1


def test_frames_the_classifier_doubts_do_not_move_the_threshold() -> None:
    statistics = two_levels(0.2, 0.8, 0.3)
    before = OtsuThreshold().choose(statistics)
    statistics.add("doubted", np.full((40, 100), 0.01, np.float32), label=1, probability=0.2)
    assert OtsuThreshold().choose(statistics) == before


def test_the_highest_rule_is_the_most_careful_of_its_parts() -> None:
    statistics = two_levels(0.2, 0.8, 0.3)
    low, otsu = FixedThreshold(value=0.1), OtsuThreshold()
    choice = HighestThreshold((low, otsu)).choose(statistics)
    assert choice.threshold == otsu.choose(statistics).threshold
    assert choice.rule == "highest:otsu"
    assert [part["rule"] for part in choice.detail["choices"]] == ["fixed", "otsu"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_every_rule_survives_frames_of_one_score(rule: ThresholdRule, level: float) -> None:
    statistics = EvidenceStatistics()
    for label in (0, 1):
        smoke = np.full((4, 4), level, np.float32)
        statistics.add(f"f{label}", smoke, label=label, probability=0.5)
    choice = rule.choose(statistics)
    assert 1 / 256 <= choice.low <= choice.threshold <= choice.high <= 1


@pytest.mark.parametrize("rule", RULES)
def test_choices_travel_as_json(rule: ThresholdRule) -> None:
    choice = rule.choose(two_levels(0.2, 0.8, 0.3))
    told = ThresholdChoice.from_dict(json.loads(json.dumps(choice.to_dict())))
    assert (told.low, told.threshold, told.high) == (choice.low, choice.threshold, choice.high)
    assert told.rule == choice.rule
    json.dumps(rule.settings())


@pytest.mark.parametrize(
    "rule",
    [FixedThreshold(0.4, band=0.25), FalseAlarmThreshold(floor=0.4, ceiling=0.4, band=0.25)],
)
def test_the_ignore_band_is_a_share_of_the_way_to_either_end(rule: ThresholdRule) -> None:
    choice = rule.choose(two_levels(0.2, 0.8, 0.3))
    assert (choice.low, choice.threshold, choice.high) == pytest.approx((0.3, 0.4, 0.55))


def test_otsus_band_is_a_share_of_the_way_to_either_mean() -> None:
    choice = OtsuThreshold(band=0.25).choose(two_levels(0.2, 0.8, 0.3))
    middle = choice.threshold
    assert choice.low == pytest.approx(middle - 0.25 * (middle - 0.2), abs=0.005)
    assert choice.high == pytest.approx(middle + 0.25 * (0.8 - middle), abs=0.005)


@pytest.mark.parametrize("kind", [type(rule) for rule in RULES[:-1]])
def test_a_band_of_nothing_ignores_no_score(kind: Any) -> None:
    choice = kind(band=0.0).choose(two_levels(0.2, 0.8, 0.3))
    assert choice.low == choice.threshold == choice.high


def test_a_missing_class_is_named() -> None:
    only_smoke = EvidenceStatistics()
    only_smoke.add("a", np.ones((2, 2), np.float32), label=1, probability=1)
    with pytest.raises(ValueError, match="no smoke-free frame"):
        FalseAlarmThreshold().choose(only_smoke)
    for rule in (OtsuThreshold(), MixtureThreshold(), SizeThreshold()):
        with pytest.raises(ValueError, match="no frame labelled smoke"):
            rule.choose(smoke_free([0.5]))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="target must lie in"):
        FalseAlarmThreshold(target=2)
    with pytest.raises(ValueError, match="value must be at least"):
        FixedThreshold(value=0)
    with pytest.raises(ValueError, match="at least one rule"):
        HighestThreshold(())
    with pytest.raises(ValueError, match="low <= threshold"):
        ThresholdChoice(0.5, 0.6, 0.7, "x")
