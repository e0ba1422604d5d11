"""Draw the same frames as the points of a sweep see them."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from weakseg.arrays import FrameArray, Mask
from weakseg.artifacts import (
    FinishedRun,
    load_run,
    read_json,
    read_mask_ids,
    read_scores,
)
from weakseg.data import read_frame
from weakseg.errors import WeaksegError
from weakseg.report import overlay
from weakseg.report.pictures import data_uri
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.pages.common import of_many_scenes
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.sweeps.folders import STAGE1
from weakseg.stages.sweeps.groups import group_points
from weakseg.stages.sweeps.ledger import FINISHED, Point

log = logging.getLogger(__name__)

MaskOf: TypeAlias = Callable[[str, int, int], Mask]
"""Draws the mask of a frame, by its id, at height and width."""

_FRAMES: Final = 6
_PICTURED: Final = 48
"""Points with pictures: 48 x 6 thumbnails are some 2 MB."""
_SIDE: Final = 176
_SHOWN: Final = ("stage3", "stage2", "", STAGE1)
"""Which of a point's runs is shown: the first that has masks, scores or CAMs."""


@dataclass(frozen=True)
class _Seen:
    """What a point makes of frames: the rows of those that may be shown, and their masks."""

    rows: Mapping[str, Mapping[str, str]]
    mask_of: MaskOf

    def thumbnail(self, name: str, pixels: FrameArray | None) -> str:
        """Draw a frame with its mask over it; nothing where one of them cannot be read."""
        if pixels is None:
            return ""
        try:
            mask = self.mask_of(name, *pixels.shape[:2])
        except (WeaksegError, OSError) as error:
            log.warning("no picture of %s: %s", name, error)
            return ""
        return data_uri(overlay(pixels, mask), long_side=_SIDE)


def most_promising(points: Sequence[Point], sign: float) -> list[Point]:
    """Give the finished points that get pictures: the best of every setting, then the second ...

    So no setting goes without as long as there are no more of them than points with pictures.

    Args:
        points: Of a sweep.
        sign: 1 if more of the metric is better, -1 if less is.
    """

    def worth(point: Point) -> float:
        is_known = point.metric is not None and math.isfinite(point.metric)
        return sign * (point.metric or 0.0) if is_known else -math.inf

    finished = {one.number: one for one in points if one.status == FINISHED}
    ranked: list[tuple[int, Point]] = []
    for group in group_points(list(finished.values())):
        own = [finished[number] for number in group.points]
        ranked += enumerate(sorted(own, key=lambda one: -worth(one)))
    ranked.sort(key=lambda one: (one[0], -worth(one[1]), one[1].number))
    return [point for _, point in ranked[:_PICTURED]]


def all_pictures(folders: Mapping[int, Mapping[str, Path]]) -> dict[str, Any]:
    """Draw the same frames as each point sees them; a hash chose them, so no score had a say.

    Args:
        folders: Number of a point -> its runs, as `folders_of` finds them.
    """
    seen: dict[int, _Seen] = {}
    for number, own in folders.items():
        try:
            one = _seen_by(own)
        except (WeaksegError, OSError) as error:
            log.warning("no pictures of point %d: %s", number, error)
            continue
        if one is not None:
            seen[number] = one
    if not seen:
        return {"frames": [], "of": {}}
    first = next(iter(seen.values())).rows
    frames: list[dict[str, str]] = []
    drawn: dict[str, list[str]] = {str(number): [] for number in seen}
    for name in _chosen(list(seen.values())):
        # Each frame is decoded once; of the same name, points may mean different files.
        files: dict[str, FrameArray | None] = {}
        for number, one in seen.items():
            path = one.rows[name]["path"]
            if path not in files:
                files[path] = _read_or_none(path)
            drawn[str(number)].append(one.thumbnail(name, files[path]))
        pixels = files[first[name]["path"]]
        frames.append(
            {
                "id": name,
                "label": "smoke" if first[name]["label"] == "1" else "no smoke",
                "picture": "" if pixels is None else data_uri(pixels, long_side=_SIDE),
            }
        )
    return {"frames": frames, "of": drawn}


def _chosen(seen: Sequence[_Seen]) -> list[str]:
    """Choose frames that all points have, of many scenes, the last of them without smoke."""
    rows = seen[0].rows
    shared = set.intersection(*(set(one.rows) for one in seen))
    ordered = sorted(shared, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    smoke = [name for name in ordered if rows[name]["label"] == "1"]
    clear = [name for name in ordered if rows[name]["label"] != "1"]
    return [*of_many_scenes(smoke, lambda name: rows[name]["scene"], _FRAMES - 1), *clear[:1]]


def _seen_by(folders: Mapping[str, Path]) -> _Seen | None:
    """Open the run whose masks a point's pictures show: the last of a chain."""
    for place in _SHOWN:
        folder = folders.get(place)
        if folder is None or not (folder / "frames.csv").is_file():
            continue
        if any((folder / name).is_dir() for name in ("masks", "scores", "cams")):
            run = load_run(folder)
            rows = [row for row in run.frames if row["split"] != "test"]
            held_out = [row for row in rows if row["split"] == "val"]
            return _Seen({row["id"]: row for row in held_out or rows}, _masks_of(run))
    return None


def _masks_of(run: FinishedRun) -> MaskOf:
    """Draw a run's masks, else its scores above its threshold; of CAMs, evidence above 1/2."""
    if run.masks.is_dir() or run.scores.is_dir():
        path = run.path / THRESHOLD
        cut = float(read_json(path)["threshold"]) if path.is_file() else 0.5

        def stored(name: str, *_: int) -> Mask:
            if mask_path(run, name).is_file():
                return read_mask_ids(mask_path(run, name))
            return (read_scores(score_path(run, name)) >= cut).astype(np.uint8)

        return stored
    evidence = EvidenceReader(run)

    def strong(name: str, height: int, width: int) -> Mask:
        low, _ = evidence(name)
        return (at_frame_size(low, height, width) >= 0.5).astype(np.uint8)

    return strong


def _read_or_none(path: str) -> FrameArray | None:
    try:
        return read_frame(path)
    except (WeaksegError, OSError) as error:
        log.warning("no picture: %s", error)
        return None
