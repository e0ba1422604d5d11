"""Take frames from the videos of an export, and not again what is taken already."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakseg.artifacts import read_json, write_json
from weakseg.artifacts.pictures import write_picture
from weakseg.data.video import read_video
from weakseg.errors import ArtifactError, DataError
from weakseg.importers import Clip, Marked, Skipped
from weakseg.training.progress import track

log = logging.getLogger(__name__)

RECORD = "clip.json"


@dataclass(frozen=True)
class TakenFrames:
    """What came out of the videos.

    Args:
        pictures: The frames, each with its clip's label.
        skipped: Videos, or parts of them, that could not be read.
    """

    pictures: tuple[Marked, ...]
    skipped: tuple[Skipped, ...]


def take_frames(
    clips: Sequence[Clip], *, rate: float, output: Path, max_pixels: int
) -> TakenFrames:
    """Write frames of every clip into `output/frames/CLIP/`, evenly in time.

    A clip is finished when its record is written, which names the video's size, the rate and the
    largest frame: with the same, its frames are taken as they are if all of them are still there.

    Args:
        clips: Those whose videos are there.
        rate: Frames a second, > 0.
        output: Absolute folder of the import.
        max_pixels: Refuse videos with larger frames.
    """
    pictures: list[Marked] = []
    skipped: list[Skipped] = []
    for clip in track(clips, what="take frames", unit="clips"):
        folder = output / "frames" / clip.name
        names, problem = _take(clip, folder, rate=rate, max_pixels=max_pixels)
        if problem:
            what = "part of a clip" if names else "clip"
            skipped.append(Skipped(what, clip.name, "damaged video", detail=problem))
        pictures += [
            Marked(
                f"{clip.name}/{name}",
                folder / name,
                label=clip.label,
                split=clip.split,
                scene=clip.scene,
                sequence=clip.name,
                camera=clip.camera,
            )
            for name in names
        ]
    return TakenFrames(tuple(pictures), tuple(skipped))


def _take(clip: Clip, folder: Path, *, rate: float, max_pixels: int) -> tuple[list[str], str]:
    made_of = {"bytes": clip.path.stat().st_size, "rate": rate, "max_pixels": max_pixels}
    record = _read_record(folder / RECORD)
    if record.get("made_of") == made_of and all((folder / n).is_file() for n in record["frames"]):
        return list(record["frames"]), str(record["problem"])
    names: list[str] = []
    problem = ""
    try:
        frames = read_video(clip.path, every_seconds=1 / rate, max_pixels=max_pixels)
        for number, frame in enumerate(frames):
            name = f"{number:05d}.jpg"
            write_picture(folder / name, frame.pixels)
            names.append(name)
    except DataError as error:
        problem = str(error)
        log.warning("%s", problem)
    write_json(folder / RECORD, {"made_of": made_of, "frames": names, "problem": problem})
    return names, problem


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except ArtifactError:
        return {}
    return record if isinstance(record, dict) else {}
