"""Boundary counts look at the edges only."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.arrays import Mask
from weakseg.labels import IGNORE
from weakseg.metrics import boundary_counts, count, iou


def brute_band(mask: Mask, width: int) -> np.ndarray:
    """Pixels of the mask with a pixel outside it, or the frame's outside, within `width`."""
    height, columns = mask.shape
    padded = np.pad(mask, width)
    band = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(columns):
            window = padded[y : y + 2 * width + 1, x : x + 2 * width + 1]
            band[y, x] = bool(mask[y, x]) and not window.all()
    return band


def test_counts_agree_with_brute_force(plume_mask: Mask) -> None:
    predicted = np.roll(plume_mask, 3, axis=1)
    width = round(0.05 * np.hypot(*plume_mask.shape))
    assert width == 4
    expected = count(
        brute_band(predicted, width).astype(np.uint8),
        brute_band(plume_mask, width).astype(np.uint8),
    )
    assert boundary_counts(predicted, plume_mask, dilation=0.05) == expected


def test_the_same_mask_is_perfect(plume_mask: Mask) -> None:
    assert iou(boundary_counts(plume_mask, plume_mask)) == 1


def test_a_ragged_edge_costs_more_at_the_boundary_than_in_the_area() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[10:90, 10:90] = 1
    predicted = np.roll(truth, 3, axis=0)
    assert iou(boundary_counts(predicted, truth)) < 0.7 * iou(count(predicted, truth))


def test_ignored_pixels_neither_count_nor_make_an_edge() -> None:
    truth = np.ones((40, 40), np.uint8)
    truth[:, 20:] = IGNORE
    counts = boundary_counts(np.ones_like(truth), truth)
    assert iou(counts) == 1
    assert counts.pixels == 800
    inner = count(np.ones_like(truth), truth).tp - counts.tp
    assert inner == 38 * 19  # a band of one pixel along three sides only


def test_empty_masks_are_right_and_sizes_checked() -> None:
    empty = np.zeros((8, 8), np.uint8)
    assert iou(boundary_counts(empty, empty)) == 1
    with pytest.raises(ValueError, match="predicted must have shape"):
        boundary_counts(empty[1:], empty)
