"""Keep what is found in each frame of one video: rows, alarms, pictures, and the way to go on."""

from __future__ import annotations

import datetime
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.artifacts import write_bytes, write_scores
from weakseg.artifacts.pictures import write_picture
from weakseg.checks import check_at_least
from weakseg.data.video import VideoFrame
from weakseg.plans import PredictPlan
from weakseg.report import overlay
from weakseg.stages.prediction.alarms import Alarm, AlarmList, AlarmWatch, Moment
from weakseg.stages.prediction.rows import RowFiles, rounded
from weakseg.stages.predictor import Predictor

COLUMNS: Final = ("frame", "seconds", "smoke_probability", "smoke_share", "alarm")
SMOOTHING: Final = "smoothing.npz"


class Smoother:
    """Average each pixel's score over time, what is older weighing exponentially less.

    Frames may come at any times: after t seconds the average so far weighs exp(-t / seconds).

    Args:
        seconds: Time constant, at least 0; 0 leaves the scores as they are.
    """

    def __init__(self, seconds: float) -> None:
        check_at_least(0, seconds=seconds)
        self._constant = seconds
        self._average: ScoreMap | None = None
        self._last = 0.0

    def __call__(self, scores: ScoreMap, seconds: float) -> ScoreMap:
        """Give the average up to now.

        Args:
            scores: (H, W) float32 in [0, 1] of the next frame; another size starts anew.
            seconds: When it was taken, not before the last one.

        Returns:
            (H, W) float32 in [0, 1], to be read before the next call.
        """
        if self._constant == 0:
            return scores
        if self._average is None or self._average.shape != scores.shape:
            self._average = scores.copy()
        else:
            weight = math.exp(-(seconds - self._last) / self._constant)
            self._average += np.float32(1 - weight) * (scores - self._average)
        self._last = seconds
        return self._average

    def save(self, path: Path, *, frames: int) -> None:
        """Write the average after so many frames, for `load`."""
        if self._average is not None:
            buffer = io.BytesIO()
            np.savez(buffer, average=self._average, last=self._last, frames=frames)
            write_bytes(path, buffer.getvalue())

    def load(self, path: Path, *, most: int) -> int:
        """Take up what was saved after `most` frames or fewer; give how many, 0 if nothing was."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                average, last = content["average"], float(content["last"])
                frames = int(content["frames"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0
        if frames > most:
            return 0
        self._average, self._last = average, last
        return frames


class VideoRecord:
    """One video's folder: `predictions.csv`, the same as JSON lines, and pictures if wanted.

    Args:
        folder: Its own.
        name: As the list of alarms has it.
        plan: What is asked.
        predictor: The run's network.
        alarms: Of all videos.
        every_seconds: Usual time between the frames that are read, if it is known.
        began: When a live stream began; rows then have the time of day, in UTC.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        plan: PredictPlan,
        predictor: Predictor,
        alarms: AlarmList,
        *,
        every_seconds: float | None = None,
        began: datetime.datetime | None = None,
    ) -> None:
        self.name = name
        self.frames = 0
        self.has_changed = False
        self._folder, self._plan, self._predictor = folder, plan, predictor
        self._began, self._all_alarms = began, alarms
        columns = (*COLUMNS[:2], "time", *COLUMNS[2:]) if began else COLUMNS
        self._files = RowFiles(folder, columns)
        self._watch = AlarmWatch(plan.alarm, every_seconds=every_seconds)
        self._smoother = Smoother(plan.smoothing.seconds)
        self._has_masks = bool(plan.pictures or (plan.video and began is None))

    @property
    def alarms(self) -> list[Alarm]:
        """The alarms so far."""
        return self._watch.alarms

    def rows(self) -> dict[int, dict[str, Any]]:
        """Give the rows that are written, by number of their frame."""
        return {row["frame"]: row for row in self._files.read()}

    def resume(self, *, is_same: bool, is_complete: bool) -> int:
        """Take up the rows that are there, with the alarms of today's rules.

        Args:
            is_same: Whether they are of this video, with these settings; else they are dropped.
            is_complete: Whether no frame is to follow.

        Returns:
            Number of the first frame that is left to do.
        """
        was = self._files.read() if is_same else []
        if self._plan.smoothing.seconds > 0 and was and not is_complete:
            was = was[: self._smoother.load(self._folder / SMOOTHING, most=len(was))]
        if not was:
            (self._folder / SMOOTHING).unlink(missing_ok=True)
        rows = [{**row, "alarm": str(self._watch.see(_moment(row)))} for row in was]
        self.has_changed = rows != was
        self.frames = len(rows)
        self._files.start(rows)
        self._all_alarms.put(self.name, self.alarms)
        return rows[-1]["frame"] + 1 if rows else 0

    def take(self, frame: VideoFrame) -> tuple[dict[str, Any], Mask]:
        """Segment a frame and keep what is found; give its row and its mask of class ids."""
        scores = self._smoother(self._predictor.scores(frame.pixels), frame.seconds)
        prediction = self._predictor.read(scores)
        found = {
            "frame": frame.index,
            "seconds": frame.seconds,
            **({"time": self._time_of(frame)} if self._began else {}),
            "smoke_probability": prediction.probability,
            "smoke_share": prediction.share,
        }
        row, mask = rounded(found), prediction.mask
        before = self._watch.state
        row["alarm"] = str(self._watch.see(_moment(row)))
        self._save_pictures(frame.index, frame.pixels, scores, mask)
        self._files.append(row)
        self.frames += 1
        self.has_changed = True
        if self._watch.state is not before:
            self._all_alarms.put(self.name, self.alarms)
        return row, mask

    def save(self, *, is_over: bool) -> None:
        """Write what is needed to go on from here, and the alarms as they stand."""
        if is_over:
            (self._folder / SMOOTHING).unlink(missing_ok=True)
        else:
            self._smoother.save(self._folder / SMOOTHING, frames=self.frames)
        self._all_alarms.put(self.name, self.alarms)

    def __enter__(self) -> VideoRecord:
        """Use as a context manager: the files are closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files, and write the alarms as they stand."""
        self._files.close()
        if error is None:
            self._all_alarms.put(self.name, self.alarms)

    def _time_of(self, frame: VideoFrame) -> str:
        assert self._began is not None
        at = self._began + datetime.timedelta(seconds=frame.seconds)
        return at.isoformat(timespec="milliseconds")

    def _save_pictures(self, index: int, pixels: FrameArray, scores: ScoreMap, mask: Mask) -> None:
        if self._has_masks:
            write_scores(mask_path(self._folder, index), mask.astype(np.float32))
        if self._plan.pictures:
            write_scores(self._folder / "scores" / f"{index:06d}.png", scores)
            write_picture(self._folder / "overlays" / f"{index:06d}.jpg", overlay(pixels, mask))


def mask_path(folder: Path, index: int) -> Path:
    """Say where the mask of a video's frame lies: 0, and 255 for smoke."""
    return folder / "masks" / f"{index:06d}.png"


def _moment(row: Mapping[str, Any]) -> Moment:
    return Moment(row["frame"], row["seconds"], row["smoke_share"])
