"""Segment a video or a camera stream frame by frame, so that it can be stopped and gone on with."""

from __future__ import annotations

import datetime
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import fingerprint, read_json, write_json
from weakseg.data.containers import VideoFacts, shown, video_facts
from weakseg.data.video import VideoFrame, VideoWriter, read_video
from weakseg.errors import DataError
from weakseg.plans import PredictPlan
from weakseg.stages.prediction.alarms import AlarmList
from weakseg.stages.prediction.settings import settings_of
from weakseg.stages.prediction.video_overlay import OVERLAY, draw, write_overlays
from weakseg.stages.prediction.video_record import VideoRecord
from weakseg.stages.predictor import Predictor
from weakseg.training import StopFlag, track

log = logging.getLogger(__name__)

PROGRESS: Final = "video.json"
_CHECKPOINT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class VideoWork:
    """What all videos of one command share.

    Args:
        plan: What is asked.
        predictor: The run's network.
        output: Folder of the command; each video has one of its name below.
        alarms: Of all videos.
        stop: Whether somebody asked to stop.
        is_same: Whether what the output folder holds was made with the same settings.
    """

    plan: PredictPlan
    predictor: Predictor
    output: Path
    alarms: AlarmList
    stop: StopFlag
    is_same: bool


def predict_video(video: Path, name: str, work: VideoWork) -> str:
    """Segment a video file from where an earlier command left it; give what was wrong with it.

    Args:
        video: The file.
        name: Of its folder below the output.
        work: What all videos share.

    Returns:
        A sentence about frames that could not be read; empty if all could.
    """
    try:
        facts = video_facts(video)
    except DataError as error:
        return str(error)
    folder = work.output / name
    step = _step_seconds(facts, work.plan)
    record = VideoRecord(folder, name, work.plan, work.predictor, work.alarms, every_seconds=step)
    progress, first = _take_up(video, folder, record, work)
    if not progress["is_complete"]:
        write_json(folder / PROGRESS, {**progress, "drawn": False})
        with record:
            is_over, complaint = _follow(video, first, facts, record, work)
            record.save(is_over=is_over)
        progress |= {"is_complete": is_over, "complaint": complaint}
    progress["drawn"] &= (folder / OVERLAY).exists() and not record.has_changed
    write_json(folder / PROGRESS, progress)
    if work.plan.video and record.frames and not progress["drawn"] and not work.stop.is_set:
        total = _expected(facts, work.plan)
        frames = track(_readable(video, work), total=total, what=f"draw {name}", unit="frames")
        write_overlays(folder, frames, record.rows(), work.stop)
        write_json(folder / PROGRESS, {**progress, "drawn": True})
    if not work.stop.is_set:
        log.info("%s: %d frames, %d alarms", name, record.frames, len(record.alarms))
    return str(progress["complaint"])


def predict_stream(url: str, work: VideoWork) -> Path:
    """Segment a camera stream until stopped; give the folder of this session's figures.

    Raises:
        DataError: If the stream cannot be had, or is given up.
    """
    began = datetime.datetime.now(datetime.UTC)
    name = f"{_folder_name(url)}/{began.strftime('%Y-%m-%dT%H-%M-%SZ')}"
    folder = work.output / name
    is_stopped = _deadline(work)
    frames = _frames(url, 0, work, is_stopped=is_stopped)
    first = next(frames, None)
    if first is None:
        return folder
    every, alarms = work.plan.every_seconds, work.alarms
    record = VideoRecord(
        folder, name, work.plan, work.predictor, alarms, every_seconds=every, began=began
    )
    record.resume(is_same=False, is_complete=False)
    writer = VideoWriter(folder / OVERLAY, is_live=True) if work.plan.video else None
    try:
        with record:
            for frame in track(_with_first(first, frames), what=shown(url), unit="frames"):
                if is_stopped():
                    break
                row, mask = record.take(frame)
                if writer is not None:
                    writer.write(draw(frame.pixels, mask, row), frame.seconds)
    finally:
        if writer is not None:
            writer.close()
    log.info("%s: %d frames, %d alarms: %s", shown(url), record.frames, len(record.alarms), folder)
    return folder


def _take_up(
    video: Path, folder: Path, record: VideoRecord, work: VideoWork
) -> tuple[dict[str, Any], int]:
    """Take up what is there of a video; give how far that is, and the first frame left to do."""
    progress = _progress_of(video, folder, work)
    if progress is None:
        # Before its rows: those of a command that is killed here belong to no file.
        (folder / PROGRESS).unlink(missing_ok=True)
        record.resume(is_same=False, is_complete=False)
        return _new_progress(video, work), 0
    # Before its rows may change: a command that is killed here leaves them to be drawn again.
    write_json(folder / PROGRESS, {**progress, "drawn": False})
    return progress, record.resume(is_same=True, is_complete=progress["is_complete"])


def _follow(
    video: Path, first: int, facts: VideoFacts, record: VideoRecord, work: VideoWork
) -> tuple[bool, str]:
    """Segment the frames from `first` on; say whether the end was reached, and what was wrong."""
    saved, done = time.monotonic(), record.frames
    expected = _expected(facts, work.plan)
    frames = _frames(video, first, work)
    total = None if expected is None else max(1, expected - done)
    try:
        for frame in track(frames, total=total, what=f"segment {record.name}", unit="frames"):
            if work.stop.is_set or frame.seconds >= (work.plan.max_seconds or math.inf):
                return False, ""
            record.take(frame)
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                record.save(is_over=False)
                saved = time.monotonic()
    except DataError as error:
        log.warning("%s", error)
        return True, str(error)
    return True, ""


def _frames(
    source: Path | str,
    first: int,
    work: VideoWork,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[VideoFrame]:
    return read_video(
        source,
        every_seconds=work.plan.every_seconds,
        frame_step=work.plan.frame_step,
        first=first,
        max_pixels=work.plan.max_pixels,
        timeout_seconds=work.plan.stream.timeout_seconds,
        patience_seconds=work.plan.stream.patience_seconds,
        is_stopped=is_stopped,
    )


def _readable(video: Path, work: VideoWork) -> Iterator[VideoFrame]:
    """Yield what can be read; the rest was complained about before."""
    try:
        yield from _frames(video, 0, work)
    except DataError as error:
        log.debug("%s", error)


def _new_progress(video: Path, work: VideoWork) -> dict[str, Any]:
    """Say what tells whether a video is still the same, and what is written of its frames."""
    facts = video.stat()
    return {
        "bytes": facts.st_size,
        "modified": facts.st_mtime,
        "pictures": bool(work.plan.pictures),
        "masks": bool(work.plan.pictures or work.plan.video),
        "max_pixels": work.plan.max_pixels,
        "settings": fingerprint(settings_of(work.plan, work.predictor)),
        "drawn": False,
        "is_complete": False,
        "complaint": "",
    }


def _progress_of(video: Path, folder: Path, work: VideoWork) -> dict[str, Any] | None:
    """Say how far an earlier command came with this very file; None if it is to be read anew."""
    path, new = folder / PROGRESS, _new_progress(video, work)
    if not work.is_same or not path.exists():
        return None
    was: dict[str, Any] = read_json(path)
    if was.get("settings") != new["settings"]:
        log.info("%s is read from the start: it was read with other settings", video)
        return None
    if any(was.get(name) != new[name] for name in ("bytes", "modified")):
        log.info("%s has changed: it is read from the start", video)
        return None
    if any(new[name] and not was.get(name) for name in ("pictures", "masks")):
        log.info("%s is read from the start: its masks were not kept", video)
        return None
    if was["complaint"] and was["max_pixels"] < new["max_pixels"]:
        log.info("%s is read from the start: max_pixels was raised", video)
        return None
    return was


def _expected(facts: VideoFacts, plan: PredictPlan) -> int | None:
    """Estimate how many frames will be read; None if the header does not tell."""
    seconds, frames = facts.seconds, facts.frames
    if plan.max_seconds is not None and seconds > plan.max_seconds:
        frames = round(frames * plan.max_seconds / seconds)
        seconds = plan.max_seconds
    if plan.every_seconds is not None:
        frames = min(frames, int(seconds / plan.every_seconds) + 1)
    return -(-frames // plan.frame_step) or None


def _step_seconds(facts: VideoFacts, plan: PredictPlan) -> float | None:
    """Say how far apart the frames are that will be read; None if the header does not tell."""
    if plan.every_seconds is not None:
        return plan.every_seconds
    return plan.frame_step / facts.rate if facts.rate > 0 else None


def _deadline(work: VideoWork) -> Callable[[], bool]:
    end = time.monotonic() + (work.plan.max_seconds or math.inf)
    return lambda: work.stop.is_set or time.monotonic() > end


def _with_first(first: VideoFrame, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from frames


def _folder_name(url: str) -> str:
    """Name a stream's folder: what of its address is safe to show, in letters any disk takes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", shown(url).partition("://")[2]).strip("_.") or "stream"
