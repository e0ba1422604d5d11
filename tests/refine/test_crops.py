"""Squares to learn from are cut at the frame's own scale, around seeds, and never squeezed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from weakseg.data import Augmentation, Frame, SegmentationItem
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.refine.cells import shrink_within
from weakseg.refine.crops import SeedCrops

SIDE = 32


def item_of(
    folder: Path, *, size: tuple[int, int], seed_at: tuple[int, int] | None = None
) -> tuple[SegmentationItem, np.ndarray]:
    """Write a frame of noise, smooth enough to be shrunk, and one pixel (or none) of seeds."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    pixels = cv2.blur(noise, (3, 3))
    path = folder / "frame.png"
    cv2.imwrite(str(path), pixels[..., ::-1])
    frame = Frame("frame", path, int(seed_at is not None), "scene", "train")
    if seed_at is None:
        return SegmentationItem(frame, None), pixels
    seeds = np.full(size, BACKGROUND, np.uint8)
    seeds[seed_at] = SMOKE
    cv2.imwrite(str(folder / "seeds.png"), seeds)
    return SegmentationItem(frame, folder / "seeds.png"), pixels


def image_of(crops: SeedCrops, epoch: int = 0) -> np.ndarray:
    found: np.ndarray = (crops[epoch, 0]["image"] * 255).round().byte().permute(1, 2, 0).numpy()
    return found


def places(pixels: np.ndarray, square: np.ndarray) -> list[tuple[int, int]]:
    """Say where in a frame a square was cut, pixel by pixel."""
    windows = sliding_window_view(pixels, square.shape)[:, :, 0]
    found = np.argwhere((windows == square).all(axis=(2, 3, 4)))
    return [(int(top), int(left)) for top, left in found]


@pytest.mark.parametrize("max_side", [None, 2 * SIDE])
def test_frames_four_times_as_large_are_cut_as_they_are_looked_at(
    max_side: int | None, tmp_path: Path
) -> None:
    item, pixels = item_of(tmp_path, size=(3 * SIDE, 4 * SIDE))
    crops = SeedCrops([item], image_size=SIDE, max_side=max_side)
    looked_at = shrink_within(pixels, max_side)
    found = [places(looked_at, image_of(crops, epoch)) for epoch in range(4)]
    assert all(len(each) == 1 for each in found)
    assert len({each[0] for each in found}) > 1
    assert found == [places(looked_at, image_of(crops, epoch)) for epoch in range(4)]


@pytest.mark.parametrize("seed_at", [(0, 0), (95, 127), (50, 3)])
@pytest.mark.parametrize("max_side", [None, 2 * SIDE])
def test_a_square_holds_a_seed_of_smoke_and_its_own_seeds(
    seed_at: tuple[int, int], max_side: int | None, tmp_path: Path
) -> None:
    item, pixels = item_of(tmp_path, size=(3 * SIDE, 4 * SIDE), seed_at=seed_at)
    if max_side is not None:
        # Thick enough to survive the shrinking.
        seeds = cv2.dilate(cv2.imread(str(item.mask_path), 0), np.ones((5, 5)))
        cv2.imwrite(str(item.mask_path), seeds)
    crops = SeedCrops([item], image_size=SIDE, max_side=max_side)
    factor = 1 if max_side is None else max_side / pixels.shape[1]
    for epoch in range(5):
        mask = crops[epoch, 0]["mask"].numpy()
        assert mask.shape == (SIDE, SIDE)
        assert set(np.unique(mask)) == {BACKGROUND, SMOKE}
        ((top, left),) = places(shrink_within(pixels, max_side), image_of(crops, epoch))
        row, column = np.argwhere(mask == SMOKE).mean(axis=0)
        wanted = np.array(seed_at) * factor
        np.testing.assert_allclose([top + row, left + column], wanted, atol=0 if factor == 1 else 2)


def test_small_frames_repeat_their_border_where_seeds_are_ignored(tmp_path: Path) -> None:
    item, pixels = item_of(tmp_path, size=(20, 50), seed_at=(3, 4))
    crops = SeedCrops([item], image_size=SIDE, max_side=None)
    image, mask = image_of(crops), crops[0, 0]["mask"].numpy()
    ((top, left),) = places(pixels, image[:20])
    assert top == 0
    np.testing.assert_array_equal(image[20:], np.repeat(image[19:20], SIDE - 20, axis=0))
    assert (mask[20:] == IGNORE).all()
    assert mask[3, 4 - left] == SMOKE


def test_squares_are_varied_after_they_are_cut(tmp_path: Path) -> None:
    item, pixels = item_of(tmp_path, size=(3 * SIDE, 4 * SIDE))
    off = {"rotation_degrees": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    mirror = Augmentation(flip=1, crop_scale_min=1, blur=0, grey=0, **off)
    square = image_of(SeedCrops([item], image_size=SIDE, max_side=None, augment=mirror))
    assert places(pixels, square) == []
    assert len(places(pixels, square[:, ::-1])) == 1
