"""Read SmokeSeg, and other sets in the layout of FoSp's code: PASCAL VOC's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from weakseg.data.folders import pictures_in
from weakseg.errors import DataError
from weakseg.importers.files import base_of
from weakseg.importers.mask_files import Coding
from weakseg.importers.mask_folders import Keyed, pair
from weakseg.importers.records import Export, Skipped

SPLITS: Final = ("test", "val", "train")
LISTS: Final = ("ImageSets/Segmentation", "SmokeSeg_ImageSets/Segmentation")


@dataclass(frozen=True)
class SmokesegReader:
    """SmokeSeg: `JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png`, and lists of names.

    Names are `DATE_FIRE_CAMERA__EPOCH_OFFSET`: the scene is the camera, the sequence its fire. The
    masks' ids are 0 for background and 1 for smoke (255 is ignored). `train.txt`, `val.txt` and
    `test.txt` give the split; a frame in several goes to test, else to val. The released split
    leaks: every test frame's camera and fire are in train, too; `split=scene` makes another.

    Confirmed by LujianYao/FoSp: README ("Dataset preparation"), `config/fosp_config.py`,
    `mmseg/datasets/smoke_voc.py` (ids), and the names in `data/SmokeSeg/`. There the whole set's
    lists lie in `SmokeSeg_ImageSets/Segmentation`, and `ImageSets/Segmentation` lists a few
    samples; `test_small.txt`, `test_medium.txt` and `test_large.txt` are parts of test, not read.

    Args:
        lists: Folder of the lists, relative to the source; None takes `ImageSets/Segmentation`,
            else `SmokeSeg_ImageSets/Segmentation`.

    References:
        Yao et al., "FoSp: Focus and Separation Network for Early Smoke Segmentation", AAAI 2024.
    """

    lists: str | None = None

    def read(self, source: Path) -> Export:
        """List the pairs that the lists name.

        Raises:
            DataError: If a folder or all lists are missing.
        """
        base = base_of(source)
        pictures, masks = (_by_stem(base / name) for name in ("JPEGImages", "SegmentationClass"))
        folder = _list_folder(base, self.lists)
        splits, files = _read_lists(folder)
        unlisted = [
            path.relative_to(base).as_posix()
            for name, paths in pictures.items()
            if name not in splits
            for path in paths
        ]
        found = pair(
            base,
            {name: paths for name, paths in pictures.items() if name in splits},
            {name: paths for name, paths in masks.items() if name in splits},
            Coding("ids"),
            files=[path.relative_to(base).as_posix() for path in files],
        )
        missing = [name for name in splits if name not in pictures and name not in masks]
        return replace(
            found,
            pictures=tuple(
                replace(one, split=splits[Path(one.name).stem]) for one in found.pictures
            ),
            skipped=(
                *found.skipped,
                *(Skipped("picture", name, "picture in no list") for name in unlisted),
                *(Skipped("picture", name, "missing picture") for name in missing),
            ),
        )


def _by_stem(folder: Path) -> Keyed:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing: source= takes the folder that holds JPEGImages")
    found: Keyed = {}
    for path in pictures_in(folder):
        found.setdefault(path.stem, []).append(path)
    return found


def _list_folder(base: Path, given: str | None) -> Path:
    places = [base / name for name in ((given,) if given is not None else LISTS)]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(f"{places[0]} is missing: name the folder of train.txt by format.lists")


def _read_lists(folder: Path) -> tuple[Mapping[str, str], list[Path]]:
    """Map names to splits, in the order of the lists train, val, test."""
    splits: dict[str, str] = {}
    files = [folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()]
    for path in reversed(files):
        try:
            lines = path.read_text(encoding="utf-8").split()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text ({error}): copy it again") from error
        splits.update(dict.fromkeys(lines, path.stem))
    if not splits:
        raise DataError(f"{folder} holds no names in train.txt, val.txt or test.txt")
    return splits, files
