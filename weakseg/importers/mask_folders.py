"""Pair pictures with masks that lie in folders, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from weakseg.data.folders import pictures_in
from weakseg.errors import DataError
from weakseg.importers.files import base_of
from weakseg.importers.mask_files import Coding, MaskFile, settle
from weakseg.importers.records import Export, Marked, Skipped, split_of

PICTURE_FOLDERS: Final = ("images", "image", "img", "imgs", "frames", "JPEGImages", "src")
MASK_FOLDERS: Final = (
    "masks", "mask", "gt", "ground_truth", "groundtruth", "labels", "annotations",
    "SegmentationClass",
)  # fmt: skip
Keyed: TypeAlias = dict[str, list[Path]]
"""Name without folder of its kind and suffix, to the files that have it."""
_AFFIXES: Final = re.compile(
    r"^(?:mask|gt)[_-]|[_-](?:mask|gt|label|labels|seg|segmentation)$", re.I
)


@dataclass(frozen=True)
class MaskFolderReader:
    """Folders of pictures and of masks with the same names.

    Understood are `images/` and `masks/`, each with split folders inside or both inside split
    folders, at any depth; `frame_01_mask.png` fits `frame_01.jpg`. Where a folder holds pictures
    and masks with such endings together, name it for both.

    Args:
        images: Name of the picture folders; None takes the first known name that is there.
        masks: Name of the mask folders; None likewise.
        coding: How masks say what is smoke; see `Coding`.
        smoke_values: See `Coding`.

    Raises:
        ValueError: If the coding is unknown, or the values do not fit it.
    """

    images: str | None = None
    masks: str | None = None
    coding: str = "auto"
    smoke_values: Sequence[str | int] = ()

    def __post_init__(self) -> None:
        self._coding()

    def read(self, source: Path) -> Export:
        """List the pairs.

        Raises:
            DataError: If there are no such folders, or the masks' coding cannot be told.
        """
        base = base_of(source)
        if not source.is_dir():
            raise DataError(f"{source} is not a folder: source= takes one with pictures and masks")
        every = pictures_in(base)
        inside = {
            folder.casefold() for path in every for folder in path.relative_to(base).parts[:-1]
        }
        picture_folder = self.images or _first(PICTURE_FOLDERS, inside)
        mask_folder = self.masks or _first(MASK_FOLDERS, inside)
        if not picture_folder or not mask_folder:
            raise DataError(
                f"{base} has no folders of pictures ({', '.join(PICTURE_FOLDERS)}) and masks "
                f"({', '.join(MASK_FOLDERS)}): name them by format.images and format.masks"
            )
        pictures, masks = _sort_out(every, base, picture_folder, mask_folder)
        return pair(base, pictures, masks, self._coding())

    def _coding(self) -> Coding:
        return Coding(self.coding, tuple(map(str, self.smoke_values)))


def pair(
    base: Path,
    pictures: Keyed,
    masks: Keyed,
    coding: Coding,
    *,
    files: Sequence[str] = (),
) -> Export:
    """Pair pictures and masks by their keys.

    Args:
        base: Absolute folder that names start from.
        pictures: Key to the pictures that have it; there should be one.
        masks: Key to the masks that have it; of several the first counts.
        coding: Of the masks; "auto" is settled by all of them.
        files: Lists that were read besides.
    """
    settled = settle(coding, [found[0] for key, found in masks.items() if key in pictures])
    marked: list[Marked] = []
    skipped: list[Skipped] = []
    for key, found in pictures.items():
        name = found[0].relative_to(base).as_posix()
        if key not in masks:
            skipped.append(Skipped("picture", name, "no mask"))
            continue
        mask = MaskFile(masks[key][0], settled)
        marked.append(Marked(name, found[0], mask=mask, split=split_of(Path(name).parts[:-1])))
    skipped += [
        Skipped("picture", path.relative_to(base).as_posix(), "picture with the name of another")
        for found in pictures.values()
        for path in found[1:]
    ]
    skipped += [
        Skipped("mask", path.relative_to(base).as_posix(), reason)
        for key, found in masks.items()
        for path, reason in _lone_masks(found, is_paired=key in pictures)
    ]
    return Export(tuple(files), tuple(marked), skipped=tuple(skipped))


def _lone_masks(found: Sequence[Path], *, is_paired: bool) -> list[tuple[Path, str]]:
    if is_paired:
        return [(path, "second mask of a picture") for path in found[1:]]
    return [(path, "missing picture") for path in found]


def _first(known: Sequence[str], inside: set[str]) -> str | None:
    return next((name for name in known if name.casefold() in inside), None)


def _sort_out(
    every: Sequence[Path], base: Path, picture_folder: str, mask_folder: str
) -> tuple[Keyed, Keyed]:
    """Tell pictures from masks, each by a key that both share."""
    pictures: Keyed = defaultdict(list)
    masks: Keyed = defaultdict(list)
    for path in every:
        folders = path.relative_to(base).parts[:-1]
        bare = _AFFIXES.sub("", path.stem)
        if picture_folder == mask_folder:
            (pictures if bare == path.stem else masks)["/".join((*folders, bare))].append(path)
            continue
        for rest in _without(folders, picture_folder):
            pictures["/".join((*rest, path.stem))].append(path)
        for rest in _without(folders, mask_folder):
            masks["/".join((*rest, path.stem))].append(path)
    # A mask that has no picture of its very name may have one of its name without the ending.
    for key in [key for key in masks if key not in pictures]:
        folder, slash, stem = key.rpartition("/")
        bare = f"{folder}{slash}{_AFFIXES.sub('', stem)}"
        if bare != key and bare in pictures:
            masks[bare] += masks.pop(key)
    return dict(pictures), dict(masks)


def _without(parts: Sequence[str], folder: str) -> Iterator[tuple[str, ...]]:
    """Leave the folder out of a path that goes through it, once at most."""
    names = [part.casefold() for part in parts]
    if folder.casefold() in names:
        place = names.index(folder.casefold())
        yield (*parts[:place], *parts[place + 1 :])
