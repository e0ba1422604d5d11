"""Keep count while frames are refined: seconds by step, frames that fail, and why."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from weakseg.artifacts import RunPaths, read_json, write_json
from weakseg.data import Frame
from weakseg.data.quarantine import Quarantined, list_quarantine, write_quarantine
from weakseg.stages.scores import SPEED

log = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine.csv"
NOTES: Final = "notes"

_HOPELESS: Final = 8  # As many failures in a row are no accident of some frames.


@dataclass
class Tally:
    """What refining all frames came to, beside the scores; kept in the run's folder.

    Args:
        run: Where `quarantine.csv` and `speed.json` lie.
        before: The frames that failed when the run was last at work.
        seconds: Spent in each step, by its key in the recipe; "read" is reading frames and CAMs.
        failed: The frames that could not be refined, and why, by their ids.
    """

    run: RunPaths
    before: Sequence[Quarantined] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, Quarantined] = field(default_factory=dict)
    _in_a_row: dict[str, int] = field(default_factory=dict)
    _has_worked: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, run: RunPaths) -> Tally:
        """Go on from what an earlier start of the same run has kept."""
        told = run.path / SPEED
        return cls(run, failures_of(run), dict(read_json(told)) if told.exists() else {})

    def save(self) -> None:
        """Keep times and failures, for the user and for a run that goes on."""
        write_json(self.run.path / SPEED, self.seconds)
        write_quarantine(self.run.path / QUARANTINE, self.failed.values())

    def spend(self, key: str, started: float) -> None:
        """Count the seconds since `started` for a step."""
        self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - started

    def succeed(self, key: str) -> None:
        """Note that a step has worked on a frame."""
        self._in_a_row[key] = 0
        self._has_worked.add(key)

    def fail(self, frame: Frame, key: str, error: Exception) -> None:
        """Leave a frame out, unless its step fails on frame after frame.

        Raises:
            Exception: `error`, where the step has failed on 8 frames in a row, those not counted
                that failed before: then it is not the frames.
        """
        if frame.id not in {row.id for row in self.before}:
            self._in_a_row[key] = self._in_a_row.get(key, 0) + 1
        if self._in_a_row.get(key, 0) >= _HOPELESS:
            raise error
        reason = " ".join(f"{key}: {error}".split())
        self.failed[frame.id] = Quarantined(frame.id, str(frame.path), reason)
        log.warning("%s is left out, for it fails: %s", frame.id, reason)

    def note(self, frame_id: str, notes: Mapping[str, float]) -> None:
        """Keep what steps have noted of a frame, beside what those of an earlier phase have."""
        if notes:
            path = self.run.path / NOTES / f"{frame_id}.json"
            write_json(path, (read_json(path) if path.exists() else {}) | dict(notes))

    def never_worked(self, key: str) -> bool:
        """Say whether a step has failed on every frame it was given, and was given some."""
        return key not in self._has_worked and self._in_a_row.get(key, 0) > 0

    def figures(self, frames: int) -> dict[str, float]:
        """Give `seconds_per_frame/STEP` over all `frames`, what steps noted, and failures."""
        times = {f"seconds_per_frame/{key}": total / frames for key, total in self.seconds.items()}
        return times | self._mean_notes() | {"failed_frames": float(len(self.failed))}

    def _mean_notes(self) -> dict[str, float]:
        """Give the mean of every figure that steps have noted, over the frames that have it."""
        noted: dict[str, list[float]] = {}
        for path in sorted((self.run.path / NOTES).glob("*.json")):
            for key, value in read_json(path).items():
                noted.setdefault(key, []).append(float(value))
        return {key: sum(values) / len(values) for key, values in sorted(noted.items())}


def failures_of(run: RunPaths) -> Sequence[Quarantined]:
    """List the frames of a run that could not be refined, and why."""
    path = run.path / QUARANTINE
    return tuple(list_quarantine(path)) if path.exists() else ()
