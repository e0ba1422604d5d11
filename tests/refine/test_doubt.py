"""Bands about edges and about the cut are ignored, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.arrays import Mask
from weakseg.refine.doubt import ignore_near_edges, ignore_uncertain


@pytest.mark.parametrize("pixels", [0, 0.9, 1, 1.5, 3])
def test_edge_band_is_what_lies_near_the_other_class(
    rng: np.random.Generator, pixels: float
) -> None:
    mask = np.zeros((20, 23), np.uint8)
    mask[4:13, 6:18] = 1
    mask[rng.random(mask.shape) < 0.1] = 255
    expected = mask.copy()
    for y, x in np.argwhere(mask != 255):
        others = np.argwhere(mask == 1 - mask[y, x])
        distance = np.sqrt(((others - (y, x)) ** 2).sum(1)).min()
        if distance <= pixels:
            expected[y, x] = 255
    np.testing.assert_array_equal(ignore_near_edges(mask, pixels=pixels), expected)


def test_without_an_edge_nothing_is_ignored() -> None:
    for fill in (0, 1, 255):
        mask = np.full((5, 6), fill, np.uint8)
        np.testing.assert_array_equal(ignore_near_edges(mask, pixels=9), mask)


def test_the_mask_given_is_left_as_it_is(plume_mask: Mask) -> None:
    before = plume_mask.copy()
    assert (ignore_near_edges(plume_mask, pixels=2) == 255).any()
    ignore_uncertain(plume_mask, plume_mask.astype(np.float32) * 0.5, threshold=0.5, width=0.5)
    np.testing.assert_array_equal(plume_mask, before)


def test_uncertain_band_lies_about_the_cut() -> None:
    smoke = np.linspace(0, 1, 101, dtype=np.float32)[None]
    mask = (smoke >= 0.5).astype(np.uint8)
    found = ignore_uncertain(mask, smoke, threshold=0.5, width=0.21)
    np.testing.assert_array_equal(found == 255, (smoke > 0.395) & (smoke < 0.605))
    np.testing.assert_array_equal(ignore_uncertain(mask, smoke, threshold=0.5, width=0.0), mask)


def test_wrong_input_is_refused() -> None:
    mask = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="pixels must"):
        ignore_near_edges(mask, pixels=-1)
    with pytest.raises(ValueError, match="smoke must"):
        ignore_uncertain(mask, np.zeros((4, 5), np.float32), threshold=0.5, width=0.1)
    with pytest.raises(ValueError, match="width must"):
        ignore_uncertain(mask, np.zeros((4, 4), np.float32), threshold=0.5, width=2)
