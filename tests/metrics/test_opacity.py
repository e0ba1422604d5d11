"""Opacity is the colour contrast of smoke and its surroundings, and grows with real opacity."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from weakseg.arrays import FrameArray, Mask
from weakseg.labels import IGNORE
from weakseg.metrics import (
    FrameFigures,
    measure,
    opacity_stratum,
    opacity_table,
    size_stratum,
    smoke_opacity,
)


def veiled(mask: Mask, opacity: float) -> FrameArray:
    """Grey smoke of one opacity before an even blue sky."""
    veil = opacity * (mask == 1)[..., None]
    return np.rint((1 - veil) * np.array([90, 140, 210]) + veil * 215).astype(np.uint8)


def brute_force(frame: FrameArray, truth: Mask, width: int) -> float:
    """The same by looking at every pixel's neighbourhood, and one pixel's colour at a time."""
    padded = np.pad(truth == 1, width)
    inside, ring = [], []
    for y, x in np.ndindex(truth.shape):
        colour = frame[y, x].reshape(1, 1, 3).astype(np.float32) / 255
        lab = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB).reshape(3)
        if truth[y, x] == 1:
            inside.append(lab)
        elif truth[y, x] == 0 and padded[y : y + 2 * width + 1, x : x + 2 * width + 1].any():
            ring.append(lab)
    return float(np.linalg.norm(np.mean(inside, axis=0) - np.mean(ring, axis=0))) / 100


def test_opacity_agrees_with_a_brute_force(plume: FrameArray, plume_mask: Mask) -> None:
    truth = plume_mask.copy()
    truth[:, :12] = IGNORE
    width = round(0.05 * np.hypot(*truth.shape))
    # Float32 sums in another order.
    expected = brute_force(plume, truth, width)
    assert smoke_opacity(plume, truth, dilation=0.05) == pytest.approx(expected, abs=1e-5)


def test_denser_smoke_is_more_opaque(plume_mask: Mask) -> None:
    found = [smoke_opacity(veiled(plume_mask, real), plume_mask) for real in (0.05, 0.15, 0.5, 0.9)]
    assert found == sorted(found)
    assert [opacity_stratum(one) for one in found] == ["faint", "medium", "dense", "dense"]


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_strata_are_told_of_any_kind_of_float(kind: type) -> None:
    assert [size_stratum(kind(one)) for one in (0.001, 0.01, 0.1)] == ["small", "medium", "large"]
    assert [opacity_stratum(kind(one)) for one in (0.01, 0.07, 0.5)] == ["faint", "medium", "dense"]
    assert opacity_stratum(kind(math.nan)) == "unknown"


def test_smoke_that_cannot_be_seen_has_no_opacity(plume_mask: Mask) -> None:
    assert smoke_opacity(veiled(plume_mask, 0.0), plume_mask) == 0


def test_black_on_white_is_one() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[8:12, 8:12] = 1
    frame = np.repeat(255 * (1 - truth)[..., None], 3, axis=2)
    assert smoke_opacity(frame, truth) == pytest.approx(1, abs=1e-4)


def test_what_has_no_surroundings_is_unknown(plume: FrameArray, plume_mask: Mask) -> None:
    everywhere = np.ones_like(plume_mask)
    assert math.isnan(smoke_opacity(plume, everywhere))
    assert math.isnan(smoke_opacity(plume, np.zeros_like(plume_mask)))
    lonely = np.full_like(plume_mask, IGNORE)
    lonely[20:24, 20:24] = 1
    assert math.isnan(smoke_opacity(plume, lonely))


def test_one_pixel_of_smoke_is_seen() -> None:
    truth = np.zeros((16, 16), np.uint8)
    truth[0, 0] = 1
    frame = np.full((16, 16, 3), 100, np.uint8)
    frame[0, 0] = 200
    assert 0.3 < smoke_opacity(frame, truth) < 0.5


def test_far_surroundings_do_not_matter(plume_mask: Mask) -> None:
    frame = veiled(plume_mask, 0.5)
    other = frame.copy()
    other[:, -8:] = 0  # farther from the plume than the ring is wide
    assert smoke_opacity(other, plume_mask) == smoke_opacity(frame, plume_mask)


def test_strata_hold_every_frame_with_smoke_once(plume_mask: Mask) -> None:
    def one(real: float, truth: Mask) -> FrameFigures:
        pixels = veiled(plume_mask, real)
        return measure(plume_mask, truth, id="f", label=1, scene="s", pixels=pixels)

    frames = [one(real, plume_mask) for real in (0.05, 0.06, 0.15, 0.9)]
    rows = opacity_table(frames)
    assert [(row["stratum"], row["frames"]) for row in rows] == [
        ("faint", 2),
        ("medium", 1),
        ("dense", 1),
    ]
    assert all(float(row["iou_per_image"]) == 1 for row in rows)
    filled = one(0.5, np.ones_like(plume_mask))
    assert opacity_table([*frames, filled])[-1]["stratum"] == "unknown"
    assert opacity_table([filled]) == []
    with pytest.raises(ValueError, match="bounds must rise"):
        opacity_table(frames, bounds=(0.5, 0.1))


def test_sizes_must_agree(plume: FrameArray, plume_mask: Mask) -> None:
    with pytest.raises(ValueError, match="frame must have shape"):
        smoke_opacity(plume[1:], plume_mask)
    with pytest.raises(ValueError, match="dilation must be above 0"):
        smoke_opacity(plume, plume_mask, dilation=0)
