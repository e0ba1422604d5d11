"""Fuse the maps of several layers into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

FUSIONS: Final = ("product", "mean", "max")


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, h, w) maps bilinearly to (B, *size); a map of that size comes back as it is."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def fuse_maps(maps: Sequence[Tensor], fusion: str) -> Tensor:
    """Fuse one map per layer, each (B, h, w) float32 >= 0 on one grid, to (B, h, w).

    Args:
        maps: At least one. Layers differ in unit: a shallow one's gradients have another scale.
        fusion: "product" is the geometric mean, high only where all layers agree, and fair to any
            unit; "mean" and "max" favour the layer with the larger values.
    """
    stack = torch.stack(list(maps))
    if len(maps) == 1:
        return stack[0]
    if fusion == "product":
        # Roots first: a plain product of many small values would underflow.
        return stack.pow(1 / len(maps)).prod(dim=0)
    return stack.mean(dim=0) if fusion == "mean" else stack.amax(dim=0)
