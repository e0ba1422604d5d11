"""Say what a reader found in an export, before anything is drawn: pictures, regions, clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from weakseg.importers.mask_files import MaskFile
from weakseg.importers.shapes import Shape

SPLIT_NAMES: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""How data sets name their splits, and how we do."""


@dataclass(frozen=True)
class Region:
    """One annotated region.

    Args:
        kind: Its shape as the format names it, such as "polygon" or "ellipse".
        labels: The class names or attribute values it carries; may be empty.
        shape: What to draw; None if it cannot be drawn.
        problem: Why it cannot be drawn, in a few words; empty if it can.
        crowd: Whether it stands for many things at once: part of the mask, but no instance.
    """

    kind: str
    labels: tuple[str, ...] = ()
    shape: Shape | None = None
    problem: str = ""
    crowd: bool = False


@dataclass(frozen=True)
class Marked:
    """One picture as an export lists it. At most one of `regions`, `mask` and `label` is given.

    Args:
        name: Its path relative to the source, with forward slashes; unique in the export.
        path: The file; None if there is none and `content` stands for it.
        content: Reads the picture's own bytes, where the export embeds it; raises PictureError.
        regions: What was drawn on it; None if this format draws no regions.
        mask: Its mask as a file, in mask-folder formats.
        label: 1 with smoke, 0 without, where the format gives labels only.
        split: "train", "val", "test", or another name as released; empty if not given.
        scene: What must not be torn between splits; empty if not known.
        sequence: The video it came from; empty if not known.
        camera: The camera; empty if not known.
        size: (height, width) in pixels of the picture it was drawn on, if the export says so.
    """

    name: str
    path: Path | None = None
    content: Callable[[], bytes] | None = None
    regions: tuple[Region, ...] | None = None
    mask: MaskFile | None = None
    label: int | None = None
    split: str = ""
    scene: str = ""
    sequence: str = ""
    camera: str = ""
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Clip:
    """One video whose frames all get its label.

    Args:
        name: Without suffix; unique in the export.
        path: The video file.
        label: 1 with smoke, 0 without.
        split: As in `Marked`.
        scene: As in `Marked`.
        camera: As in `Marked`.
    """

    name: str
    path: Path
    label: int
    split: str = ""
    scene: str = ""
    camera: str = ""


@dataclass(frozen=True)
class Skipped:
    """Something the export lists that is not imported.

    Args:
        what: "file", "picture", "mask", "clip", "region", or a part of one.
        name: Which one: a name relative to the source, with `#3` for the fourth region.
        reason: Why, in a few words; equal causes have equal reasons.
        regions: How many regions are lost with it.
        detail: More about it, for people.
    """

    what: str
    name: str
    reason: str
    regions: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Export:
    """All that a reader found.

    Args:
        files: The annotation files or lists that were read, relative to the source.
        pictures: What can be imported, in a fixed order.
        clips: Videos to take frames from.
        skipped: What cannot.
        rate: Frames a second to take from the clips.
    """

    files: tuple[str, ...]
    pictures: tuple[Marked, ...] = ()
    clips: tuple[Clip, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    rate: float = 1.0


class Reader(Protocol):
    """Anything that reads an export of one format."""

    def read(self, source: Path) -> Export:
        """List what `source`, a folder or an annotation file, holds.

        Raises:
            DataError: If it holds nothing of this format, or a damaged file.
        """
        ...


def split_of(parts: Sequence[str]) -> str:
    """Name the split that a path's folders say: the first of them that is called like one."""
    known = (SPLIT_NAMES.get(part.casefold(), "") for part in parts)
    return next((split for split in known if split), "")
