from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.refine import MaskRule, ThresholdChoice, confidence, to_mask
from weakseg.refine.masks import keep_large

SMOKE_SCORES = hnp.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32))
BANDS = st.lists(st.floats(1 / 256, 1), min_size=3, max_size=3).map(sorted)


def flood(region: np.ndarray) -> list[set[tuple[int, int]]]:
    """Return the 8-connected components by the slowest way there is."""
    left = {(int(y), int(x)) for y, x in np.argwhere(region)}
    found = []
    while left:
        component, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(component)
    return found


@settings(deadline=None)
@given(SMOKE_SCORES, BANDS)
def test_the_band_alone_is_ignored(smoke: np.ndarray, band: list[float]) -> None:
    low, threshold, high = band
    mask = to_mask(smoke, threshold=threshold, ignore_band=(low, high))
    for y, x in np.ndindex(*smoke.shape):
        score = smoke[y, x]
        wanted = SMOKE if score >= high else IGNORE if score >= low else BACKGROUND
        assert mask[y, x] == wanted


@settings(deadline=None)
@given(SMOKE_SCORES, st.floats(0.01, 1))
def test_without_a_band_no_pixel_is_ignored(smoke: np.ndarray, threshold: float) -> None:
    mask = to_mask(smoke, threshold=threshold, min_area=0.1)
    assert set(np.unique(mask)) <= {BACKGROUND, SMOKE}


@settings(deadline=None)
@given(SMOKE_SCORES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_higher_threshold_never_adds_smoke(smoke: np.ndarray, one: float, other: float) -> None:
    loose = to_mask(smoke, threshold=min(one, other), min_area=0.1) == SMOKE
    strict = to_mask(smoke, threshold=max(one, other), min_area=0.1) == SMOKE
    assert not np.any(strict & ~loose)


@settings(deadline=None)
@given(hnp.arrays(np.bool_, (6, 7)), st.floats(0, 1))
def test_small_components_are_dropped_as_flooding_says(region: np.ndarray, area: float) -> None:
    wanted = np.zeros_like(region)
    for component in flood(region):
        if len(component) >= area * region.size:
            wanted[tuple(np.transpose(list(component)))] = True
    kept = keep_large(region, min_area=area)
    np.testing.assert_array_equal(kept, wanted)
    np.testing.assert_array_equal(keep_large(kept, min_area=area), kept)


def test_a_speck_is_ignored_with_a_band_and_background_without() -> None:
    smoke = np.zeros((10, 10), np.float32)
    smoke[0, 0] = 0.9
    smoke[4:8, 4:8] = 0.9
    banded = to_mask(smoke, threshold=0.5, ignore_band=(0.4, 0.6), min_area=0.05)
    plain = to_mask(smoke, threshold=0.5, min_area=0.05)
    assert (banded[0, 0], plain[0, 0]) == (IGNORE, BACKGROUND)
    assert (banded == SMOKE).sum() == (plain == SMOKE).sum() == 16


def test_no_score_is_background_even_in_a_band_that_starts_at_zero() -> None:
    mask = to_mask(np.zeros((3, 3), np.float32), threshold=0.5, ignore_band=(0, 1))
    assert np.all(mask == BACKGROUND)


def test_the_rule_cuts_by_the_choice() -> None:
    smoke = np.array([[0.1, 0.45, 0.55, 0.9]], np.float32)
    choice = ThresholdChoice(0.5, 0.4, 0.6, "test")
    assert MaskRule(min_area=0)(smoke, choice).tolist() == [[0, 255, 255, 1]]
    assert MaskRule(ignore_band=False, min_area=0)(smoke, choice).tolist() == [[0, 0, 1, 1]]


def test_a_band_beside_the_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="enclose the threshold"):
        to_mask(np.zeros((2, 2), np.float32), threshold=0.5, ignore_band=(0.6, 0.7))
    with pytest.raises(ValueError, match="threshold must be above 0"):
        to_mask(np.zeros((2, 2), np.float32), threshold=0)


@settings(deadline=None)
@given(SMOKE_SCORES, st.floats(0.01, 0.99), st.floats(0, 1))
def test_confidence_stays_between_its_floor_and_one(
    smoke: np.ndarray, threshold: float, floor: float
) -> None:
    weights = confidence(smoke, threshold=threshold, floor=floor)
    assert weights.dtype == np.float32
    assert weights.min() >= floor - 1e-6
    assert weights.max() <= 1 + 1e-6


def test_confidence_is_full_at_the_ends_and_least_at_the_cut() -> None:
    smoke = np.array([[0, 0.125, 0.25, 0.625, 1]], np.float32)
    weights = confidence(smoke, threshold=0.25)
    np.testing.assert_allclose(weights, [[1, 0.5, 0, 0.5, 1]], atol=1e-6)
