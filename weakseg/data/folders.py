"""Read frames from folders whose names are their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from weakseg.data.assembly import AssemblyRules, Listed, absolute, assemble, relative_to
from weakseg.data.frames import Frame
from weakseg.errors import DataError

LABEL_FOLDERS: Final = {"smoke": 1, "nonsmoke": 0}
SPLIT_FOLDERS: Final = ("train", "val", "test")
SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))


@dataclass(frozen=True)
class FolderSource:
    """Frames in `smoke/` and `nonsmoke/`, or in `train/smoke/`, `val/smoke/` and so on.

    A frame deeper down, such as `smoke/camera3/x.jpg`, belongs to the scene `camera3`.

    Args:
        folder: Holds the label folders, or the split folders that hold them.
        scenes: Where scenes come from; see `AssemblyRules`. "auto" takes the sub-folders if every
            frame lies in one.
        scene_pattern: See `AssemblyRules`.
        val_fraction: See `AssemblyRules`.
        seed: Names the cut of the validation part.
        quarantine: CSV of frames to leave out.
    """

    folder: str
    scenes: str = "auto"
    scene_pattern: str | None = None
    val_fraction: float = 0.15
    seed: int = 0
    quarantine: str | None = None

    def __post_init__(self) -> None:
        self._rules()

    def frames(self) -> list[Frame]:
        """List the frames by split, label and name."""
        return list(self._frames)

    def settings(self) -> dict[str, Any]:
        """Say how to build this source again."""
        return {
            "kind": "folder",
            "folder": str(self.base),
            "scenes": self.scenes,
            "scene_pattern": self.scene_pattern,
            "val_fraction": self.val_fraction,
            "seed": self.seed,
            "quarantine": self.quarantine and str(absolute(Path.cwd(), self.quarantine)),
        }

    @property
    def base(self) -> Path:
        """The folder, as an absolute path."""
        return absolute(Path.cwd(), self.folder)

    @cached_property
    def _frames(self) -> tuple[Frame, ...]:
        if not self.base.is_dir():
            raise DataError(f"{self.base} is not a folder: correct data.folder")
        listed = [one for split in ("", *SPLIT_FOLDERS) for one in _walk(self.base, split)]
        if not listed:
            raise DataError(
                f"{self.base} holds no pictures: put them into its sub-folders smoke and nonsmoke"
            )
        return tuple(assemble(listed, self._rules(), origin=str(self.base)))

    def _rules(self) -> AssemblyRules:
        return AssemblyRules(
            scenes=self.scenes,
            scene_pattern=self.scene_pattern,
            val_fraction=self.val_fraction,
            seed=self.seed,
            quarantine=self.quarantine,
        )


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures under a folder by name, leaving hidden files alone."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _walk(base: Path, split: str) -> Iterator[Listed]:
    for name, label in LABEL_FOLDERS.items():
        home = base / split / name
        if not home.is_dir():
            continue
        for path in pictures_in(home):
            inner = path.parent.relative_to(home).as_posix()
            scene = "" if inner == "." else inner
            yield Listed(
                relative=relative_to(base, path),
                path=path,
                label=label,
                scene=scene,
                split=split,
                folder=scene,
            )
