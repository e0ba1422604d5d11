"""Understand masks that others saved: ids, greys, colours or instance numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from weakseg.arrays import FrameArray, Instances, Mask
from weakseg.checks import check_one_of
from weakseg.data.reading import read_frame, read_ids, read_instances
from weakseg.data.threads import map_threads
from weakseg.errors import DataError
from weakseg.importers.shapes import ShapeError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE

CODINGS: Final = ("auto", "ids", "grey", "colour", "instances")
HALF = 128
SHOWN_VALUES = 8


@dataclass(frozen=True)
class Coding:
    """How a folder of masks says which pixels are smoke.

    Args:
        kind: "ids" (class numbers; 255 is to be ignored unless it is named as smoke), "grey"
            (smoke from half of 255 on: black and white, also with soft or JPEG-worn edges),
            "colour" (RGB), "instances" (0 is background, every other number one instance), or
            "auto": see `settle`.
        smoke: Of "ids" the numbers that are smoke; of "colour" their colours as `#rrggbb`, where
            an empty list means all but black. Of no use to the others.

    Raises:
        ValueError: If the kind is unknown, or a value does not fit it.
    """

    kind: str = "auto"
    smoke: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_one_of(CODINGS, coding=self.kind)
        object.__setattr__(self, "smoke", tuple(map(str, self.smoke)))
        if self.kind == "colour":
            self.colours()
        elif self.kind in ("ids", "auto"):
            self.numbers()
        elif self.smoke:
            raise ValueError(f"smoke_values are of no use with coding={self.kind}: leave them out")

    def numbers(self) -> list[int]:
        """List the ids that are smoke."""
        values = [int(text) if text.isdigit() else -1 for text in self.smoke] or [SMOKE]
        if not all(0 < value <= IGNORE for value in values):
            raise ValueError(f"smoke_values must be ids from 1 to 255, got {list(self.smoke)}")
        return values

    def colours(self) -> list[int]:
        """List the colours that are smoke, as 24-bit numbers."""
        try:
            return [_parse_colour(text) for text in self.smoke]
        except ValueError as error:
            raise ValueError(
                f"smoke_values must be colours such as '#ff0000', got {list(self.smoke)}"
            ) from error


@dataclass(frozen=True)
class MaskFile:
    """A mask saved by others.

    Args:
        path: The file; None stands for a mask of nothing.
        coding: How to read it; settled, so not "auto".
    """

    path: Path | None
    coding: Coding = Coding("ids")

    def draw(self, height: int, width: int) -> tuple[Mask, Instances | None]:
        """Read it for a picture of that size.

        Returns:
            (H, W) uint8 of 0, 1 and 255, and (H, W) uint16 where it says which instance is which.

        Raises:
            ShapeError: If it has another size.
            DataError: If it cannot be read.
        """
        if self.path is None:
            return np.full((height, width), BACKGROUND, dtype=np.uint8), None
        mask, instances = self._read(self.path)
        if mask.shape != (height, width):
            raise ShapeError("mask of another size than the picture")
        return mask, instances

    def _read(self, path: Path) -> tuple[Mask, Instances | None]:
        if self.coding.kind == "instances":
            numbers = read_instances(path)
            return _as_mask(numbers > 0), _number_from_one(numbers)
        if self.coding.kind == "colour":
            colours = _packed(read_frame(path))
            wanted = self.coding.colours()
            return _as_mask(np.isin(colours, wanted) if wanted else colours > 0), None
        if self.coding.kind == "grey":
            return _as_mask(read_ids(path) >= HALF), None
        ids = read_ids(path)
        mask = np.where(ids == IGNORE, IGNORE, BACKGROUND).astype(np.uint8)
        mask[np.isin(ids, self.coding.numbers())] = SMOKE
        return mask, None


def settle(coding: Coding, paths: Sequence[Path]) -> Coding:
    """Find out what "auto" means for a folder, by all its masks together.

    One file does not tell: 0 and 255 alone are smoke in a black-and-white set and pixels to ignore
    in a set of ids. A set with 1, or with the ids named as smoke, is of ids; a set of 0 and 255
    only is grey.

    Args:
        coding: As given.
        paths: All masks.

    Raises:
        DataError: If the values fit neither.
    """
    if coding.kind != "auto":
        return coding
    found = np.zeros(IGNORE + 1, dtype=np.bool_)
    for values in map_threads(partial(_values_of, folder=_parent(paths)), paths):
        found |= values
    present = set(np.flatnonzero(found).tolist())
    if coding.smoke or (present <= {BACKGROUND, SMOKE, IGNORE} and SMOKE in present):
        return Coding("ids", coding.smoke)
    if present <= {BACKGROUND, IGNORE}:
        return Coding("grey")
    shown = ", ".join(map(str, sorted(present)[:SHOWN_VALUES]))
    more = ", ..." if len(present) > SHOWN_VALUES else ""
    raise DataError(
        f"the masks in {_parent(paths)} hold the values {shown}{more}: say what they mean by "
        "format.coding=grey (smoke from 128 on), format.coding=ids with "
        "format.smoke_values=[ID,...], or format.coding=instances"
    )


def _parent(paths: Sequence[Path]) -> Path:
    return paths[0].parent if paths else Path()


def _values_of(path: Path, *, folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Say which of 0-255 a mask holds; what cannot be read says nothing, and is told later."""
    try:
        return np.bincount(read_ids(path).reshape(-1), minlength=IGNORE + 1) > 0
    except DataError as error:
        if "coloured" not in str(error):
            return np.zeros(IGNORE + 1, dtype=np.bool_)
        raise DataError(
            f"the masks in {folder} are coloured (such as {path.name}): give format.coding=colour "
            "with format.smoke_values=['#rrggbb',...], or nothing for all but black"
        ) from error


def _as_mask(smoke: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Mask:
    return np.where(smoke, SMOKE, BACKGROUND).astype(np.uint8)


def _number_from_one(numbers: Instances) -> Instances:
    """Give the instances numbers without gaps, in their order."""
    present, places = np.unique(numbers, return_inverse=True)
    first = 0 if present[0] == 0 else 1
    return (places.reshape(numbers.shape) + first).astype(np.uint16)


def _packed(pixels: FrameArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    wide = pixels.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _parse_colour(text: str) -> int:
    if len(text) != 7 or text[0] != "#":
        raise ValueError(text)
    return int(text[1:], 16)
