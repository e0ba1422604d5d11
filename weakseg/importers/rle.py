"""Decode COCO's run-length encoded masks, and refuse damaged ones.

pycocotools would do, but trusts what it reads: with runs that do not fill the mask it returns
memory that was never written. The format is theirs: runs of zeros and ones by turns, starting
with zeros, down the columns; compressed, each run (from the fourth on its difference to the last
but one) is written in groups of five bits and a continuation bit, lowest first, from "0" on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from weakseg.importers.shapes import Inside, ShapeError

DAMAGED = "damaged run-length code"
FIRST_LETTER = 48
LETTERS = 64
MORE = 0x20
SIGN = 0x10
LONGEST_GROUPS = 8


def decode_rle(code: Mapping[str, Any], *, height: int, width: int) -> Inside:
    """Decode `{"size": [height, width], "counts": [...] or "..."}`.

    Args:
        code: As in a COCO file; counts may be a list (uncompressed), text or bytes (compressed).
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Returns:
        (H, W) bool.

    Raises:
        ShapeError: If it is damaged, or made for a picture of another size.
    """
    if code.get("size") != [height, width]:
        raise ShapeError("a bitmap of another size than the picture")
    counts = code.get("counts")
    runs = _expand(counts) if isinstance(counts, str | bytes) else _listed(counts)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ShapeError(DAMAGED)
    values = np.arange(len(runs)) % 2 == 1
    # The columns come one after the other: (W * H,) -> (H, W)
    return np.repeat(values, runs).reshape(width, height).T


def _listed(counts: Any) -> npt.NDArray[np.int64]:
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise ShapeError(DAMAGED)
    if sum(counts) >= 2**62:
        raise ShapeError(DAMAGED)
    return np.array(counts, dtype=np.int64)


def _expand(text: str | bytes) -> npt.NDArray[np.int64]:
    letters = text.encode("ascii", "replace") if isinstance(text, str) else text
    runs: list[int] = []
    value, groups = 0, 0
    for letter in letters:
        code = letter - FIRST_LETTER
        if not 0 <= code < LETTERS or groups == LONGEST_GROUPS:
            raise ShapeError(DAMAGED)
        value |= (code & 0x1F) << (5 * groups)
        groups += 1
        if code & MORE:
            continue
        if code & SIGN:
            value -= 1 << (5 * groups)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, groups = 0, 0
    if groups:
        raise ShapeError(DAMAGED)
    return np.array(runs, dtype=np.int64)
