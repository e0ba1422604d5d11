"""Pictures show what they say, in colours that never change."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.arrays import FrameArray, Mask
from weakseg.report import comparison, heatmap, overlay, panel_sheet, shrink
from weakseg.report.pictures import FALSE_ALARM_COLOUR, HIT_COLOUR, MISS_COLOUR, SMOKE_COLOUR


def test_empty_layers_leave_the_frame_as_it_is(plume: FrameArray) -> None:
    np.testing.assert_array_equal(overlay(plume, np.zeros((48, 64), np.uint8)), plume)
    np.testing.assert_array_equal(overlay(plume, np.zeros((12, 16), np.float32)), plume)


def test_mask_tints_its_pixels_only_and_the_frame_is_not_changed(
    plume: FrameArray, plume_mask: Mask
) -> None:
    before = plume.copy()
    drawn = overlay(plume, plume_mask)
    changed = (drawn != plume).any(-1)
    np.testing.assert_array_equal(changed, plume_mask == 1)
    np.testing.assert_array_equal(plume, before)


def test_full_opacity_gives_the_colour_itself(plume: FrameArray) -> None:
    drawn = overlay(plume, np.ones((48, 64), np.uint8), opacity=1.0)
    assert np.unique(drawn.reshape(-1, 3), axis=0).tolist() == [list(SMOKE_COLOUR)]


def test_comparison_tells_hits_false_alarms_and_misses(plume: FrameArray) -> None:
    mask, truth = np.zeros((2, 48, 64), np.uint8)
    mask[:, :32], truth[:24] = 1, 1
    drawn = comparison(plume, mask, truth, opacity=1.0)
    assert tuple(drawn[10, 10]) == HIT_COLOUR
    assert tuple(drawn[40, 10]) == FALSE_ALARM_COLOUR
    assert tuple(drawn[10, 50]) == MISS_COLOUR
    np.testing.assert_array_equal(drawn[40, 50], plume[40, 50])


def test_heatmap_has_a_fixed_scale() -> None:
    weak = heatmap(np.full((2, 2), 0.1, np.float32))
    np.testing.assert_array_equal(weak[0, 0], heatmap(np.eye(2, dtype=np.float32) * 0.1)[0, 0])
    assert heatmap(np.ones((1, 1), np.float32)).sum() > 600 > weak[0, 0].sum()


def test_layers_of_another_size_are_stretched(plume: FrameArray) -> None:
    half = np.zeros((2, 2), np.uint8)
    half[:, 0] = 1
    changed = (overlay(plume, half) != plume).any(-1)
    assert changed[:, :32].all()
    assert not changed[:, 32:].any()


def test_shrinking_keeps_the_shape_and_never_enlarges(plume: FrameArray) -> None:
    assert shrink(plume, long_side=32).shape == (24, 32, 3)
    assert shrink(plume).shape == plume.shape
    assert shrink(np.zeros((2000, 1), np.uint8), long_side=10).shape == (10, 1)


def test_sheet_holds_every_image(plume: FrameArray, plume_mask: Mask) -> None:
    sheet = panel_sheet([[plume, plume_mask * 255], [plume]], long_side=32)
    assert sheet.shape == (24 + 6 + 24, 32 + 6 + 32, 3)
    assert (sheet[30:, 38:] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        panel_sheet([[]])
