from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.refine.agreement import RoundFigures, StopRule, mask_agreement, mean_known

MASKS = hnp.arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 255]))
SHARES = st.none() | st.floats(0, 1)
FIGURES = st.builds(RoundFigures, SHARES, SHARES, SHARES, SHARES, SHARES, SHARES)
START = RoundFigures(None, auroc=0.9, false_alarms=0.04, recall=0.8, coverage=0.7, smoke_share=0.1)
GOOD = RoundFigures(0.6, auroc=0.92, false_alarms=0.03, recall=0.85, coverage=0.75, smoke_share=0.1)
RULE = StopRule(converged=0.95, false_alarm_target=0.05, tolerance=0.02, max_growth=3)


def after(**changes: float | None) -> RoundFigures:
    return dataclasses.replace(GOOD, **changes)


# ---- agreement


@settings(deadline=None)
@given(MASKS, MASKS)
def test_agreement_is_what_counting_pixels_says(one: np.ndarray, other: np.ndarray) -> None:
    both = either = 0
    for y, x in np.ndindex(*one.shape):
        both += one[y, x] == 1 and other[y, x] == 1
        either += one[y, x] == 1 or other[y, x] == 1
    found = mask_agreement(one, other)
    assert found == (both / either if either else None)
    assert found == mask_agreement(other, one)


def test_ignored_pixels_are_no_smoke() -> None:
    one = np.array([[1, 1, 255, 0]], np.uint8)
    other = np.array([[1, 255, 255, 1]], np.uint8)
    assert mask_agreement(one, other) == pytest.approx(1 / 3)


def test_masks_of_different_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="other must have shape"):
        mask_agreement(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_unknown_values_do_not_count_in_a_mean() -> None:
    assert mean_known([0.2, None, math.nan, 0.4]) == pytest.approx(0.3)
    assert mean_known([None, math.nan]) is None


# ---- figures


def test_figures_survive_json() -> None:
    assert RoundFigures.from_dict(json.loads(json.dumps(START.to_dict()))) == START


def test_figures_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="recall must lie in"):
        RoundFigures(recall=1.2)


# ---- the rule


def test_a_better_round_is_taken_and_the_rounds_go_on() -> None:
    verdict = RULE.judge([START], GOOD)
    assert (verdict.is_accepted, verdict.is_last) == (True, False)


def test_masks_that_stand_still_end_the_rounds() -> None:
    verdict = RULE.judge([START], after(agreement=0.95))
    assert (verdict.is_accepted, verdict.is_last) == (True, True)
    assert "converged" in verdict.reason
    assert not RULE.judge([START], after(agreement=0.949)).is_last


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"false_alarms": 0.06}, "rose from 0.040 to 0.060, above the target of 0.050"),
        ({"recall": 0.77}, "recall fell from 0.800 to 0.770"),
        ({"auroc": 0.87}, "auroc fell from 0.900 to 0.870"),
        ({"coverage": 0.6}, "coverage fell from 0.700 to 0.600"),
        ({"smoke_share": 0.35}, "smoke covers 3.5 times as much as in round 0"),
        # The classifier's gate makes all other figures look well.
        ({"segmenter_auroc": 0.5}, "AUROC of 0.500 only, below 0.800"),
        # Even if nothing moves any more.
        ({"recall": 0.5, "agreement": 1.0}, "recall fell"),
    ],
)
def test_a_worse_round_is_refused_in_words(changes: dict[str, float], words: str) -> None:
    verdict = RULE.judge([START], after(**changes))
    assert (verdict.is_accepted, verdict.is_last) == (False, True)
    assert words in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"false_alarms": 0.05},
        {"recall": 0.78},
        {"auroc": 0.88},
        {"coverage": 0.68},
        {"smoke_share": 0.3},
        {"smoke_share": 0.001},
        {"segmenter_auroc": 0.8},
    ],
)
def test_what_lies_within_the_tolerance_is_taken(changes: dict[str, float]) -> None:
    assert RULE.judge([START], after(**changes)).is_accepted


def test_false_alarms_above_the_target_may_fall_but_not_rise() -> None:
    start = dataclasses.replace(START, false_alarms=0.3)
    assert RULE.judge([start], after(false_alarms=0.2)).is_accepted
    assert not RULE.judge([start], after(false_alarms=0.31)).is_accepted


def test_small_losses_do_not_add_up() -> None:
    rounds = [START, after(recall=0.785), after(recall=0.785)]
    assert RULE.judge(rounds[:1], rounds[1]).is_accepted
    assert not RULE.judge(rounds, after(recall=0.77)).is_accepted


def test_all_that_got_worse_is_told() -> None:
    reason = RULE.judge([START], after(false_alarms=0.5, recall=0.1, auroc=0.5)).reason
    assert all(word in reason for word in ("false alarms", "recall", "auroc"))


def test_what_nobody_knows_decides_nothing() -> None:
    assert RULE.judge([RoundFigures()], GOOD).is_accepted
    verdict = RULE.judge([START], RoundFigures())
    assert (verdict.is_accepted, verdict.is_last) == (True, False)


@settings(deadline=None)
@given(st.lists(FIGURES, min_size=1, max_size=4), FIGURES)
def test_a_refused_round_is_the_last_and_an_accepted_one_keeps_its_promises(
    accepted: list[RoundFigures], now: RoundFigures
) -> None:
    verdict = RULE.judge(accepted, now)
    assert verdict.is_accepted or verdict.is_last
    assert verdict.reason
    if not verdict.is_accepted:
        return
    alarms = [each.false_alarms for each in accepted if each.false_alarms is not None]
    if alarms and now.false_alarms is not None:
        assert now.false_alarms <= max(0.05, min(alarms)) + 1e-6
    for name in ("auroc", "recall", "coverage"):
        earlier = [value for each in accepted if (value := getattr(each, name)) is not None]
        if earlier and getattr(now, name) is not None:
            assert getattr(now, name) >= max(earlier) - 0.02 - 1e-6


@settings(deadline=None)
@given(FIGURES)
def test_the_same_round_again_is_never_worse(figures: RoundFigures) -> None:
    assert RULE.judge([figures], figures).is_accepted


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="converged must lie in"):
        StopRule(converged=1.5)
    with pytest.raises(ValueError, match="max_growth must be at least 1"):
        StopRule(max_growth=0.5)
    with pytest.raises(ValueError, match="round 0"):
        RULE.judge([], GOOD)
