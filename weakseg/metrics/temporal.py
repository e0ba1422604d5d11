"""Judge whether masks hold still from frame to frame, where the smoke does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask
from weakseg.checks import check_shape
from weakseg.labels import IGNORE, SMOKE
from weakseg.metrics.alarms import MIN_AREA

_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, np.int64)

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """What became of the masks since the frame before.

    Args:
        found_iou: Of the found smoke of both frames; NaN if none is found in either, or if the
            frames differ in size.
        true_iou: The same of the true smoke.
        flicker: How far the change of the found share is from the change of the true one, as a
            share of the frame; NaN if a frame is all ignored.
        is_switch: Whether the alarm came or went though smoke neither came nor went.
    """

    found_iou: float
    true_iou: float
    flicker: float
    is_switch: bool


class Sequences:
    """Compare each frame with the one before it in its sequence, in the order frames come.

    Of a sequence, nothing but its latest masks is kept, as bits, and nothing after its last frame.

    Args:
        names: Sequence of every frame that will come, "" for none; frames of a sequence come in
            the order they were filmed, those of others may lie between them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._left = Counter(name for name in names if name)
        self._latest: dict[str, _Seen] = {}

    def change(self, name: str, predicted: Mask, truth: Mask) -> Change | None:
        """Take in the next frame of a sequence, and compare it with the one before.

        The camera is taken to stand still: masks are compared where they are.

        Args:
            name: Of the sequence; "" for a frame of none.
            predicted: (H, W) class ids.
            truth: (H, W) class ids; what is 255 in either frame does not count.

        Returns:
            None for the first frame of a sequence, and for a frame of none.
        """
        check_shape((None, None), truth=truth)
        check_shape(truth.shape, predicted=predicted)
        self._left[name] -= 1
        before = self._latest.pop(name, None)
        is_last = self._left[name] <= 0
        if not name or (before is None and is_last):
            return None
        now = _Seen.of(predicted, truth)
        if not is_last:
            self._latest[name] = now
        return None if before is None else _compare(before, now)


@dataclass(frozen=True)
class _Seen:
    """The masks of a frame in bits, eight pixels a byte."""

    shape: tuple[int, ...]
    found: Bits
    true: Bits
    known: Bits
    found_share: float
    true_share: float

    @classmethod
    def of(cls, predicted: Mask, truth: Mask) -> _Seen:
        known = truth != IGNORE
        found, true = (predicted == SMOKE) & known, truth == SMOKE
        pixels = int(np.count_nonzero(known)) or math.nan
        return cls(
            shape=truth.shape,
            found=np.packbits(found),
            true=np.packbits(true),
            known=np.packbits(known),
            found_share=int(np.count_nonzero(found)) / pixels,
            true_share=int(np.count_nonzero(true)) / pixels,
        )


def _compare(before: _Seen, now: _Seen) -> Change:
    changes = (now.found_share - before.found_share, now.true_share - before.true_share)
    alarms = [one.found_share > MIN_AREA for one in (before, now)]
    smoke = [one.true_share > 0 for one in (before, now)]
    found_iou = true_iou = math.nan
    if before.shape == now.shape:
        known = before.known & now.known
        found_iou = _iou(before.found & known, now.found & known)
        true_iou = _iou(before.true & known, now.true & known)
    return Change(
        found_iou=found_iou,
        true_iou=true_iou,
        flicker=abs(changes[0] - changes[1]),
        is_switch=alarms[0] != alarms[1] and smoke[0] == smoke[1],
    )


def _iou(first: Bits, second: Bits) -> float:
    union, both = (int(_BITS_OF_BYTE[one].sum()) for one in (first | second, first & second))
    return both / union if union else math.nan
