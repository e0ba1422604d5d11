"""Cells average their pixels, give them back, and never widen the range of the scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weakseg.refine.cells import resize_scores, shrink_within, to_cells, to_pixels


def test_cells_average_their_pixels() -> None:
    scores = np.zeros((6, 10), np.float32)
    scores[:4, :4] = 1
    scores[4:, 8:] = 0.5
    np.testing.assert_array_equal(to_cells(scores, 6, 10, 4), [[1, 0, 0], [0, 0, 0.5]])


def test_a_slope_survives_the_way_there_and_back() -> None:
    slope = np.tile(np.arange(32, dtype=np.float32) / 40, (16, 1))
    back = to_pixels(to_cells(slope, 16, 32, 4), 16, 32, 4)
    # But for the half cells at the borders.
    np.testing.assert_allclose(back[:, 2:-2], slope[:, 2:-2], atol=1e-6)


def test_frames_are_shrunk_to_the_longer_side_and_never_enlarged() -> None:
    frame = np.zeros((30, 90, 3), np.uint8)
    assert shrink_within(frame, 45).shape == (15, 45, 3)
    assert shrink_within(frame, 90) is frame
    assert shrink_within(frame, None) is frame
    assert shrink_within(np.zeros((1, 90, 3), np.uint8), 9).shape == (1, 9, 3)


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([1, 4, 8]),
)
def test_the_range_of_the_scores_is_kept(
    size: tuple[int, int], seen: tuple[int, int], stride: int
) -> None:
    scores = np.random.default_rng(0).random(size, dtype=np.float32)
    cells = to_cells(scores, *seen, stride)
    assert cells.shape == (-(-seen[0] // stride), -(-seen[1] // stride))
    pixels = resize_scores(to_pixels(cells, *seen, stride), *size)
    assert pixels.shape == size
    for found in (cells, pixels):
        assert found.min() >= scores.min() - 1e-6
        assert found.max() <= scores.max() + 1e-6
