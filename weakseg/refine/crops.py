"""Cut squares from frames at the scale at which they are later looked at, where their seeds are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from weakseg.data import Augmentation, SegmentationData, SegmentationItem
from weakseg.labels import IGNORE, SMOKE
from weakseg.refine.cells import shrink_within


class SeedCrops(SegmentationData):
    """One square of each frame with its seeds, cut and not squeezed.

    A frame is first made no larger than `max_side`, as for inference, so that a cell is as far
    from its neighbour in training as it is there. A square of a frame with seeds of smoke holds
    one of them, drawn at random and at a random place in the square; others lie anywhere. Frames
    smaller than the square repeat their border, where seeds are ignored.

    Args:
        items: Frames with their seeds.
        image_size: Side of the square in pixels.
        max_side: Longest side of a frame that is not shrunk, in pixels; None shrinks none.
        augment: How the square is varied afterwards; None leaves it. `crop_scale_min` is the least
            share of the square that is kept and enlarged to `image_size`.
        seed: With the epoch and the index, all that square and variation depend on.

    References:
        Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
        Weakly Supervised Semantic Segmentation", CVPR 2018, crops frames too. That a crop holds
        seeds of smoke is ours: small smoke in large frames would hardly ever be seen.
    """

    def __init__(
        self,
        items: Sequence[SegmentationItem],
        *,
        image_size: int,
        max_side: int | None,
        augment: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(items, image_size=image_size, augment=augment, seed=seed)
        cut = [_ShrinkWithin(max_side), _CropAtSeeds(image_size)]
        self._transform = v2.Compose([*cut, self._transform])


class _ShrinkWithin(v2.Transform):  # type: ignore[misc]
    """Shrink what is too large, pictures as `shrink_within` does; masks take the nearest pixel."""

    def __init__(self, side: int | None) -> None:
        super().__init__()
        self.side = side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Bring (..., H, W) to what is looked at."""
        height, width = inpt.shape[-2:]
        if self.side is None or max(height, width) <= self.side:
            return inpt
        pixels = inpt.permute(1, 2, 0) if isinstance(inpt, tv_tensors.Image) else None
        if pixels is None:
            like = np.zeros((height, width, 3), np.uint8)
            size = shrink_within(like, self.side).shape[:2]
            return functional.resize(inpt, list(size), v2.InterpolationMode.NEAREST)
        small = shrink_within(pixels.contiguous().numpy(), self.side)
        return tv_tensors.Image(torch.from_numpy(small).permute(2, 0, 1).contiguous())


class _CropAtSeeds(v2.Transform):  # type: ignore[misc]
    """Cut a square that holds a seed of smoke, if there is one; what is too small is padded."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a place: (top, left), and how much is lacking (bottom, right)."""
        height, width = flat_inputs[0].shape[-2:]
        seeds = next(each for each in flat_inputs if isinstance(each, tv_tensors.Mask))
        found = (seeds.as_subclass(Tensor) == SMOKE).nonzero()
        at = found[_draw(0, len(found) - 1)].tolist() if len(found) else None
        corner = [
            _start(length, self.side, None if at is None else at[axis])
            for axis, length in enumerate((height, width))
        ]
        lacking = [max(0, self.side - length) for length in (height, width)]
        return {"corner": corner, "lacking": lacking}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Cut the square from (..., H, W)."""
        (top, left), (bottom, right) = params["corner"], params["lacking"]
        whole = inpt
        if bottom or right:
            padding = [0, 0, right, bottom]
            if isinstance(inpt, tv_tensors.Image):
                whole = functional.pad(inpt, padding, padding_mode="edge")
            else:
                whole = functional.pad(inpt, padding, fill=IGNORE)
        return functional.crop(whole, top, left, self.side, self.side)


def _start(length: int, side: int, at: int | None) -> int:
    """Draw where a cut of `side` pixels begins, so that it holds the pixel `at`."""
    last = max(0, length - side)
    if at is None:
        return _draw(0, last)
    return _draw(min(max(0, at - side + 1), last), min(at, last))


def _draw(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))
