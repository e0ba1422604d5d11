"""Raise alarms from the share of smoke over time, with hysteresis, and keep a list of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from weakseg.artifacts import write_text
from weakseg.plans import AlarmPlan

ALARMS: Final = "alarms.csv"
COLUMNS: Final = (
    "source",
    "state",
    "start_seconds",
    "end_seconds",
    "peak_seconds",
    "peak_share",
    "start_frame",
    "peak_frame",
    "end_frame",
)


class State(StrEnum):
    """Where the watch stands after a frame.

    quiet: nothing is going on. It rises with a frame at `on_share` or above.
    rising: so far every frame since then was at `on_share` or above; one below makes it quiet.
    alarm: it rose for `min_seconds` or more.
    falling: an alarm whose share is below `off_share`; at `off_share` or above it is an alarm
    again, and after `hold_seconds` it is quiet.
    """

    QUIET = "quiet"
    RISING = "rising"
    ALARM = "alarm"
    FALLING = "falling"


@dataclass(frozen=True)
class Moment:
    """A frame of a video: its number, its time, and the share of it in smoke."""

    frame: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Args:
        start: The first frame at `on_share` or above.
        peak: The frame with most smoke.
        end: The last frame at `off_share` or above, so far if the alarm is open.
        is_open: Whether it has not ended: the video or the stream did before, or goes on.
    """

    start: Moment
    peak: Moment
    end: Moment
    is_open: bool


class AlarmWatch:
    """Follow the share of smoke, frame by frame; `State` says by which rules.

    Args:
        plan: The shares and lengths.
        every_seconds: Time between frames where that is wanted to be long: a gap is at least two
            and a half of them.
    """

    def __init__(self, plan: AlarmPlan, *, every_seconds: float | None = None) -> None:
        self._plan = plan
        self._gap = max(plan.gap_seconds, 2.5 * (every_seconds or 0.0))
        self._last: Moment | None = None
        self._below: Moment | None = None
        self.state = State.QUIET
        self.alarms: list[Alarm] = []
        self._current: Alarm | None = None

    def see(self, moment: Moment) -> State:
        """Take the next frame, later than all before; give the state after it."""
        if self._last is not None and moment.seconds - self._last.seconds > self._gap:
            self._finish()
        self._last = moment
        if self.state in (State.QUIET, State.RISING):
            self._rise(moment)
        else:
            self._follow(moment)
        return self.state

    def _rise(self, moment: Moment) -> None:
        if moment.share < self._plan.on_share:
            self._finish()
            return
        if self._current is None:
            self._current = Alarm(moment, moment, moment, is_open=True)
        self._extend(moment)
        lasted = moment.seconds - self._current.start.seconds
        self.state = State.ALARM if lasted >= self._plan.min_seconds else State.RISING
        if self.state is State.ALARM:
            self.alarms.append(self._current)

    def _follow(self, moment: Moment) -> None:
        if moment.share >= self._plan.off_share:
            self.state, self._below = State.ALARM, None
            self._extend(moment)
            self.alarms[-1] = self._alarm()
            return
        self._below = self._below or moment
        self.state = State.FALLING
        if moment.seconds - self._below.seconds >= self._plan.hold_seconds:
            self._finish()

    def _extend(self, moment: Moment) -> None:
        alarm = self._alarm()
        peak = moment if moment.share > alarm.peak.share else alarm.peak
        self._current = replace(alarm, peak=peak, end=moment)

    def _finish(self) -> None:
        if self.state in (State.ALARM, State.FALLING):
            self.alarms[-1] = replace(self._alarm(), is_open=False)
        self.state, self._current, self._below = State.QUIET, None, None

    def _alarm(self) -> Alarm:
        assert self._current is not None
        return self._current


class AlarmList:
    """`alarms.csv` of an output folder: the alarms of all its videos and streams.

    Args:
        folder: Alarms that it holds of other sources are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ALARMS
        self._rows: dict[str, list[dict[str, str]]] = {}
        if self._path.exists():
            with self._path.open(encoding="utf-8", newline="") as table:
                for row in csv.DictReader(table):
                    self._rows.setdefault(row.get("source", ""), []).append(row)

    def put(self, source: str, alarms: Sequence[Alarm]) -> None:
        """Write the alarms of a source in place of those it had."""
        self._rows[source] = [_row(source, alarm) for alarm in alarms]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for rows in self._rows.values():
            writer.writerows(rows)
        write_text(self._path, text.getvalue())


def _row(source: str, alarm: Alarm) -> dict[str, str]:
    return {
        "source": source,
        "state": "open" if alarm.is_open else "ended",
        "start_seconds": f"{alarm.start.seconds:.3f}",
        "end_seconds": f"{alarm.end.seconds:.3f}",
        "peak_seconds": f"{alarm.peak.seconds:.3f}",
        "peak_share": f"{alarm.peak.share:.6f}",
        "start_frame": str(alarm.start.frame),
        "peak_frame": str(alarm.peak.frame),
        "end_frame": str(alarm.end.frame),
    }
