from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.refine.acceptance import COMBINATIONS, RULES, accepts, combine_scores, iou

UNIT_MAPS = hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32))
BOOL_MAPS = hnp.arrays(np.bool_, (5, 6))


def rectangle(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((20, 20), bool)
    mask[rows, columns] = True
    return mask


CAM = rectangle(slice(0, 10), slice(0, 10))


def test_the_thesis_rule_wants_an_iou_above_its_threshold() -> None:
    half = rectangle(slice(0, 10), slice(0, 5))
    assert accepts(half, [CAM], rule="iou", threshold=0.49)
    assert not accepts(half, [CAM], rule="iou", threshold=0.5)


def test_sepl_keeps_a_small_part_inside_and_a_large_mask_that_covers() -> None:
    part = rectangle(slice(0, 2), slice(0, 2))
    astride = rectangle(slice(0, 2), slice(5, 16))  # 10 of 22 pixels inside.
    around = rectangle(slice(0, 9), slice(0, 20))  # Half inside, and it covers 90 %.
    assert accepts(part, [CAM], rule="sepl")
    assert not accepts(part, [CAM], rule="iou")
    assert not accepts(astride, [CAM], rule="sepl")
    assert accepts(around, [CAM], rule="sepl")
    uncovered = rectangle(slice(0, 8), slice(0, 20))
    assert not accepts(uncovered, [CAM], rule="sepl")


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_takes_a_mask_off_the_evidence_or_too_large(rule: str) -> None:
    elsewhere = rectangle(slice(12, 20), slice(12, 20))
    assert not accepts(elsewhere, [CAM], rule=rule)
    assert not accepts(np.ones((20, 20), bool), [CAM], rule=rule, max_area=0.5)
    assert not accepts(np.zeros((20, 20), bool), [CAM], rule=rule)
    assert not accepts(CAM, [], rule=rule)
    assert accepts(CAM, [CAM], rule=rule)


def test_a_mask_of_one_of_two_regions_is_held_against_that_one() -> None:
    other = rectangle(slice(12, 20), slice(0, 20))
    assert iou(CAM, CAM | other) < 0.4
    assert accepts(CAM, [other, CAM], rule="iou", threshold=0.9)


@settings(deadline=None)
@given(
    UNIT_MAPS,
    UNIT_MAPS,
    st.lists(BOOL_MAPS, max_size=3),
    st.sampled_from(COMBINATIONS),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_combined_scores_stay_bounded_and_spare_what_is_sure(
    smoke: np.ndarray,
    evidence: np.ndarray,
    masks: list[np.ndarray],
    combine: str,
    weight: float,
    floor: float,
) -> None:
    out = combine_scores(
        smoke, masks, [], evidence=evidence, combine=combine, weight=weight, floor=floor
    )
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6
    assert np.all(out[evidence >= floor] >= smoke[evidence >= floor] - 1e-6)
    if combine == "union" or not masks:
        assert np.all(out >= smoke - 1e-6)
    if combine == "trim":
        assert np.all(out <= smoke)


def test_scores_move_by_the_weight_on_either_side() -> None:
    smoke = np.array([[0.6, 0.0, 0.4]], np.float32)
    mask = np.array([[True, True, False]])
    common = {"evidence": smoke, "weight": 0.5, "floor": 0.9}

    def combined(combine: str) -> list[float]:
        out = combine_scores(smoke, [mask], [], combine=combine, **common)
        return pytest.approx(out[0].tolist(), abs=1e-6)

    assert combined("union") == [0.8, 0.5, 0.4]
    assert combined("trim") == [0.6, 0.0, 0.2]
    assert combined("blend") == [0.8, 0.5, 0.2]


def test_a_region_that_sam_did_not_answer_is_not_trimmed() -> None:
    smoke = np.array([[0.6, 0.4, 0.1, 0.5, 0.5]], np.float32)
    mask = np.array([[1, 0, 0, 0, 0]], bool)
    regions = [np.array([[1, 1, 0, 0, 0]], bool), np.array([[0, 0, 0, 1, 1]], bool)]
    out = combine_scores(
        smoke, [mask], regions, evidence=smoke, combine="trim", weight=0.5, floor=1.0
    )
    np.testing.assert_allclose(out, [[0.6, 0.2, 0.05, 0.5, 0.5]], atol=1e-6)
