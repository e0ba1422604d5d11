"""Show how far a loop is: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_QUIET_SECONDS = 2.0
_LINE_SECONDS = 10.0


def track(
    iterable: Iterable[T],
    *,
    total: int | None = None,
    what: str,
    unit: str = "",
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Pass the items of `iterable` on, and tell a waiting person how far it is.

    Loops under two seconds stay silent. On a terminal a bar appears; elsewhere the log gets a
    line about every ten seconds.

    Args:
        iterable: What to loop over.
        total: How many items to expect; the iterable's own length if it has one.
        what: What is done, such as "read frames".
        unit: What is counted, such as "frames".
        console: Where the bar goes; standard error by default.
        clock: Seconds that never go back.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    console = Console(stderr=True) if console is None else console
    meter: _Bar | _Lines
    meter = _Bar(console, what, total) if console.is_terminal else _Lines(what, unit, total)
    start = clock()
    done = 0
    try:
        for item in iterable:
            meter.show(done, clock() - start)
            yield item
            done += 1
        meter.show(done, clock() - start)
    finally:
        meter.close(done, clock() - start)


def clock_face(seconds: float) -> str:
    """Write a duration as people say it: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Bar:
    """A bar on a terminal that appears once the loop has run for two seconds."""

    def __init__(self, console: Console, what: str, total: int | None) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task(what, total=total)
        self._is_shown = False

    def show(self, done: int, elapsed: float) -> None:
        self._progress.update(self._task, completed=done)
        if elapsed >= _QUIET_SECONDS and not self._is_shown:
            self._is_shown = True
            self._progress.start()

    def close(self, done: int, elapsed: float) -> None:
        if self._is_shown:
            self._progress.stop()


class _Lines:
    """A line in the log about every ten seconds, and one at the end if there was any."""

    def __init__(self, what: str, unit: str, total: int | None) -> None:
        self._what = what
        self._unit = f" {unit}" if unit else ""
        self._total = total
        self._due = _LINE_SECONDS
        self._said = -1

    def show(self, done: int, elapsed: float) -> None:
        if elapsed < self._due:
            return
        self._due = elapsed + _LINE_SECONDS
        self._said = done
        of = "" if self._total is None else f" of {self._total}"
        log.info("%s: %d%s%s%s", self._what, done, of, self._unit, self._left(done, elapsed))

    def close(self, done: int, elapsed: float) -> None:
        if self._said >= 0 and done > self._said:
            log.info("%s: %d%s in %s", self._what, done, self._unit, clock_face(elapsed))

    def _left(self, done: int, elapsed: float) -> str:
        if self._total is None or done == 0:
            return f", {clock_face(elapsed)} so far"
        return f", about {clock_face(elapsed / done * (self._total - done))} left"
