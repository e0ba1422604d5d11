"""Read COCO instance annotations: polygons and run-length codes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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
from weakseg.importers.rle import decode_rle
from weakseg.importers.shapes import Bitmap, Outline, Points, ShapeError, as_points


@dataclass(frozen=True)
class CocoReader:
    """COCO's JSON of instances, also as Roboflow exports it (`_annotations.coco.json`).

    A segmentation is a list of polygons that belong together, or a run-length code, compressed or
    not. Annotations with `iscrowd` belong to the mask, but are no instance. Coordinates count from
    the picture's corner, as ours do. The split is a folder's name (`train/`, `valid/`), or in the
    name of the JSON file (`instances_train2017.json`).

    References:
        Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; "Data format" at
        cocodataset.org.
    """

    def read(self, source: Path) -> Export:
        """List the pictures and regions of a JSON file, or of all such files in a folder.

        Raises:
            DataError: If a file is damaged, or none is COCO's.
        """
        finder = PictureFinder(base_of(source))
        contents = {path: read_export_json(path) for path in annotation_files(source)}
        known = {p: content for p, content in contents.items() if looks_like(content) == "coco"}
        if not known:
            looks = {path.name: looks_like(content) for path, content in contents.items()}
            raise refuse_foreign(source, "COCO", looks)
        skipped = [
            Skipped("file", finder.relative(path), "not a COCO file")
            for path in contents
            if path not in known
        ]
        pictures: list[Marked] = []
        for path, content in known.items():
            for one in _entries(path, content, finder):
                if isinstance(one, Marked):
                    pictures.append(one)
                else:
                    skipped.append(one)
        files = tuple(finder.relative(path) for path in known)
        return Export(files, tuple(pictures), skipped=tuple(skipped))


def _entries(
    path: Path, content: Mapping[str, Any], finder: PictureFinder
) -> Iterator[Marked | Skipped]:
    categories = {
        node.get("id"): str(node.get("name"))
        for node in items_of(content.get("categories"))
        if isinstance(node, dict) and isinstance(node.get("id"), int | str)
    }
    by_picture: dict[Any, list[Any]] = defaultdict(list)
    for node in items_of(content["annotations"]):
        key = node.get("image_id") if isinstance(node, dict) else None
        by_picture[key if isinstance(key, int | str) else None].append(node)
    for entry in items_of(content["images"]):
        if not isinstance(entry, dict):
            yield Skipped("picture", path.name, "entry that is no mapping")
            continue
        key = entry.get("id")
        nodes = by_picture.pop(key, []) if isinstance(key, int | str) else []
        yield from _picture(entry, nodes, categories, path, finder)
    for key, nodes in by_picture.items():
        reason = "annotation of no listed picture"
        yield Skipped("region", f"image_id {key}", reason, regions=len(nodes))


def _picture(
    entry: Mapping[str, Any],
    nodes: list[Any],
    categories: Mapping[Any, str],
    path: Path,
    finder: PictureFinder,
) -> Iterator[Marked | Skipped]:
    try:
        picture = finder.find(entry.get("file_name"), beside=path.parent)
    except PictureError as error:
        name = str(entry.get("file_name"))
        yield Skipped("picture", name, str(error), regions=len(nodes))
        return
    name = finder.relative(picture)
    regions = []
    for number, node in enumerate(nodes):
        region, lost = _region(node, categories)
        regions.append(region)
        for reason in lost:
            yield Skipped("part of a region", f"{name}#{number}", reason)
    size = (entry.get("height"), entry.get("width"))
    yield Marked(
        name,
        picture,
        regions=tuple(regions),
        split=split_of(Path(name).parts[:-1]) or split_of(re.split(r"[^A-Za-z]+", path.stem)),
        size=size if isinstance(size[0], int) and isinstance(size[1], int) else None,  # type: ignore[arg-type]
    )


def _region(node: Any, categories: Mapping[Any, str]) -> tuple[Region, list[str]]:
    """Make a region of an annotation, and say why parts of it are lost."""
    if not isinstance(node, dict):
        return Region("unknown", problem="region without a shape"), []
    category = node.get("category_id")
    known = categories.get(category) if isinstance(category, int | str) else None
    labels = (known if known is not None else f"unknown category {category}",)
    crowd = bool(node.get("iscrowd"))
    code = node.get("segmentation")
    if isinstance(code, dict):
        return Region("run-length code", labels, _Rle(code), crowd=crowd), []
    if not isinstance(code, list) or not code:
        return Region("box", labels, problem="box without a mask", crowd=crowd), []
    rings: list[Points] = []
    lost: list[str] = []
    for part in code:
        try:
            if not isinstance(part, list) or len(part) % 2:
                raise ShapeError("coordinates are no usable numbers")
            rings += Outline((as_points(part[::2], part[1::2]),)).rings
        except ShapeError as error:
            lost.append(str(error))
    if not rings:
        return Region("polygon", labels, problem=lost[0], crowd=crowd), []
    return Region("polygon", labels, Outline(tuple(rings)), crowd=crowd), lost


@dataclass(frozen=True)
class _Rle:
    """A run-length code, checked against the picture when it is drawn."""

    code: Mapping[str, Any]

    def draw(self, height: int, width: int) -> Any:
        return Bitmap(partial(decode_rle, self.code, height=height, width=width)).draw(
            height, width
        )
