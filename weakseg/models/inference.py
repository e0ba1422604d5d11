"""Segment whole frames of any size: shrunk to what the network knows, or by overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.checks import check_at_least, check_in_unit, check_positive, check_shape
from weakseg.labels import SMOKE
from weakseg.models.windows import blend_windows, window_starts

_UNIT = 32
_OVERLAP = 0.5


@dataclass(frozen=True)
class TiledInference:
    """How a segmenter reads a frame.

    A frame whose longer side is at most `tile_above` times `image_size` is resized to the square
    the network was trained on. A larger one is read in tiles of that size that overlap, at its own
    resolution, so that small smoke keeps its pixels; tiles fade into one another.

    Args:
        image_size: Side in pixels of what the network reads, a multiple of 32.
        tile_above: Longer side, in image sizes, from which a frame is tiled, at least 1.
        scales: The frame is read at each scale, and the probabilities are averaged.
        flip: Read the mirrored frame too.
        batch_size: Tiles in one forward pass.
        overlap: Share of its side by which a tile overlaps the next, from 0 to below 1. The area
            read is about 1 / (1 - overlap)^2 of the frame's: four times at one half.
    """

    image_size: int = 256
    tile_above: float = 1.75
    scales: tuple[float, ...] | list[float] = (1.0,)
    flip: bool = True
    batch_size: int = 8
    overlap: float = _OVERLAP

    def __post_init__(self) -> None:
        """Check the ranges; the config's lists become tuples."""
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        check_at_least(_UNIT, image_size=self.image_size)
        check_at_least(1, tile_above=self.tile_above, batch_size=self.batch_size)
        check_at_least(1, scales=len(self.scales))
        for scale in self.scales:
            check_positive(scales=scale)
        check_in_unit(overlap=self.overlap)
        if self.overlap == 1:
            raise ValueError("overlap must be below 1, got 1: the tiles would not move on")
        if self.image_size % _UNIT:
            raise ValueError(f"image_size must be a multiple of {_UNIT}, got {self.image_size}")

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same; the usual overlap goes without saying."""
        settings = {**asdict(self), "scales": list(self.scales)}
        if self.overlap == _OVERLAP:
            del settings["overlap"]
        return settings

    def is_tiled(self, height: int, width: int) -> bool:
        """Say whether a frame of this size is read in tiles."""
        return max(height, width) > self.tile_above * self.image_size

    def pixels_held(self, height: int, width: int) -> int:
        """Say how many pixels a frame of this size takes while it is read, at scale 1.

        A frame of one row may be tiled too, and is then stretched to the height of a tile: small
        as its file is, it takes `image_size` times its pixels.
        """
        if not self.is_tiled(height, width):
            return height * width
        return max(height, self.image_size) * max(width, self.image_size)

    def __call__(self, model: nn.Module, frame: FrameArray) -> ScoreMap:
        """Give the probability of smoke at every pixel.

        Args:
            model: (B, 3, h, w) float32 in [0, 1] -> (B, K, h, w) logits; in eval mode.
            frame: (H, W, 3) uint8, RGB.

        Returns:
            (H, W) float32 in [0, 1].
        """
        check_shape((None, None, 3), frame=frame)
        height, width = frame.shape[:2]
        device = next(model.parameters()).device
        image = torch.from_numpy(frame.copy()).to(device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            total = torch.zeros((1, 1, height, width), device=device)
            views = [
                (s, m) for s in self.scales for m in ((False, True) if self.flip else (False,))
            ]
            for scale, mirrored in views:
                seen = image.flip(-1) if mirrored else image
                smoke = self._read(model, seen, scale)
                smoke = _resized(smoke[None, None], (height, width))
                total += smoke.flip(-1) if mirrored else smoke
            return (total[0, 0] / len(views)).clamp(0, 1).cpu().numpy()

    def _read(self, model: nn.Module, image: Tensor, scale: float) -> Tensor:
        """Give the smoke map (h, w) of `image` (1, 3, H, W) at one scale."""
        height, width = image.shape[-2:]
        if not self.is_tiled(height, width):
            side = max(_UNIT, round(self.image_size * scale / _UNIT) * _UNIT)
            return _smoke(model(_resized(image, (side, side))))[0]
        size = [max(self.image_size, round(n * scale / _UNIT) * _UNIT) for n in (height, width)]
        scaled = _resized(image, (size[0], size[1]))
        tile = self.image_size
        rows, columns = (window_starts(side, tile, _UNIT, overlap=self.overlap) for side in size)
        corners = [(row, column) for row in rows for column in columns]
        maps = self._tile_maps(model, scaled, corners)
        return blend_windows(maps, corners, (size[0], size[1]))[0]

    def _tile_maps(
        self, model: nn.Module, scaled: Tensor, corners: list[tuple[int, int]]
    ) -> Iterator[Tensor]:
        """Yield the smoke map (1, s, s) of each tile; no more than a batch of them is held."""
        tile = self.image_size
        for start in range(0, len(corners), self.batch_size):
            part = corners[start : start + self.batch_size]
            tiles = torch.cat([scaled[:, :, r : r + tile, c : c + tile] for r, c in part])
            yield from torch.split(_smoke(model(tiles)), 1)


def _smoke(logits: Tensor) -> Tensor:
    return logits.float().softmax(dim=1)[:, SMOKE]


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
