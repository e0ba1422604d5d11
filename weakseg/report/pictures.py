"""Draw scores and masks so that an eye can judge them; the same colours everywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.checks import check_at_least, check_in_unit, check_shape
from weakseg.labels import IGNORE, SMOKE

Colour = tuple[int, int, int]

# After the palette of Okabe and Ito: told apart by colour-blind eyes too.
SMOKE_COLOUR: Final[Colour] = (222, 45, 145)
IGNORE_COLOUR: Final[Colour] = (240, 228, 66)
HIT_COLOUR: Final[Colour] = (0, 178, 130)
FALSE_ALARM_COLOUR: Final[Colour] = (230, 75, 0)
MISS_COLOUR: Final[Colour] = (0, 114, 218)

LONG_SIDE: Final = 320
_FEW_COLOURS: Final = 64
_GAP: Final = 6


def heatmap(score: ScoreMap) -> FrameArray:
    """Colour scores from black (0) over red to pale yellow (1), on a scale that never changes.

    Args:
        score: (H, W) in [0, 1]; values beyond are clipped.

    Returns:
        (H, W, 3) uint8.
    """
    check_shape((None, None), score=score)
    levels = np.rint(np.clip(score, 0, 1) * 255).astype(np.uint8)
    blue_first = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(blue_first[..., ::-1], dtype=np.uint8)


def overlay(frame: FrameArray, layer: Mask | ScoreMap, *, opacity: float = 0.45) -> FrameArray:
    """Lay a mask (uint8 class ids) or a soft score (float in [0, 1]) over a frame.

    A mask is tinted and outlined; a score shows through in proportion to itself, so that an
    empty map leaves the frame as it is. A layer of another size is stretched to the frame.

    Args:
        frame: (H, W, 3) uint8, RGB.
        layer: (h, w) uint8 class ids, or floats in [0, 1].
        opacity: Of the tint at its strongest, in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    check_shape((None, None, 3), frame=frame)
    check_shape((None, None), layer=layer)
    check_in_unit(opacity=opacity)
    if np.issubdtype(layer.dtype, np.floating):
        score = _fit_score(layer, frame)
        strength = (np.minimum(score * 2, 1) * np.float32(max(opacity, 0.6)))[..., None]
        return _blend(frame, heatmap(score), strength)
    mask = _fit_mask(layer, frame)
    drawn = _tint(frame, mask == IGNORE, IGNORE_COLOUR, opacity)
    return _tint(drawn, mask == SMOKE, SMOKE_COLOUR, opacity)


def comparison(frame: FrameArray, mask: Mask, truth: Mask, *, opacity: float = 0.55) -> FrameArray:
    """Show where a mask is right (green), false (orange) and missing (blue); ignored is yellow."""
    check_shape((None, None, 3), frame=frame)
    mask = _fit_mask(mask, frame)
    truth = _fit_mask(truth, frame)
    found, real, known = mask == SMOKE, truth == SMOKE, truth != IGNORE
    drawn = _tint(frame, ~known, IGNORE_COLOUR, opacity / 2)
    drawn = _tint(drawn, real & ~found, MISS_COLOUR, opacity)
    drawn = _tint(drawn, found & ~real & known, FALSE_ALARM_COLOUR, opacity)
    return _tint(drawn, real & found, HIT_COLOUR, opacity)


def shrink(image: npt.NDArray[np.uint8], *, long_side: int = LONG_SIDE) -> npt.NDArray[np.uint8]:
    """Scale an image down until its longer side is at most `long_side` pixels."""
    check_at_least(1, long_side=long_side)
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def panel_sheet(
    rows: Sequence[Sequence[npt.NDArray[np.uint8]]], *, long_side: int = LONG_SIDE
) -> FrameArray:
    """Arrange images in rows on one white sheet.

    Args:
        rows: Rows of (H, W, 3) or (H, W) uint8 images, of any sizes.
        long_side: Each is shrunk to this many pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If there is no image.
    """
    small = [[shrink(_coloured(image), long_side=long_side) for image in row] for row in rows]
    small = [row for row in small if row]
    if not small:
        raise ValueError("a sheet needs at least one image")
    strips = [_join(row, axis=1) for row in small]
    return _join(strips, axis=0)


def data_uri(image: npt.NDArray[np.uint8], *, long_side: int = LONG_SIDE) -> str:
    """Pack an image into a `data:` address: PNG where it has few colours, else JPEG."""
    picture = Image.fromarray(shrink(_coloured(image), long_side=long_side))
    flat = picture.getcolors(maxcolors=_FEW_COLOURS) is not None
    buffer = io.BytesIO()
    if flat:
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.save(buffer, format="JPEG", quality=85)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{'png' if flat else 'jpeg'};base64,{text}"


def _tint(
    frame: FrameArray, where: npt.NDArray[np.bool_], colour: Colour, opacity: float
) -> FrameArray:
    """Tint the pixels of `where`, with a solid line round them."""
    solid = np.broadcast_to(np.array(colour, dtype=np.uint8), frame.shape)
    drawn = _blend(frame, solid, np.where(where, np.float32(opacity), np.float32(0))[..., None])
    line = where & ~cv2.erode(where.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    drawn[line] = colour
    return drawn


def _blend(
    below: FrameArray, above: npt.NDArray[np.uint8], strength: npt.NDArray[np.float32]
) -> FrameArray:
    mixed = below * (1 - strength) + above * strength
    return np.rint(mixed).astype(np.uint8)


def _fit_mask(mask: npt.NDArray[Any], frame: FrameArray) -> Mask:
    size = (frame.shape[1], frame.shape[0])
    mask = mask.astype(np.uint8, copy=False)
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _fit_score(score: npt.NDArray[Any], frame: FrameArray) -> ScoreMap:
    size = (frame.shape[1], frame.shape[0])
    score = np.clip(score, 0, 1).astype(np.float32)
    return np.asarray(cv2.resize(score, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _coloured(image: npt.NDArray[np.uint8]) -> FrameArray:
    """Give grey images their three channels."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    check_shape((None, None, 3), image=image)
    return image


def _join(images: Sequence[FrameArray], *, axis: int) -> FrameArray:
    """Put images side by side (axis 1) or below each other (axis 0), padded with white."""
    other = 1 - axis
    size = max(image.shape[other] for image in images)
    parts: list[FrameArray] = []
    for index, image in enumerate(images):
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[other] = (0, size - image.shape[other])
        pad[axis] = (0, _GAP if index < len(images) - 1 else 0)
        parts.append(np.pad(image, pad, constant_values=255))
    return np.concatenate(parts, axis=axis)
