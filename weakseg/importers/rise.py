"""Read RISE as it is released: a list of video clips with labels by citizens and researchers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.checks import check_positive
from weakseg.errors import DataError
from weakseg.importers.clips import check_protocol, clip_lists, read_clips
from weakseg.importers.files import base_of
from weakseg.importers.names import Place
from weakseg.importers.records import Export

PROTOCOLS: Final = (*(f"camera_{number}" for number in range(5)), "date")
PARTS: Final = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class RiseReader:
    """RISE: `metadata*.json` lists clips; `videos/FILE_NAME.mp4` are those that were downloaded.

    An entry has camera_id, view_id, file_name, label_state and label_state_admin; see
    `clips.label_of`. The scene is camera and view. A clip's label goes to each frame taken from it,
    although its smoke may be gone for moments; there are no masks. Nothing is downloaded here.

    Confirmed by CMU-CREATE-Lab/deep-smoke-machine: `back-end/data/dataset/2020-02-24/` (the list,
    and the released splits in `split/`), `www/download_videos.py` (names of the videos, bad ones
    left out) and `www/split_metadata.py` (labels from states).

    Args:
        protocol: A released split: `camera_0` to `camera_4` (`metadata_train_split_0_by_camera`
            and so on) or `date` (`metadata_train_split_by_date`); empty takes the list as a whole.
        frame_rate: Frames a second to take from each video, > 0.

    References:
        Hsu et al., "Project RISE: Recognizing Industrial Smoke Emissions", AAAI 2021.
    """

    protocol: str = ""
    frame_rate: float = 1.0

    def __post_init__(self) -> None:
        check_protocol(self.protocol, PROTOCOLS)
        check_positive(frame_rate=self.frame_rate)

    def read(self, source: Path) -> Export:
        """List the clips whose videos are there.

        Raises:
            DataError: If there is no list, or the released split is not there.
        """
        if self.protocol:
            lists = _released(base_of(source), self.protocol)
        else:
            lists = dict.fromkeys(clip_lists(source, "RISE"), "")
        return read_clips(source, lists, place=_place, rate=self.frame_rate)


def _released(base: Path, protocol: str) -> dict[Path, str]:
    kind, _, number = protocol.partition("_")
    middle = f"{number}_by_{kind}" if number else f"by_{kind}"
    found: dict[Path, str] = {}
    for part, split in PARTS.items():
        name = f"metadata_{part}_split_{middle}.json"
        files = sorted(base.rglob(name))
        if len(files) != 1:
            what = "is not" if not files else f"is {len(files)} times"
            raise DataError(f"{name} {what} in {base}: get the folder split/ of RISE's release")
        found[files[0]] = split
    return found


def _place(entry: Mapping[str, Any]) -> Place:
    camera = f"rise-{entry.get('camera_id')}"
    return Place(scene=f"{camera}-{entry.get('view_id')}", camera=camera)
