from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from weakseg.refine.prompts import box_of, grid_within, peaks_of, regions_of

REGIONS = hnp.arrays(np.bool_, (7, 9))


def two_blobs() -> np.ndarray:
    region = np.zeros((20, 30), bool)
    region[2:5, 3:6] = True
    region[10:18, 12:25] = True
    return region


@settings(deadline=None)
@given(REGIONS)
def test_regions_part_the_whole_and_shrink(region: np.ndarray) -> None:
    regions = regions_of(region, limit=100)
    np.testing.assert_array_equal(sum((r.astype(int) for r in regions), np.zeros((7, 9))), region)
    sizes = [int(r.sum()) for r in regions]
    assert sizes == sorted(sizes, reverse=True)


def test_the_largest_regions_come_first_and_small_ones_not_at_all() -> None:
    assert [int(r.sum()) for r in regions_of(two_blobs(), limit=5)] == [104, 9]
    assert [int(r.sum()) for r in regions_of(two_blobs(), limit=1)] == [104]
    assert [int(r.sum()) for r in regions_of(two_blobs(), limit=5, min_pixels=10)] == [104]
    assert regions_of(np.zeros((4, 4), bool), limit=5) == []


def test_a_box_encloses_its_region_and_no_more() -> None:
    large, small = regions_of(two_blobs(), limit=2)
    assert box_of(large).tolist() == [12, 10, 25, 18]
    assert box_of(small).tolist() == [3, 2, 6, 5]


@settings(deadline=None)
@given(hnp.arrays(np.float32, (7, 9), elements={"min_value": 0, "max_value": 1}))
def test_the_first_peak_is_the_highest_pixel_of_the_region(score: np.ndarray) -> None:
    region = np.zeros((7, 9), bool)
    region[2:6, 1:8] = True
    peaks = peaks_of(score, region, limit=3)
    assert 1 <= len(peaks) <= 3
    heights = [score[int(y), int(x)] for x, y in peaks]
    assert all(region[int(y), int(x)] for x, y in peaks)
    assert heights[0] == score[region].max()
    assert heights == sorted(heights, reverse=True)


def test_peaks_keep_their_distance() -> None:
    region = np.ones((10, 41), bool)
    score = np.zeros((10, 41), np.float32)
    score[5, [4, 6, 30]] = [0.9, 0.8, 0.7]
    assert peaks_of(score, region, limit=2).tolist() == [[4, 5], [30, 5]]


def test_the_grid_is_the_frames_and_only_that_on_the_region() -> None:
    region = np.zeros((40, 80), bool)
    region[:20, :40] = True
    points = grid_within(region, points_per_side=4)
    assert points.tolist() == [[10, 5], [30, 5], [10, 15], [30, 15]]
    assert len(grid_within(np.ones((40, 80), bool), points_per_side=4)) == 16
    speck = np.zeros((40, 80), bool)
    speck[0, 0] = True
    assert grid_within(speck, points_per_side=4).shape == (0, 2)
