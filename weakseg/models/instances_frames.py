"""Find instances in whole frames of any size, read as `TiledInference` reads them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.arrays import FrameArray
from weakseg.checks import check_shape
from weakseg.models.inference import TiledInference
from weakseg.models.instances import FoundInstances, join_instances
from weakseg.models.windows import window_starts

_UNIT = 32
_NEAR_PIXELS = 2


class FindsInstances(Protocol):
    """A network that finds instances."""

    def instances(self, images: Tensor) -> list[FoundInstances]:
        """Find the instances in pictures of (B, 3, H, W) float32 in [0, 1]."""


def find_instances(
    model: FindsInstances,
    frame: FrameArray,
    inference: TiledInference,
    *,
    device: torch.device | None = None,
) -> FoundInstances:
    """Find the instances of a frame.

    A frame of the size that the network knows is shrunk to it, and a larger one read in
    overlapping tiles, as `inference` says; but each only once, neither mirrored nor at other
    scales, which would find the same instances again. Of what two tiles both see, what is whole in
    its tile is kept before what its border cuts; an instance larger than a tile is found in pieces.

    Args:
        model: In evaluation mode.
        frame: (H, W, 3) uint8, RGB.
        inference: How frames are read.
        device: Where the model is; None is the CPU.

    Returns:
        Boxes and masks in pixels of the frame, on the CPU, the surest first.
    """
    check_shape((None, None, 3), frame=frame)
    height, width = frame.shape[:2]
    image = torch.from_numpy(frame.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    side = inference.image_size
    with torch.inference_mode():
        if not inference.is_tiled(height, width):
            (found,) = model.instances(_resized(image, (side, side)))
            return found.cpu().resized(height, width)
        rows, columns = (max(side, round(n / _UNIT) * _UNIT) for n in (height, width))
        scaled = _resized(image, (rows, columns))
        downs, rights = (
            window_starts(length, side, _UNIT, overlap=inference.overlap)
            for length in (rows, columns)
        )
        corners = [(row, column) for row in downs for column in rights]
        found_in_tiles: list[FoundInstances] = []
        is_cut: list[Tensor] = []
        for start in range(0, len(corners), inference.batch_size):
            part = corners[start : start + inference.batch_size]
            tiles = torch.cat([scaled[:, :, r : r + side, c : c + side] for r, c in part])
            for one, (row, column) in zip(model.instances(tiles), part, strict=True):
                placed = one.cpu().placed(row, column, rows, columns)
                found_in_tiles.append(placed)
                is_cut.append(_touches(placed.boxes, (column, row), side, (columns, rows)))
    joined = join_instances(found_in_tiles).without_repeats(is_cut=torch.cat(is_cut))
    return joined.resized(height, width)


def _touches(boxes: Tensor, corner: tuple[int, int], side: int, size: tuple[int, int]) -> Tensor:
    """Say which boxes touch a border of their tile that is none of the frame.

    Args:
        boxes: (N, 4) in pixels of the frame.
        corner: x and y of the tile.
        side: Of the tile.
        size: Width and height of the frame.
    """
    low, high = boxes.new_tensor(corner), boxes.new_tensor(corner) + side
    at_low = (boxes[:, :2] <= low + _NEAR_PIXELS) & (low > 0)
    at_high = (boxes[:, 2:] >= high - _NEAR_PIXELS) & (high < boxes.new_tensor(size))
    return (at_low | at_high).any(dim=1)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
