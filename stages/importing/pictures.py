"""Turn what an export says of a picture into a row of the index, its mask and its instances."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from weakseg.arrays import Instances, Mask
from weakseg.artifacts import atomic_path, write_bytes, write_mask
from weakseg.data.reading import read_facts, read_frame
from weakseg.errors import DataError
from weakseg.importers import Marked, Skipped
from weakseg.importers.drawing import Tally, draw_regions, is_wanted
from weakseg.importers.files import PictureError
from weakseg.importers.shapes import ShapeError
from weakseg.labels import IGNORE, SMOKE

EMBEDDED_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif"}
FIRST_TURNED = 5
"""From this EXIF orientation on, rows are stored as columns."""


@dataclass
class Row:
    """One frame of the index.

    Args:
        name: Its path relative to the source.
        path: The frame's absolute path.
        label: 1 with smoke, 0 without.
        split: "train", "val", "test" or another; empty if not settled.
        scene: Empty if not known.
        sequence: Empty if not known.
        camera: Empty if not known.
        mask_path: Relative to the output; empty if it has no mask.
        instances_path: Relative to the output; empty if it has no instances.
        tally: What became of its regions, if it has any.
    """

    name: str
    path: Path
    label: int
    split: str = ""
    scene: str = ""
    sequence: str = ""
    camera: str = ""
    mask_path: str = ""
    instances_path: str = ""
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class PictureRules:
    """How pictures become frames.

    Args:
        output: The folder that takes masks and instances, absolute.
        classes: Wanted labels in lower case; see `weakseg.importers.drawing.is_wanted`.
        copy: Whether frames are copied.
        skip_unmarked: Whether pictures without regions are left out.
        max_pixels: Larger pictures are left out.
    """

    output: Path
    classes: Collection[str]
    copy: bool
    skip_unmarked: bool
    max_pixels: int

    def take(self, id: str, one: Marked) -> Row | Skipped:
        """Read a picture, draw what is marked, and write it; or say why it is left out."""
        try:
            path = self._place(id, one)
            mask, instances, tally = self._draw(one, path)
        except _LeftOut as left:
            return Skipped("picture", one.name, str(left), len(one.regions or ()), left.detail)
        row = Row(one.name, path, one.label or 0, one.split, one.scene, one.sequence, one.camera)
        row.tally = tally
        if mask is not None:
            row.label = int((mask == SMOKE).any())
            row.mask_path = f"masks/{id}.png"
            write_mask(self.output / row.mask_path, mask)
        if instances is not None and instances.any():
            row.instances_path = f"instances/{id}.png"
            write_instances(self.output / row.instances_path, instances)
        return row

    def _place(self, id: str, one: Marked) -> Path:
        """Give the picture's absolute path, copied or written out if need be."""
        if one.content is not None:
            content = _read_content(one.content)
            target = self.output / "frames" / f"{id}{_suffix(content)}"
            write_bytes(target, content)
            return target
        assert one.path is not None, "a picture has a path or a content"
        if not self.copy or one.path.is_relative_to(self.output):
            return one.path
        target = self.output / "frames" / one.name
        with atomic_path(target) as temporary:
            shutil.copyfile(one.path, temporary)
        return target

    def _draw(self, one: Marked, path: Path) -> tuple[Mask | None, Instances | None, Tally]:
        height, width = self._measure(one, path)
        if one.mask is not None:
            mask, instances = _read_mask(one, height, width)
            return mask, instances, Tally()
        if one.regions is None:
            return None, None, Tally()
        if not one.regions and self.skip_unmarked:
            raise _LeftOut("picture without regions")
        mask, instances, tally = draw_regions(
            one.regions, height=height, width=width, classes=self.classes
        )
        if not tally.drawn and any(is_wanted(region, self.classes) for region in one.regions):
            raise _LeftOut("none of its regions can be drawn", "; ".join(sorted({*tally.fates})))
        return mask, instances, tally

    def _measure(self, one: Marked, path: Path) -> tuple[int, int]:
        """Read the picture in full, so that a broken one is found now."""
        try:
            height, width = read_frame(path, max_pixels=self.max_pixels).shape[:2]
        except DataError as error:
            raise _LeftOut("broken picture", str(error)) from error
        if one.size is None or one.size == (height, width):
            return height, width
        turned = read_facts(path, max_pixels=self.max_pixels).orientation >= FIRST_TURNED
        if turned and one.size == (width, height):
            raise _LeftOut("drawn on the picture before its EXIF rotation")
        given = f"{one.size[0]}x{one.size[1]} given, {height}x{width} found"
        raise _LeftOut("picture of another size than its annotation", given)


class _LeftOut(Exception):
    """Why a picture is left out: a reason that equal causes share, and more about it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


def write_instances(path: Path, instances: Instances) -> None:
    """Write instance numbers as a 16-bit grey PNG, which `read_instances` reads."""
    buffer = io.BytesIO()
    Image.fromarray(instances.astype(np.uint16)).save(buffer, format="PNG", compress_level=3)
    write_bytes(path, buffer.getvalue())


def _read_mask(one: Marked, height: int, width: int) -> tuple[Mask, Instances | None]:
    assert one.mask is not None
    try:
        mask, instances = one.mask.draw(height, width)
    except ShapeError as error:
        raise _LeftOut(str(error), str(one.mask.path)) from error
    except DataError as error:
        raise _LeftOut("broken mask", str(error)) from error
    if IGNORE in mask and SMOKE not in mask:
        # As 0 and 255 alone, it would be read for black and white: all smoke.
        raise _LeftOut("no smoke, but pixels to ignore", str(one.mask.path))
    return mask, instances


def _read_content(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except PictureError as error:
        raise _LeftOut(str(error)) from error


def _suffix(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return EMBEDDED_SUFFIXES.get(picture.format or "", ".png")
    except (OSError, ValueError, SyntaxError) as error:
        raise _LeftOut("broken picture", str(error)) from error


def index_path(row: Row, output: Path) -> str:
    """Name a frame in the index: relative inside the output, else by its whole path."""
    return (
        Path(os.path.relpath(row.path, output)).as_posix()
        if row.path.is_relative_to(output)
        else str(row.path)
    )
