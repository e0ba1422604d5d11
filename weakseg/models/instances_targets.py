"""Turn masks into instances to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.arrays import Mask
from weakseg.checks import check_at_least, check_shape
from weakseg.labels import IGNORE, SMOKE


@dataclass(frozen=True)
class InstanceTargets:
    """What a detector learns from one picture.

    Args:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels; the right and lower sides lie behind the
            last pixel, so that no box is without area.
        masks: (N, H, W) uint8, 1 where the instance is; instances do not overlap.
        certainty: (H, W) float32 >= 0, how much each pixel's class is to be believed; 0 where it
            is unknown.
    """

    boxes: Tensor
    masks: Tensor
    certainty: Tensor


def targets_of_batch(
    mask: Tensor,
    *,
    weight: Tensor | None = None,
    instances: Tensor | None = None,
    size: tuple[int, int],
    min_area: int = 1,
) -> list[InstanceTargets]:
    """Find the instances in masks (B, H, W), brought to `size`; see `targets_from_mask`."""
    masks = _nearest(mask, size)
    weights = None if weight is None else _nearest(weight, size)
    numbers = None if instances is None else _nearest(instances, size)
    return [
        targets_from_mask(
            ids,
            weight=None if weights is None else weights[index],
            instances=None if numbers is None else numbers[index],
            min_area=min_area,
        )
        for index, ids in enumerate(masks)
    ]


def targets_from_mask(
    mask: Tensor,
    *,
    weight: Tensor | None = None,
    instances: Tensor | None = None,
    min_area: int = 1,
) -> InstanceTargets:
    """Find the instances in a mask: its connected parts, or those that `instances` tells apart.

    What is too small to be an instance is neither smoke nor background: its pixels, like those
    of the ignored class, become uncertain.

    Args:
        mask: (H, W) int64 class ids, 0, 1 and 255 (ignore).
        weight: (H, W) >= 0, how much each pixel is to be believed; None believes all alike.
        instances: (H, W) integers, 0 for none; smoke pixels with one number are one instance,
            however scattered, and smoke pixels without a number are parted by connection.
        min_area: Fewest pixels of an instance, at least 1.

    Returns:
        Targets on the mask's device.

    Raises:
        ValueError: If the maps differ in size.
    """
    check_shape((None, None), mask=mask)
    check_at_least(1, min_area=min_area)
    for name, other in {"weight": weight, "instances": instances}.items():
        if other is not None:
            check_shape(tuple(mask.shape), **{name: other})
    ids = mask.detach().cpu().numpy().astype(np.uint8)
    given = None if instances is None else instances.detach().cpu().numpy().astype(np.int64)
    parts = [part for part in _parts(ids, given) if part.any()]
    large = [part for part in parts if part.sum() >= min_area]
    certainty = torch.ones_like(mask, dtype=torch.float32)
    if weight is not None:
        certainty = weight.detach().float().clone()
    certainty[mask == IGNORE] = 0.0
    for part in parts:
        if part.sum() < min_area:
            certainty[torch.from_numpy(part).to(mask.device)] = 0.0
    boxes = np.array([_box(part) for part in large], dtype=np.float32).reshape(-1, 4)
    stack = np.stack(large) if large else np.zeros((0, *ids.shape), dtype=np.bool_)
    return InstanceTargets(
        torch.from_numpy(boxes).to(mask.device),
        torch.from_numpy(stack.astype(np.uint8)).to(mask.device),
        certainty,
    )


def mean_inside(values: Tensor, boxes: Tensor) -> Tensor:
    """Give the mean of `values` (H, W) over the pixels that each of the (N, 4) boxes touches.

    A box outside the picture, or without area, touches the nearest pixel.
    """
    height, width = values.shape
    total = F.pad(values.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x1 = boxes[:, 0].floor().clamp(0, width - 1).long()
    y1 = boxes[:, 1].floor().clamp(0, height - 1).long()
    x2 = torch.maximum(boxes[:, 2].ceil().clamp(max=width).long(), x1 + 1)
    y2 = torch.maximum(boxes[:, 3].ceil().clamp(max=height).long(), y1 + 1)
    inside = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return (inside / ((x2 - x1) * (y2 - y1))).float()


def _parts(ids: Mask, given: npt.NDArray[np.int64] | None) -> list[npt.NDArray[np.bool_]]:
    smoke = ids == SMOKE
    if given is None:
        return _connected(smoke)
    numbers = np.unique(given[smoke & (given > 0)])
    told = [smoke & (given == number) for number in numbers]
    return told + _connected(smoke & (given <= 0))


def _connected(smoke: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    count, parts = cv2.connectedComponents(smoke.astype(np.uint8), connectivity=8)
    return [parts == number for number in range(1, count)]


def _box(part: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps (B, H, W) to a size without mixing their values."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    # In double precision, which holds every instance's number.
    resized = F.interpolate(maps[:, None].double(), size=size, mode="nearest-exact")[:, 0]
    return resized.to(maps.dtype)
