"""Ask SAM at points of a frame, and keep its masks on disk: those of a whole frame cost seconds."""

from __future__ import annotations

import io
import logging
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from weakseg.arrays import FrameArray
from weakseg.artifacts.atomic import write_bytes
from weakseg.models.sam import segment_anything_module
from weakseg.refine.embeddings import Embedding
from weakseg.refine.prompts import BoolMap, Coordinates

log = logging.getLogger(__name__)

MAX_PIXELS: Final = 1 << 26
"""Of all masks that are held at once: 256 MiB of float32, which SAM filters by copying."""

_MASKS_PER_POINT = 3


def masks_at(
    sam: nn.Module,
    frame: FrameArray,
    embedding: Embedding,
    points: Coordinates,
    *,
    points_per_batch: int,
    min_quality: float,
    min_stability: float,
) -> list[BoolMap]:
    """Return SAM's masks (H, W) at `points`, (N, 2) as (x, y) in pixels, without doubles.

    Args:
        sam: A `segment_anything` Sam.
        frame: (H, W, 3) uint8, RGB.
        embedding: What SAM's encoder sees in it.
        points: (N, 2) float32.
        points_per_batch: Most points SAM answers at once, at least 1; fewer where their masks,
            three of the frame's size each, would pass `MAX_PIXELS`. The masks are the same.
        min_quality: Masks that SAM itself rates lower are dropped, in [0, 1].
        min_stability: Masks that change more than this with SAM's cut are dropped, in [0, 1].
    """
    generator = segment_anything_module().SamAutomaticMaskGenerator(
        sam,
        points_per_side=None,
        point_grids=[points / np.array(frame.shape[1::-1])],
        points_per_batch=points_at_once(points_per_batch, *frame.shape[:2]),
        pred_iou_thresh=min_quality,
        stability_score_thresh=min_stability,
    )
    # The generator would embed the frame again: it has one crop, the frame.
    generator.predictor.set_image = lambda image: show(generator.predictor, image, embedding)
    return [np.asarray(found["segmentation"], bool) for found in generator.generate(frame)]


def points_at_once(asked: int, height: int, width: int) -> int:
    """Say how many points to ask at once, so that their masks stay within `MAX_PIXELS`."""
    return max(1, min(asked, MAX_PIXELS // (_MASKS_PER_POINT * height * width)))


def show(predictor: Any, frame: FrameArray, embedding: Embedding) -> None:
    """Put the predictor where `set_image` would, but for the cost."""
    size = frame.shape[:2]
    predictor.reset_image()
    predictor.original_size = size
    predictor.input_size = predictor.transform.get_preprocess_shape(
        *size, predictor.transform.target_length
    )
    predictor.features = torch.from_numpy(embedding.astype(np.float32)).to(predictor.device)
    predictor.is_image_set = True


def cached_masks(path: Path | None, compute: Callable[[], list[BoolMap]]) -> list[BoolMap]:
    """Return the masks at `path`, or compute and keep them; a damaged file is computed anew.

    Args:
        path: The file; None keeps nothing.
        compute: Gives the masks, all of one size.

    Raises:
        ArtifactError: If the file cannot be written.
    """
    if path is None:
        return compute()
    found = _read(path)
    if found is not None:
        return found
    masks = compute()
    write_bytes(path, _pack(masks))
    return masks


def _pack(masks: Sequence[BoolMap]) -> bytes:
    """One bit a pixel, compressed; the format checks its own sums."""
    stack = np.stack(masks) if masks else np.zeros((0, 0, 0), np.bool_)
    content = io.BytesIO()
    bits = np.packbits(stack.reshape(len(stack), -1), axis=1) if masks else stack
    np.savez_compressed(content, bits=bits, shape=np.array(stack.shape))
    return content.getvalue()


def _read(path: Path) -> list[BoolMap] | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            bits, (count, height, width) = stored["bits"], stored["shape"].tolist()
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        log.debug("%s is damaged: computed anew", path)
        return None
    if count == 0:
        return []
    stack = np.unpackbits(bits, axis=1, count=height * width).astype(np.bool_)
    return list(stack.reshape(count, height, width))
