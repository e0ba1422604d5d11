"""Read LabelMe's JSON: one file a picture, with the picture inside or beside it."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weakseg.data.reading import DAMAGE, MAX_PIXELS
from weakseg.importers.files import (
    PictureError,
    PictureFinder,
    annotation_files,
    base_of,
    items_of,
    looks_like,
    read_export_json,
    refuse_foreign,
)
from weakseg.importers.records import Export, Marked, Region, Skipped, split_of
from weakseg.importers.shapes import (
    Bitmap,
    Ellipse,
    Inside,
    Outline,
    Shape,
    ShapeError,
    as_points,
    box,
)

WITHOUT_AREA = ("point", "points", "line", "linestrip")


@dataclass(frozen=True)
class LabelmeReader:
    """LabelMe's `{imagePath, imageData, imageHeight, imageWidth, shapes}`.

    A rectangle is given by two opposite corners, a circle by its centre and a point on it, a mask
    by its corners and a PNG in base64. A file on disk is preferred to the embedded `imageData`,
    which is written out as a frame where there is none.

    References:
        Wada, "Labelme: Image Polygonal Annotation with Python", github.com/wkentaro/labelme;
        format by its `label_file.py` and `utils/shape.py`, version 5.
    """

    def read(self, source: Path) -> Export:
        """List the pictures and shapes of a JSON file, or of all such files in a folder.

        Raises:
            DataError: If a file is damaged, or none is LabelMe's.
        """
        finder = PictureFinder(base_of(source))
        files: list[str] = []
        pictures: list[Marked] = []
        skipped: list[Skipped] = []
        looks: dict[str, str] = {}
        for path in annotation_files(source):
            content = read_export_json(path)
            looks[path.name] = looks_like(content)
            if looks[path.name] != "labelme":
                skipped.append(Skipped("file", finder.relative(path), "not a LabelMe file"))
                continue
            files.append(finder.relative(path))
            one = _picture(path, content, finder)
            if isinstance(one, Marked):
                pictures.append(one)
            else:
                skipped.append(one)
        if not files:
            raise refuse_foreign(source, "LabelMe", looks)
        return Export(tuple(files), tuple(pictures), skipped=tuple(skipped))


def _picture(path: Path, content: Mapping[str, Any], finder: PictureFinder) -> Marked | Skipped:
    regions = tuple(_region(node) for node in items_of(content.get("shapes")))
    picture, embedded = None, None
    try:
        picture = finder.find(content.get("imagePath"), beside=path.parent)
        name = finder.relative(picture)
    except PictureError as error:
        name = finder.relative(path)
        if not content.get("imageData"):
            return Skipped("picture", name, str(error), regions=len(regions))
        embedded = partial(_embedded, path)
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    split = split_of(Path(name).parts[:-1])
    return Marked(name, picture, embedded, regions, split=split, size=size)


def _embedded(path: Path) -> bytes:
    """Decode a file's picture; read again, as thousands of them would fill the memory."""
    try:
        return _decode(read_export_json(path)["imageData"])
    except ShapeError as error:
        raise PictureError("broken picture") from error


def _region(node: Any) -> Region:
    if not isinstance(node, dict):
        return Region("unknown", problem="region without a shape")
    kind = str(node.get("shape_type") or "polygon")
    label = node.get("label")
    labels = (str(label),) if label not in (None, "") else ()
    try:
        return Region(kind, labels, _shape(kind, node))
    except ShapeError as error:
        return Region(kind, labels, problem=str(error))


def _shape(kind: str, node: Mapping[str, Any]) -> Shape:
    if kind in WITHOUT_AREA:
        raise ShapeError(f"{'line' if 'line' in kind else 'point'} without an area")
    given = node.get("points")
    if not isinstance(given, list) or not all(isinstance(p, list) and len(p) == 2 for p in given):
        raise ShapeError("coordinates are no usable numbers")
    points = as_points([point[0] for point in given], [point[1] for point in given])
    if kind == "polygon":
        return Outline((points,))
    if kind not in ("rectangle", "circle", "mask"):
        raise ShapeError("unknown shape")
    if len(points) != 2:
        raise ShapeError("not the two points that a shape of this kind has")
    (x, y), (other_x, other_y) = points.tolist()
    if kind == "circle":
        radius = float(np.hypot(other_x - x, other_y - y))
        return Ellipse(x, y, radius, radius)
    outline = box(x, y, other_x - x, other_y - y)
    if kind == "rectangle":
        return outline
    left, top = (int(edge) for edge in outline.rings[0].min(axis=0))
    return Bitmap(partial(_read_mask, node.get("mask")), top=top, left=left, whole=False)


def _read_mask(text: Any) -> Inside:
    """Decode a mask's PNG: every value but 0 is inside."""
    try:
        with Image.open(io.BytesIO(_decode(text))) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ShapeError("damaged mask")
            return np.array(picture.convert("L")) > 0
    except DAMAGE as error:
        raise ShapeError("damaged mask") from error


def _decode(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ShapeError("damaged mask") from error
