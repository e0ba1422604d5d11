"""A pixel belongs to a shape if its centre does, and hostile numbers are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outliner

from weakseg.importers.shapes import (
    Bitmap,
    Ellipse,
    Inside,
    Outline,
    Shape,
    ShapeError,
    as_points,
    box,
)

H, W = 23, 31


def drawn(shape: Shape, height: int = H, width: int = W) -> Inside:
    """The shape in a whole picture."""
    whole = np.zeros((height, width), dtype=np.bool_)
    patch = shape.draw(height, width)
    whole[patch.window] = patch.inside
    return whole


def centres() -> np.ndarray:
    y, x = np.mgrid[:H, :W] + 0.5
    return np.stack((x, y), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(8))
def test_convex_polygon_matches_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
    # Partly outside the picture; in general position, so that no centre lies on an edge.
    ring = np.stack((20 + 17 * np.cos(angles), 10 + 14 * np.sin(angles)), axis=1)
    exact = Outliner(ring).contains_points(centres()).reshape(H, W)
    np.testing.assert_array_equal(drawn(Outline((ring,))), exact)
    np.testing.assert_array_equal(drawn(Outline((ring[::-1].copy(),))), exact)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 40), st.floats(-9, 40)), min_size=3, max_size=9))
def test_any_polygon_fills_by_the_even_odd_rule(corners: list[tuple[float, float]]) -> None:
    ring = np.array(corners) + math.pi / 1000  # centres are hardly ever on an edge
    if len(np.unique(ring, axis=0)) < 3:
        return
    crossings = np.zeros((H, W), dtype=int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        for row in range(H):
            y = row + 0.5
            if (y0 <= y) != (y1 <= y):
                at = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
                crossings[row] += at <= np.arange(W) + 0.5
    np.testing.assert_array_equal(drawn(Outline((ring,))), crossings % 2 == 1)


def test_area_of_a_polygon_is_kept() -> None:
    ring = np.array(((10.2, 20.1), (180.7, 33.3), (140.4, 150.9), (60.6, 170.2)))
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    # cv2.fillPoly would be 1.2 to 1.5 % too large here.
    assert drawn(Outline((ring,)), 200, 200).sum() == pytest.approx(area, rel=0.002)


def test_a_rectangle_covers_its_pixels_exactly() -> None:
    expected = np.zeros((H, W), dtype=np.bool_)
    expected[4:9, 3:10] = True
    np.testing.assert_array_equal(drawn(box(3, 4, 7, 5)), expected)
    np.testing.assert_array_equal(drawn(box(10, 9, -7, -5)), expected)


def test_parts_of_a_region_are_joined() -> None:
    rings = (*box(1, 1, 4, 4).rings, *box(3, 3, 4, 4).rings)
    assert drawn(Outline(rings)).sum() == 16 + 16 - 4


@pytest.mark.parametrize("radians", [0.0, 0.5, 2.2, -1.0])
def test_ellipse_is_turned_as_via_draws_its_handles(radians: float) -> None:
    """VIA's handles lie at (cx + rx cos(theta), cy + rx sin(theta))."""
    ellipse = Ellipse(30.3, 30.2, 20, 6, radians)
    whole = drawn(ellipse, 60, 60)
    tip = (30.3 + 18 * math.cos(radians), 30.2 + 18 * math.sin(radians))
    beside = (30.3 - 18 * math.sin(radians), 30.2 + 18 * math.cos(radians))
    assert whole[int(tip[1]), int(tip[0])]
    assert not whole[int(beside[1]), int(beside[0])]
    assert whole.sum() == pytest.approx(math.pi * 20 * 6, rel=0.02)


def test_a_circle_at_the_edge_is_cut_and_told() -> None:
    patch = Ellipse(0, 0, 10, 10).draw(H, W)
    assert patch.clipped
    assert patch.inside.sum() == pytest.approx(math.pi * 25, rel=0.05)
    assert not Ellipse(15, 11, 10, 10).draw(H, W).clipped


@pytest.mark.parametrize(
    "shape", [box(100, 0, 5, 5), box(-50, -50, 9, 9), Ellipse(-90, 5, 3, 3), box(0, 9e6, 1e6, 1e5)]
)
def test_a_shape_outside_covers_nothing(shape: Shape) -> None:
    patch = shape.draw(H, W)
    assert patch.clipped
    assert not patch.inside.any()


def test_a_polygon_far_beyond_the_picture_costs_nothing() -> None:
    ring = np.array(((-9e6, -9e6), (9e6, -9e6), (9e6, 9e6), (-9e6, 9e6)))
    assert drawn(Outline((ring,))).all()


@pytest.mark.parametrize(
    "corners", [[(1, 1), (5, 5)], [(1, 1), (5, 5), (1, 1), (5, 5)], [(2, 2)] * 9, []]
)
def test_fewer_than_three_points_are_refused(corners: list[tuple[int, int]]) -> None:
    with pytest.raises(ShapeError, match="fewer than 3 points"):
        Outline((np.array(corners, dtype=np.float64).reshape(-1, 2),))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ShapeError, match="no usable numbers"):
        Outline((np.array(((1, 1), (5, 5), (bad, 2))),))
    with pytest.raises(ShapeError, match="no usable numbers"):
        Ellipse(1, 1, 5, bad)


@pytest.mark.parametrize(
    ("xs", "ys"), [([1, 2], [1]), ([None], [[1]]), (["a"], [1]), ([[1]], [[2]]), ([10**400], [1])]
)
def test_coordinates_that_do_not_pair_are_refused(xs: list, ys: list) -> None:
    with pytest.raises(ShapeError, match="no usable numbers"):
        as_points(xs, ys)


def test_no_area_is_told() -> None:
    for make in (lambda: Ellipse(1, 1, 0, 5), lambda: box(1, 1, 0, 5)):
        with pytest.raises(ShapeError, match="no area"):
            make()


def test_a_bitmap_is_placed_and_cut_at_the_edges() -> None:
    stored = np.ones((4, 4), dtype=np.bool_)
    patch = Bitmap(lambda: stored, top=-2, left=W - 1, whole=False).draw(H, W)
    assert patch.inside.shape == (2, 1)
    assert patch.clipped
    away = Bitmap(lambda: stored, top=H, left=0, whole=False).draw(H, W)
    assert not away.inside.any()
    with pytest.raises(ShapeError, match="another size"):
        Bitmap(lambda: stored).draw(H, W)
