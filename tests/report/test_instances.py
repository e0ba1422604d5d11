"""Instances are drawn where they are."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.report.instances import COLOURS, draw_instances

FRAME = np.full((60, 80, 3), 100, dtype=np.uint8)


def one(top: int, left: int, bottom: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return np.array([[left, top, right, bottom]], dtype=np.float32), mask[None]


def test_box_and_outline_have_the_colour_of_the_instance() -> None:
    boxes, masks = one(10, 20, 30, 50)
    boxes += np.array([[-5, -5, 5, 5]])
    drawn = draw_instances(FRAME, boxes=boxes, masks=masks)
    for row, column in ((5, 15), (34, 54), (5, 30), (20, 54), (10, 20), (29, 49)):
        assert tuple(drawn[row, column]) == COLOURS[0], (row, column)
    assert tuple(drawn[20, 30]) not in (COLOURS[0], (100, 100, 100))
    assert (drawn[40:] == 100).all()
    assert (drawn[:, 60:] == 100).all()
    assert (FRAME == 100).all()


def test_the_first_lies_on_top_in_a_colour_of_its_own() -> None:
    (a, first), (b, second) = one(10, 10, 30, 30), one(10, 10, 30, 40)
    both = draw_instances(
        FRAME, boxes=np.concatenate([a, b]), masks=np.concatenate([first, second])
    )
    assert tuple(both[10, 10]) == COLOURS[0]
    assert tuple(both[20, 39]) == COLOURS[1]


@pytest.mark.parametrize("top", [0, 40])
def test_scores_are_written_within_the_frame(top: int) -> None:
    boxes, masks = one(top, 60, top + 15, 80)
    plain = draw_instances(FRAME, boxes=boxes, masks=masks)
    told = draw_instances(FRAME, boxes=boxes, masks=masks, scores=[0.87])
    rows, columns = np.nonzero((plain != told).any(axis=-1))
    assert len(rows) > 50
    assert columns.min() < 60


def test_no_instances_leave_the_frame_as_it_is() -> None:
    nothing = draw_instances(
        FRAME, boxes=np.zeros((0, 4)), masks=np.zeros((0, 60, 80), dtype=np.bool_), scores=[]
    )
    np.testing.assert_array_equal(nothing, FRAME)


def test_what_does_not_agree_is_refused() -> None:
    boxes, masks = one(1, 1, 5, 5)
    with pytest.raises(ValueError, match="masks must have shape"):
        draw_instances(FRAME, boxes=boxes, masks=masks[:, :10])
    with pytest.raises(ValueError, match="one for each of 1 boxes, got 2"):
        draw_instances(FRAME, boxes=boxes, masks=masks, scores=[0.1, 0.2])
