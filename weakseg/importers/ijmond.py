"""Read the IJmond data sets as they are released: clips with labels, frames with masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from weakseg.checks import check_positive
from weakseg.errors import DataError
from weakseg.importers.clips import check_protocol, clip_lists, read_clips
from weakseg.importers.coco import CocoReader
from weakseg.importers.files import PictureError, PictureFinder, base_of
from weakseg.importers.mask_files import Coding, MaskFile
from weakseg.importers.names import Place, place_of
from weakseg.importers.records import Export, Marked, Region, Skipped

PROTOCOLS: Final = ("camera", "timestamp")
CAMERAS: Final = ("hoogovens", "kooksfabriek_1", "kooksfabriek_2")
ANNOTATIONS: Final = "_annotations.coco.json"
LOW_AND_HIGH: Final = Coding("ids", ("155", "255"))
_TIME: Final = re.compile(r"__(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2})")
_TRAINING_CAMERA: Final = "kooks_2"


@dataclass(frozen=True)
class IjmondReader:
    """IJmond's three layouts; which one it is shows by the files.

    1. Clips: `metadata*.json` lists them as RISE does (the same states, see `clips.label_of`), with
       the videos in `videos/FILE_NAME.mp4`. The scene is camera and view.
    2. Whole frames: `_annotations.coco.json` beside them or beside `images/`. Smoke of high and of
       low opacity are two categories; both are smoke here.
    3. Crops: `images/`, `masks/` (255 high opacity, 155 low), and lists of "image mask" lines,
       `test_with_mask.txt` and `test_without_mask.txt`, or those in `splits/`. What a list without
       masks names has no smoke, and gets a mask of nothing.

    Frames are called `CAMERA__DAYTTIME_frame_...`: the scene is the camera.

    Confirmed by MultiX-Amsterdam: ijmond-camera-monitor, `dataset/2024-01-22/` (clips), and
    ijmond-camera-ai, `bbox_learn/README.md`, `create_ijmond_seg_masks.py`, `split_ijmond_seg.py`
    and `dataset/datasets/*.txt` (frames and crops). What the two categories are called could not
    be confirmed, only their numbers, 1 (high) and 2 (low): so names play no part.

    Args:
        protocol: A released split. `camera` trains on kooks_2 (the first 80 %, the rest is val)
            and tests on the other cameras; `timestamp` cuts at 70 % and 80 % of all frames in the
            order of time. Crops take it from `splits/split_by_*/`, whole frames get it rebuilt by
            these rules. Empty takes none; clips have none.
        frame_rate: Frames a second to take from each video, > 0.

    References:
        Hsu et al., "Project RISE", AAAI 2021, for the labels.
    """

    protocol: str = ""
    frame_rate: float = 1.0

    def __post_init__(self) -> None:
        check_protocol(self.protocol, PROTOCOLS)
        check_positive(frame_rate=self.frame_rate)

    def read(self, source: Path) -> Export:
        """List what the source holds.

        Raises:
            DataError: If it is none of the layouts, or the released split is not there.
        """
        base = base_of(source)
        lists = sorted(base.rglob("*with*_mask*.txt"))
        if source.is_dir() and lists:
            return _crops(base, lists, self.protocol)
        if source.name == ANNOTATIONS or (source.is_dir() and any(base.rglob(ANNOTATIONS))):
            return _frames(CocoReader().read(source), self.protocol)
        if self.protocol:
            raise DataError(
                f"{source} has no released split by {self.protocol}: leave protocol out"
            )
        listed = dict.fromkeys(clip_lists(source, "IJmond"), "")
        return read_clips(source, listed, place=_clip_place, rate=self.frame_rate)


def _clip_place(entry: Mapping[str, Any]) -> Place:
    number = entry.get("camera_id")
    known = isinstance(number, int) and 0 <= number < len(CAMERAS)
    camera = CAMERAS[number] if known else f"camera-{number}"  # type: ignore[index]
    return Place(scene=f"{camera}-{entry.get('view_id')}", camera=camera)


def _frames(found: Export, protocol: str) -> Export:
    """Take both opacities for smoke, and split by the rules of the release."""
    pictures = [
        replace(one, regions=tuple(_as_smoke(region) for region in one.regions or ()), split="")
        for one in found.pictures
    ]
    if protocol:
        splits = rebuild_split([one.name for one in pictures], protocol)
        pictures = [replace(one, split=splits[one.name]) for one in pictures]
    return replace(found, pictures=tuple(pictures))


def _as_smoke(region: Region) -> Region:
    return replace(region, labels=("smoke", *region.labels))


def rebuild_split(names: Sequence[str], protocol: str) -> dict[str, str]:
    """Split frames by the rules of the release.

    Args:
        names: Of the frames, `CAMERA__DAYTTIME...`.
        protocol: `camera` or `timestamp`; see `IjmondReader`.

    Raises:
        DataError: If a name has no camera or time.
    """
    times = {name: _TIME.search(name) for name in names}
    bare = next((name for name, match in times.items() if match is None), None)
    if bare is not None:
        raise DataError(f"{bare} names no camera and time: leave protocol out")
    ordered = sorted(names, key=lambda name: (times[name][1], name))  # type: ignore[index]
    if protocol == "timestamp":
        return _cut(ordered, int(0.7 * len(ordered)), int(0.1 * len(ordered)))
    training = [name for name in ordered if place_of(name).camera == _TRAINING_CAMERA]
    first = int(0.8 * len(training))
    seen = _cut(training, first, len(training) - first)
    return {name: seen.get(name, "test") for name in ordered}


def _cut(ordered: Sequence[str], train: int, val: int) -> dict[str, str]:
    return {
        name: "train" if i < train else "val" if i < train + val else "test"
        for i, name in enumerate(ordered)
    }


def _crops(base: Path, lists: Sequence[Path], protocol: str) -> Export:
    finder = PictureFinder(base)
    chosen = _chosen_lists(base, lists, protocol)
    pictures: dict[str, Marked] = {}
    skipped: list[Skipped] = []
    for file, (split, has_mask) in chosen.items():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if not words:
                continue
            one = _crop(words, finder, split=split, has_mask=has_mask)
            if isinstance(one, Skipped):
                skipped.append(one)
            elif one.name in pictures:
                skipped.append(Skipped("picture", one.name, "picture listed again"))
            else:
                pictures[one.name] = one
    files = tuple(finder.relative(path) for path in chosen)
    return Export(files, tuple(pictures.values()), skipped=tuple(skipped))


def _crop(
    words: Sequence[str], finder: PictureFinder, *, split: str, has_mask: bool
) -> Marked | Skipped:
    try:
        picture = finder.find(words[0], beside=finder.base)
        if has_mask and len(words) < 2:
            raise PictureError("no mask")
        mask = finder.find(words[1], beside=finder.base) if has_mask else None
    except PictureError as error:
        return Skipped("picture", words[0], str(error), regions=int(has_mask))
    name = finder.relative(picture)
    return Marked(name, picture, mask=MaskFile(mask, LOW_AND_HIGH), split=split)


def _chosen_lists(base: Path, lists: Sequence[Path], protocol: str) -> dict[Path, tuple[str, bool]]:
    """Name the lists to read, each with its split and whether what it names has masks."""
    if not protocol:
        found = [
            path for path in lists if path.name in ("test_with_mask.txt", "test_without_mask.txt")
        ]
        if not found:
            raise DataError(
                f"{base} holds lists of splits only: choose one by format.protocol=camera or "
                "format.protocol=timestamp"
            )
        return {path: ("", "without" not in path.name) for path in found}
    folder = next((p for p in sorted(base.rglob(f"split_by_{protocol}")) if p.is_dir()), None)
    if folder is None:
        raise DataError(f"{base} has no folder split_by_{protocol}: leave protocol out")
    chosen = {}
    for split, stem in (("train", "train/100"), ("val", "val"), ("test", "test")):
        for word in ("with", "without"):
            path = folder / f"{stem}_{word}_masks.txt"
            if not path.is_file():
                raise DataError(f"{path} is missing: copy the folder split_by_{protocol} again")
            chosen[path] = (split, word == "with")
    return chosen
