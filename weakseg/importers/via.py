"""Read exports of the VGG Image Annotator, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from weakseg.importers.shapes import Ellipse, Outline, Shape, ShapeError, as_points, box


@dataclass(frozen=True)
class ViaReader:
    """VIA's JSON: whole projects, and exports of the regions.

    A project keeps its pictures under `_via_img_metadata`; an export is that mapping alone, of
    name and size to `{filename, size, regions}`. Regions are a list (version 2) or a mapping
    (version 1). A polyline is closed, as VIA's own COCO export does; a point has no area. Angles of
    ellipses are radians from the x axis towards the y axis, which points down: this is how VIA
    draws their handles, at (cx + rx cos(theta), cy + rx sin(theta)). Values of all region
    attributes are class names, ticked boxes by the name of the box.

    References:
        Dutta and Zisserman, "The VIA Annotation Software for Images, Audio and Video", ACM
        Multimedia 2019; formats by its "Code Documentation" (CodeDoc.md) and via.js, versions
        1.0 and 2.0.
    """

    def read(self, source: Path) -> Export:
        """List the pictures and regions of a JSON file, or of all such files in a folder.

        Raises:
            DataError: If a file is damaged, or none is VIA's.
        """
        finder = PictureFinder(base_of(source))
        contents = {path: read_export_json(path) for path in annotation_files(source)}
        known = {
            path: content for path, content in contents.items() if looks_like(content) == "via"
        }
        if not known:
            looks = {path.name: looks_like(content) for path, content in contents.items()}
            raise refuse_foreign(source, "VIA", looks)
        foreign = [
            Skipped("file", finder.relative(path), "not a VIA file")
            for path in contents
            if path not in known
        ]
        read = [one for path, content in known.items() for one in _entries(path, content, finder)]
        return Export(
            files=tuple(finder.relative(path) for path in known),
            pictures=tuple(one for one in read if isinstance(one, Marked)),
            skipped=(*foreign, *(one for one in read if isinstance(one, Skipped))),
        )


def _entries(
    path: Path, content: Mapping[str, Any], finder: PictureFinder
) -> Iterator[Marked | Skipped]:
    entries = content.get("_via_img_metadata", content)
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            yield Skipped("picture", str(key), "entry that is no mapping")
            continue
        regions = tuple(_region(node) for node in items_of(entry.get("regions")))
        try:
            picture = finder.find(entry.get("filename"), beside=path.parent)
        except PictureError as error:
            name = str(entry.get("filename") or key)
            yield Skipped("picture", name, str(error), regions=len(regions))
            continue
        name = finder.relative(picture)
        yield Marked(name, picture, regions=regions, split=split_of(Path(name).parts[:-1]))


def _region(node: Any) -> Region:
    shape = node.get("shape_attributes") if isinstance(node, dict) else None
    if not isinstance(shape, dict):
        return Region("unknown", problem="region without a shape")
    kind = str(shape.get("name"))
    labels = tuple(_values(node.get("region_attributes")))
    try:
        return Region(kind, labels, _shape(kind, shape))
    except ShapeError as error:
        return Region(kind, labels, problem=str(error))


def _shape(kind: str, given: Mapping[str, Any]) -> Shape:
    if kind in ("polygon", "polyline"):
        xs, ys = given.get("all_points_x"), given.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list):
            raise ShapeError("fewer than 3 points")
        return Outline((as_points(xs, ys),))
    if kind == "rect":
        return box(*_numbers(given, "x", "y", "width", "height"))
    if kind == "circle":
        x, y, radius = _numbers(given, "cx", "cy", "r")
        return Ellipse(x, y, radius, radius)
    if kind == "ellipse":
        turned = _numbers({"theta": 0, **given}, "theta")
        return Ellipse(*_numbers(given, "cx", "cy", "rx", "ry"), *turned)
    raise ShapeError("point without an area" if kind == "point" else "unknown shape")


def _numbers(given: Mapping[str, Any], *names: str) -> tuple[float, ...]:
    points = as_points([given.get(name) for name in names], [0.0] * len(names))
    return tuple(points[:, 0].tolist())


def _values(attributes: Any) -> Iterator[str]:
    """List an attribute's texts, and the names of its ticked boxes."""
    if not isinstance(attributes, dict):
        return
    for value in attributes.values():
        if isinstance(value, dict):
            yield from (str(name) for name, ticked in value.items() if ticked)
        elif value not in ("", None):
            yield str(value)
