"""Describe a frame on disk, and what every source of frames offers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from weakseg.checks import check_one_of
from weakseg.labels import BACKGROUND, SMOKE

UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
LONGEST_ID = 180


@dataclass(frozen=True)
class Frame:
    """One labelled frame: a record of where it is, not its pixels.

    Args:
        id: Unique within its source and safe as a file name: letters, digits, `._+-`.
        path: Absolute path of the picture.
        label: 1 with smoke, 0 without.
        scene: What must not be torn between splits: a camera view, or a group of near-duplicates.
        split: "train", "val", "test", or any other name.
        sequence: The video the frame came from; may be empty.
    """

    id: str
    path: Path
    label: int
    scene: str
    split: str
    sequence: str = ""

    def __post_init__(self) -> None:
        check_one_of((BACKGROUND, SMOKE), label=self.label)
        if not self.id or UNSAFE.search(self.id):
            raise ValueError(f"id must be made of letters, digits and ._+-, got {self.id!r}")
        if not self.path.is_absolute():
            raise ValueError(f"path must be absolute, got {self.path}")


class FrameSource(Protocol):
    """Anything that lists labelled frames."""

    def frames(self) -> list[Frame]:
        """List the frames, always in the same order."""
        ...

    def settings(self) -> dict[str, Any]:
        """Say in JSON values how to build this source again: see `source_from_settings`."""
        ...


def frame_ids(paths: Sequence[str]) -> list[str]:
    """Name frames by their relative paths, so that a name fits a file and stands for one frame.

    `a/b.jpg` becomes `a__b`. Names that would be equal (also on a file system that ignores case)
    get a piece of their path's hash, whatever the order of the paths.

    Args:
        paths: Paths relative to the data set, with forward slashes.
    """
    plain = [_plain_id(path) for path in paths]
    times = Counter(name.casefold() for name in plain)
    return [
        name if times[name.casefold()] == 1 else f"{name}-{_short_hash(path)}"
        for name, path in zip(plain, paths, strict=True)
    ]


def _plain_id(path: str) -> str:
    name = UNSAFE.sub("_", "__".join(PurePosixPath(path).with_suffix("").parts)).lstrip(".-")
    if len(name) > LONGEST_ID or not name:
        name = f"{name[-LONGEST_ID:].lstrip('.-')}-{_short_hash(path)}".lstrip("-")
    return name


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
