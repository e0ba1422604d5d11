"""Hold regions of a frame against texts, by what the patches in them look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_positive, check_shape
from weakseg.refine.prompts import BoolMap

Floats = npt.NDArray[np.float32]


def class_probabilities(similarity: Floats, *, temperature: float) -> Floats:
    """Return the softmax over classes, (K, ...), of cosines (K, ...) divided by `temperature`."""
    check_positive(temperature=temperature)
    logits = similarity.astype(np.float64) / temperature
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def region_similarity(similarity: Floats, region: BoolMap) -> Floats:
    """Return the mean similarity of a region to each class, (K,).

    Args:
        similarity: (K, h, w) float32, of the patches.
        region: (H, W) bool, not empty; a patch counts by how much of it the region covers.
    """
    check_shape((None, None, None), similarity=similarity)
    rows, columns = (
        _overlaps(patches, pixels)
        for patches, pixels in zip(similarity.shape[1:], region.shape, strict=True)
    )
    covered = rows @ region.astype(np.float32) @ columns.T  # (h, w)
    covered /= covered.sum()
    return np.asarray(np.tensordot(similarity, covered, axes=2), np.float32)


def parted(regions: Sequence[BoolMap]) -> list[BoolMap]:
    """Make regions (H, W) disjoint: a pixel of several belongs to the smallest; empty ones go."""
    disjoint: list[BoolMap] = []
    taken: BoolMap | None = None
    for region in sorted(regions, key=lambda region: int(region.sum())):
        left = region if taken is None else region & ~taken
        taken = region if taken is None else region | taken
        if left.any():
            disjoint.append(left)
    return disjoint


def _overlaps(patches: int, pixels: int) -> Floats:
    """Return how much of each pixel lies in each patch along one side: (patches, pixels)."""
    edges = np.arange(patches + 1) * (pixels / patches)
    starts = np.arange(pixels)
    ends = np.minimum(edges[1:, None], starts + 1)
    shared: Floats = np.maximum(ends - np.maximum(edges[:-1, None], starts), 0).astype(np.float32)
    return shared
