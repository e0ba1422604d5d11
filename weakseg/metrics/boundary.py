"""Judge only the pixels near the edges, where large plumes hide their mistakes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask
from weakseg.checks import check_positive, check_shape
from weakseg.labels import IGNORE, SMOKE
from weakseg.metrics.pixel import PixelCounts

DILATION = 0.02

Region = npt.NDArray[np.bool_]


def boundary_counts(predicted: Mask, truth: Mask, *, dilation: float = DILATION) -> PixelCounts:
    """Count as `count` does, each mask replaced by its inner edge band.

    `iou` of the result is the boundary IoU. Counts are made per frame, and may be summed.

    Args:
        predicted: (H, W) class ids.
        truth: (H, W) class ids; pixels of 255 do not count, and make no edge.
        dilation: Width of the band, as a share of the frame's diagonal, > 0.

    References:
        Cheng et al., "Boundary IoU", CVPR 2021. The frame's border counts as an edge, as there.
    """
    check_shape((None, None), truth=truth)
    check_shape(truth.shape, predicted=predicted)
    check_positive(dilation=dilation)
    known = truth != IGNORE
    width = max(1, round(dilation * float(np.hypot(*truth.shape))))
    # Ignored pixels take the prediction's side, so that their rim is no edge of the truth.
    there = _edge_band(np.where(known, truth, predicted) == SMOKE, width) & known
    found = _edge_band(predicted == SMOKE, width) & known
    tp = int(np.count_nonzero(found & there))
    fp, fn = int(np.count_nonzero(found)) - tp, int(np.count_nonzero(there)) - tp
    return PixelCounts(tp, fp, fn, int(np.count_nonzero(known)) - tp - fp - fn)


def _edge_band(inside: Region, width: int) -> Region:
    """Return the pixels of the region that lie at most `width` steps from its outside."""
    padded = np.pad(inside.astype(np.uint8), 1)
    kernel = np.ones((3, 3), np.uint8)
    core: Region = cv2.erode(padded, kernel, iterations=width)[1:-1, 1:-1] > 0
    return inside & ~core
