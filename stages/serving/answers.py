"""Pack what the service says of a frame: figures and mask in JSON, or one PNG."""

from __future__ import annotations

import base64
import io
import json
import math
from enum import Enum

import numpy as np
from PIL import Image

from weakseg.arrays import FrameArray
from weakseg.report import overlay
from weakseg.stages.predictor import Prediction

JSON, PNG = "application/json", "image/png"
"""Media types of the answers."""

_LEVELS = 255


class Wanted(str, Enum):  # noqa: UP042 - FastAPI shows a str's members as choices
    """What a client gets back."""

    json = "json"
    mask = "mask"
    scores = "scores"
    overlay = "overlay"


def answer(
    wanted: Wanted, frame: FrameArray, prediction: Prediction, seconds: float
) -> tuple[bytes, str]:
    """Pack a prediction as the client wants it; give the bytes and their media type."""
    if wanted is Wanted.mask:
        return _png(prediction.mask * np.uint8(_LEVELS)), PNG
    if wanted is Wanted.scores:
        return _png(np.rint(prediction.scores * _LEVELS).astype(np.uint8)), PNG
    if wanted is Wanted.overlay:
        return _png(overlay(frame, prediction.mask)), PNG
    height, width = prediction.scores.shape
    figures = {
        "width": width,
        "height": height,
        "smoke_probability": round(prediction.probability, 6),
        "smoke_share": round(prediction.share, 6),
        "threshold": prediction.threshold,
        "seconds": round(seconds, 3) if math.isfinite(seconds) else None,
        "mask_png_base64": base64.b64encode(_png(prediction.mask * np.uint8(_LEVELS))).decode(),
    }
    return json.dumps(figures, allow_nan=False).encode(), JSON


def _png(pixels: FrameArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
