"""Make evidence of a frame once more, keep it on disk, and combine it with the scores."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import struct
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.artifacts.atomic import write_bytes
from weakseg.cam import CamRecipe
from weakseg.checks import check_shape
from weakseg.errors import ArtifactError
from weakseg.refine.step import FrameContext

log = logging.getLogger(__name__)

COMBINATIONS: Final = ("mean", "product", "max")

_DOES_NOT_MATTER: Final = {"batch_size"}
_DAMAGE: Final = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise at a file that is not what was written."""


def combine_views(smoke: ScoreMap, seen: ScoreMap, *, combine: str, weight: float) -> ScoreMap:
    """Combine smoke scores s with evidence e of a second look, pixel by pixel.

    * "mean": (1 - weight) s + weight e, between the two.
    * "product": s^(1 - weight) min(s, e)^weight, the weighted geometric mean where the second look
      sees less, s where it sees more: scores can only fall, and never below the lower of the two.
    * "max": max(s, weight e): scores can only rise, and never above the higher of the two.

    So no score rises above max(s, e), and with evidence gated by the classifier's probability none
    rises above it that was not above it before. With equal s and e, "mean" and "product" change
    nothing; so does weight 0 in all of them.

    Args:
        smoke: (H, W) float32 in [0, 1].
        seen: (H, W) float32 in [0, 1].
        combine: One of `COMBINATIONS`.
        weight: Of the second look, in [0, 1].
    """
    check_shape(tuple(smoke.shape), evidence=seen)
    share = np.float32(weight)
    if combine == "mean":
        found = (1 - share) * smoke + share * seen
    elif combine == "product":
        found = smoke ** (1 - share) * np.minimum(smoke, seen) ** share
        # A power of a tiny number may round above it.
        found = np.minimum(found, smoke)
    else:
        found = np.maximum(smoke, share * seen)
    return np.asarray(np.clip(found, 0, 1), dtype=np.float32)


def look_again(
    recipe: CamRecipe, frame: FrameArray, context: FrameContext, *, asker: str
) -> ScoreMap:
    """Give the evidence (H, W) of a frame by another recipe, from the cache where it is there.

    It is float16 whether it comes from the disk or not, so that both give the same scores. A file
    that is damaged in any way is made anew.

    Raises:
        ArtifactError: If there is no classifier to look with, or the file cannot be written.
        ValueError: If what comes back is no evidence of this frame.
    """
    if context.look is None:
        raise ArtifactError(
            f"refine step {asker} looks at frames again, and there is no classifier to look with: "
            "give stage 2 a stage-1 run with one (cams=RUN), or leave the step out of refine"
        )
    path = None if context.cache_dir is None else _path(context.cache_dir, recipe, frame, context)
    height, width = frame.shape[:2]
    found = None if path is None else _read(path, height, width)
    if found is None:
        seen = context.look(recipe)
        check_shape((height, width), **{f"evidence of {context.frame_id}": seen})
        if not (np.all(seen >= 0) and np.all(seen <= 1)):
            raise ValueError(f"the evidence of {context.frame_id} must lie in [0, 1]")
        found = np.asarray(seen, dtype=np.float16)
        if path is not None:
            write_bytes(path, _pack(found))
    return np.asarray(found, dtype=np.float32)


def _path(cache_dir: Path, recipe: CamRecipe, frame: FrameArray, context: FrameContext) -> Path:
    """Name a file by recipe, arithmetic, pixels and, for the classifier, its first evidence."""
    told = {**asdict(recipe), "shape": frame.shape, "probability": context.probability}
    told["precision"] = context.look_precision
    told = {key: value for key, value in told.items() if key not in _DOES_NOT_MATTER}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(frame).tobytes())
    digest.update(np.ascontiguousarray(context.evidence).tobytes())
    return cache_dir / "views" / f"{digest.hexdigest()}.npz"


def _pack(evidence: np.ndarray[Any, np.dtype[np.float16]]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, evidence=evidence)
    return content.getvalue()


def _read(path: Path, height: int, width: int) -> np.ndarray[Any, np.dtype[np.float16]] | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as content:
            found = content["evidence"]
    except _DAMAGE:
        log.debug("%s is damaged: made anew", path)
        return None
    fits = found.shape == (height, width) and found.dtype == np.float16
    return found if fits and bool(np.all((found >= 0) & (found <= 1))) else None
