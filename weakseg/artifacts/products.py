"""Read and write what the stages hand over: CAMs, masks, soft scores. Same input, same bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from weakseg.arrays import FloatArray, Mask, ScoreMap
from weakseg.artifacts.atomic import write_bytes
from weakseg.checks import check_shape
from weakseg.errors import ArtifactError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE

_LEVELS: Final = 255


class StoredCam(NamedTuple):
    """One frame's CAM as stage 1 leaves it."""

    raw: npt.NDArray[np.float32]
    """(h, w) float32 >= 0, at feature resolution, absolute."""
    logit: float
    """The classifier's smoke logit of the frame."""


def write_cam(path: Path | str, raw: FloatArray, logit: float) -> None:
    """Write a raw CAM to `path` (.npz, no pickle).

    Values are kept as float16 beside a power of two, so that evidence of any magnitude keeps
    its 11 bits.

    Args:
        path: `cams/ID.npz`.
        raw: (h, w), finite, >= 0.
        logit: The classifier's smoke logit.

    Raises:
        ValueError: If the CAM is not finite or not >= 0.
    """
    check_shape((None, None), raw=raw)
    values = np.asarray(raw, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not np.isfinite(logit):
        raise ValueError("a CAM must be finite and at least 0, and its logit finite")
    peak = float(values.max(initial=0.0))
    exponent = int(np.frexp(peak)[1])
    half = np.ldexp(values, -exponent).astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, raw=half, exponent=np.int32(exponent), logit=np.float64(logit))
    write_bytes(path, buffer.getvalue())


def read_cam(path: Path | str) -> StoredCam:
    """Read what `write_cam` wrote.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    path = Path(path)
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as content:
            half, exponent = content["raw"], int(content["exponent"])
            logit = float(content["logit"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(_unreadable(path, "CAM", error)) from error
    return StoredCam(np.ldexp(half.astype(np.float32), exponent), logit)


def write_mask(path: Path | str, mask: Mask) -> None:
    """Write a mask of class ids (0, 1, 255) as a grey PNG.

    Raises:
        ValueError: If `mask` is not (H, W) uint8 of those ids.
    """
    check_shape((None, None), mask=mask)
    if mask.dtype != np.uint8 or not np.isin(mask, (BACKGROUND, SMOKE, IGNORE)).all():
        raise ValueError(f"a mask holds uint8 ids 0, 1 and 255, got {mask.dtype}")
    _write_grey(path, mask)


def read_mask_ids(path: Path | str) -> Mask:
    """Read a mask that a stage wrote: (H, W) uint8, 0, 1 and 255.

    Raises:
        ArtifactError: If the file is missing, damaged, or holds other values.
    """
    mask = _read_grey(Path(path), "mask")
    if not np.isin(mask, (BACKGROUND, SMOKE, IGNORE)).all():
        raise ArtifactError(f"{path} is no mask of a stage: it holds ids besides 0, 1 and 255")
    return mask


def write_scores(path: Path | str, scores: ScoreMap) -> None:
    """Write soft scores in [0, 1] as an 8-bit grey PNG.

    Raises:
        ValueError: If `scores` is not (H, W) within [0, 1].
    """
    check_shape((None, None), scores=scores)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    _write_grey(path, np.rint(scores * _LEVELS).astype(np.uint8))


def read_scores(path: Path | str) -> ScoreMap:
    """Read soft scores: (H, W) float32 in [0, 1], in steps of 1/255.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    return _read_grey(Path(path), "scores").astype(np.float32) / np.float32(_LEVELS)


def _write_grey(path: Path | str, levels: npt.NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", compress_level=6)
    write_bytes(path, buffer.getvalue())


def _read_grey(path: Path, what: str) -> npt.NDArray[np.uint8]:
    # PIL, not cv2: a truncated file must be refused, and cv2 returns half of it.
    try:
        with Image.open(path) as image:
            if image.mode != "L":
                raise ArtifactError(f"{path} is no {what} of a stage: it has mode {image.mode}")
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise ArtifactError(_unreadable(path, what, error)) from error


def _unreadable(path: Path, what: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} is missing: run the stage that makes it again"
    return f"{path} is no whole {what} ({error}): delete it and run its stage again"
