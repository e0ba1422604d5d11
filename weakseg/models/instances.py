"""Hold the instances found in a picture: boxes, scores, and masks drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_in_unit

_SAME_PLUME: Final = 0.5
_CELL_EDGE: Final = 0.5


@dataclass(frozen=True)
class FoundInstances:
    """The instances found in one picture.

    Args:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the picture.
        scores: (N,) float32 in [0, 1].
        cells: (N, m, m) float32 in [0, 1], the soft mask within each box, stretched to a square.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
    """

    boxes: Tensor
    scores: Tensor
    cells: Tensor
    height: int
    width: int

    def __len__(self) -> int:
        """Say how many there are."""
        return len(self.scores)

    @property
    def masks(self) -> Tensor:
        """(N, H, W) float32 in [0, 1]: the soft mask of each instance, 0 outside its box."""
        pasted = self.boxes.new_zeros((len(self), self.height, self.width))
        for mask, cells, box in zip(pasted, self.cells, self.boxes, strict=True):
            _paste(mask, cells, box)
        return pasted

    def mask(self, index: int) -> Tensor:
        """Give (H, W) float32 in [0, 1]: the soft mask of one instance."""
        pasted = self.boxes.new_zeros((self.height, self.width))
        _paste(pasted, self.cells[index], self.boxes[index])
        return pasted

    def soft_map(self) -> Tensor:
        """Give (H, W) float32 in [0, 1]: at each pixel the highest score x mask of any instance."""
        found = self.boxes.new_zeros((self.height, self.width))
        for score, cells, box in zip(self.scores, self.cells, self.boxes, strict=True):
            _paste(found, cells * score, box)
        return found

    def above(self, score: float) -> FoundInstances:
        """Keep the instances with at least this score, in [0, 1]."""
        check_in_unit(score=score)
        return self._chosen(self.scores >= score)

    def resized(self, height: int, width: int) -> FoundInstances:
        """Give the same instances in the picture stretched to `height` x `width` pixels."""
        check_at_least(1, height=height, width=width)
        x, y = width / self.width, height / self.height
        scale = self.boxes.new_tensor([x, y, x, y])
        return FoundInstances(self.boxes * scale, self.scores, self.cells, height, width)

    def placed(self, row: int, column: int, height: int, width: int) -> FoundInstances:
        """Give the same instances in a larger picture whose part this one is."""
        shift = self.boxes.new_tensor([column, row, column, row])
        return FoundInstances(self.boxes + shift, self.scores, self.cells, height, width)

    def without_repeats(
        self, overlap: float = _SAME_PLUME, *, is_cut: Tensor | None = None
    ) -> FoundInstances:
        """Drop every instance whose box lies mostly in that of a better one, or holds most of it.

        Better are whole instances before cut ones, then surer before less sure ones. The rest
        comes in the order of its scores.

        Args:
            overlap: Share of the smaller box from which two are the same, in [0, 1].
            is_cut: (N,) bool, whether an instance goes on beyond what was seen; None: none does.
        """
        check_in_unit(overlap=overlap)
        low = torch.maximum(self.boxes[:, None, :2], self.boxes[None, :, :2])
        high = torch.minimum(self.boxes[:, None, 2:], self.boxes[None, :, 2:])
        shared = (high - low).clamp(min=0).prod(dim=2)
        area = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)
        share = shared / torch.minimum(area[:, None], area[None, :]).clamp(min=1e-6)
        surest = torch.argsort(self.scores, descending=True, stable=True)
        if is_cut is not None:
            surest = surest[torch.argsort(is_cut[surest].long(), stable=True)]
        kept: list[int] = []
        for index in surest.tolist():
            if not kept or float(share[index, kept].max()) <= overlap:
                kept.append(index)
        chosen = torch.tensor(sorted(kept), dtype=torch.int64, device=self.boxes.device)
        return self._chosen(chosen[torch.argsort(-self.scores[chosen], stable=True)])

    def cpu(self) -> FoundInstances:
        """Give the same instances on the CPU, in single precision."""
        boxes, scores, cells = (
            t.detach().float().cpu() for t in (self.boxes, self.scores, self.cells)
        )
        return FoundInstances(boxes, scores, cells, self.height, self.width)

    def _chosen(self, which: Tensor) -> FoundInstances:
        return FoundInstances(
            self.boxes[which], self.scores[which], self.cells[which], self.height, self.width
        )


def join_instances(parts: Sequence[FoundInstances]) -> FoundInstances:
    """Put the instances of pictures of one size together, in their order.

    Raises:
        ValueError: If there are none, or their pictures differ in size.
    """
    sizes = {(part.height, part.width) for part in parts}
    if len(sizes) != 1:
        raise ValueError(f"instances to join must be of pictures of one size, got {sorted(sizes)}")
    ((height, width),) = sizes
    boxes, scores, cells = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "cells")
    )
    return FoundInstances(boxes, scores, cells, height, width)


def _paste(onto: Tensor, cells: Tensor, box: Tensor) -> None:
    """Raise `onto` (H, W), in place, to the soft mask `cells` (m, m) stretched over `box`.

    Pixel centres are read from the cells by bilinear interpolation, with 0 beyond the box: the
    inverse of the RoIAlign by which targets are made, to the fraction of a pixel.
    """
    x1, y1, x2, y2 = box.tolist()
    if not (x2 > x1 and y2 > y1):
        return
    height, width = onto.shape
    # The outermost cells fade out half a cell beyond the box.
    reach_x = _CELL_EDGE * (x2 - x1) / cells.shape[1]
    reach_y = _CELL_EDGE * (y2 - y1) / cells.shape[0]
    left, right = max(0, int(x1 - reach_x)), min(width, int(x2 + reach_x) + 1)
    top, bottom = max(0, int(y1 - reach_y)), min(height, int(y2 + reach_y) + 1)
    if right <= left or bottom <= top:
        return
    x = (torch.arange(left, right, device=box.device, dtype=box.dtype) + 0.5 - x1) / (x2 - x1)
    y = (torch.arange(top, bottom, device=box.device, dtype=box.dtype) + 0.5 - y1) / (y2 - y1)
    grid = torch.stack(torch.meshgrid(2 * x - 1, 2 * y - 1, indexing="xy"), dim=2)
    # (m, m) -> (1, 1, m, m); (h, w, 2) -> (1, h, w, 2)
    part = F.grid_sample(cells[None, None].to(grid.dtype), grid[None], align_corners=False)[0, 0]
    place = (slice(top, bottom), slice(left, right))
    onto[place] = torch.maximum(onto[place], part.to(onto.dtype))
