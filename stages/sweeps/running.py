"""Make the points of a sweep, several at once, and keep what became of each."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakseg.artifacts.manifest import installed_version, now, source_commit
from weakseg.errors import WeaksegError
from weakseg.plans import SweepPlan
from weakseg.quoting import quoted
from weakseg.stages.running import POLL_SECONDS, Step, Terminal, run_steps
from weakseg.stages.sweeps.file import SweepFile
from weakseg.stages.sweeps.ledger import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    Claim,
    Ledger,
    Point,
    by_metric,
)
from weakseg.stages.sweeps.page import PAGE, write_sweep_page
from weakseg.stages.sweeps.results import Progress, figures_of, write_results
from weakseg.stages.sweeps.search import Search
from weakseg.targets import ConfigurationError
from weakseg.training import Interrupted, StopFlag
from weakseg.training.progress import clock_face

log = logging.getLogger(__name__)

_PAGE_SECONDS = 60.0
"""While points are made, the page with their pictures is written no more often than that."""


@dataclass(frozen=True)
class Sweep:
    """A sweep at work.

    Args:
        plan: What was asked for.
        file: The sweep file.
        search: Chooses points.
        ledger: Keeps them.
        output: The sweep's folder.
        threads: Of each command.
    """

    plan: SweepPlan
    file: SweepFile
    search: Search
    ledger: Ledger
    output: Path
    threads: int

    @property
    def made_by(self) -> dict[str, Any]:
        """What must stay the same while the sweep goes on; a grid may grow."""
        parameters = {name: dataclasses.asdict(one) for name, one in self.file.parameters.items()}
        return {
            "method": self.file.method,
            "command": self.file.command,
            "words": " ".join(self.file.words),
            "parameters": list(parameters) if self.file.method == "grid" else parameters,
            "seed": 0 if self.file.method == "grid" else self.plan.seed,
        }

    def step(self, point: Point) -> Step:
        """Give the command that makes a point."""
        file, run = self.file, self.run_of(point)
        names = ",".join(quoted(word) for word in point.overrides)
        more = [
            f"output={quoted(str(run))}",
            f"tracking.group={quoted(file.name)}",
            f"tracking.point=[{names}]",
        ]
        if file.command == "chain" and not file.says("shared"):
            more.append(f"shared={quoted(str(self.output / 'shared'))}")
        if not file.says("hardware.threads"):
            more.append(f"hardware.threads={self.threads}")
        return file.step(point.parameters, more)

    def run_of(self, point: Point) -> Path:
        """Say where the run of a point lies."""
        return self.output / "points" / point.name


def make_points(sweep: Sweep, *, jobs: int, stop: StopFlag, count: int | None = None) -> None:
    """Make points until none is left, `jobs` at once; a failed one stops no other.

    Args:
        sweep: Which.
        jobs: How many at once.
        stop: Ends the work.
        count: How many at most.

    Raises:
        Interrupted: If the work was ended.
    """
    terminal = Terminal({"OMP_NUM_THREADS": str(sweep.threads)} if sweep.threads else {})
    tried: set[int] = set()
    took: list[float] = []
    running: dict[Future[Point], Claim] = {}

    def fill_slots() -> None:
        """Take points while a slot is free, until none is left but what others make."""
        while len(running) < jobs and (count is None or len(tried) < count) and not stop.is_set:
            claim = _claim(sweep, tried)
            if claim is None:
                return
            tried.add(claim.point.number)
            running[pool.submit(make_point, sweep, claim, terminal, stop)] = claim

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            fill_slots()
            while running and not stop.is_set:
                ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                if not ended:
                    continue
                points: list[Point] = []
                for future in ended:
                    is_new = running.pop(future).point.attempts == 0
                    points.append(future.result())
                    if points[-1].status == FINISHED and is_new:
                        took.append(points[-1].seconds)
                # First of all: no slot is to wait for the page.
                fill_slots()
                for point in points:
                    _tell_point(sweep, point, collect(sweep, at_end=False), took, jobs)
            if stop.is_set:
                terminal.stop()
            wait(running)
        except BaseException:
            # A second Ctrl-C among others. Those under way are interrupted, not failed.
            stop.set("an error")
            terminal.kill()
            raise
    if stop.is_set:
        progress = collect(sweep)
        raise Interrupted(
            f"stopped by {stop.reason} after {progress.finished} of {progress.total} points: "
            "run the same command again to go on from there"
        )


def make_point(sweep: Sweep, claim: Claim, terminal: Terminal, stop: StopFlag) -> Point:
    """Run the command of a point and keep what became of it; give its new record."""
    before, step = claim.point, sweep.step(claim.point)
    run_dir = sweep.run_of(before)
    point = dataclasses.replace(
        before,
        status=RUNNING,
        attempts=before.attempts + 1,
        started=now(),
        why="",
        command=step.line,
        run=str(run_dir.relative_to(sweep.output)),
        version=installed_version(),
        git_commit=source_commit(),
    )
    past = before.seconds + _seconds_of_killed(before, sweep.ledger.log_file(before))
    started = time.monotonic()
    try:
        sweep.ledger.write(point)
        try:
            run_steps([step], sweep.ledger.log_file(point), terminal.run)
            figures = figures_of(run_dir)
            point = dataclasses.replace(
                point,
                status=FINISHED,
                finished=now(),
                figures=figures,
                metric=_metric(sweep.file, figures),
            )
        except (WeaksegError, OSError) as error:
            status = INTERRUPTED if stop.is_set else FAILED
            point = dataclasses.replace(point, status=status, why=str(error))
        seconds = past + time.monotonic() - started
        point = dataclasses.replace(point, seconds=round(seconds, 3))
        sweep.ledger.write(point)
    finally:
        claim.release()
    return point


def _seconds_of_killed(point: Point, log_file: Path) -> float:
    """Say how long a start took that was killed before it could say so; 0 after any other."""
    if point.status != RUNNING or not log_file.exists():
        return 0.0
    began = datetime.datetime.fromisoformat(point.started).timestamp()
    return max(0.0, log_file.stat().st_mtime - began)


def collect(sweep: Sweep, *, at_end: bool = True) -> Progress:
    """Write the tables of all that is there, and the page; before the end, not all the time."""
    metric = sweep.file.metric
    with sweep.ledger.locked():
        known = [by_metric(one, metric) for one in sweep.ledger.statuses()]
        own = [one for one in known if sweep.search.includes(one.parameters)]
        total = max(sweep.search.total, len(own))
        progress = write_results(
            sweep.output,
            sweep.file,
            own,
            total=total,
            seed=sweep.plan.seed,
            made_by=sweep.made_by,
        )
    if at_end or _is_stale(sweep.output / PAGE):
        # Outside of the lock: it draws pictures, and others wait for the ledger.
        try:
            write_sweep_page(sweep.output, sweep.file, own, total)
        except (WeaksegError, OSError, ValueError) as error:
            log.warning("no report this time: %s", error)
    return progress


def _is_stale(page: Path) -> bool:
    return not page.exists() or time.time() - page.stat().st_mtime > _PAGE_SECONDS


def _claim(sweep: Sweep, tried: set[int]) -> Claim | None:
    return sweep.ledger.claim(
        sweep.search,
        metric=sweep.file.metric,
        overrides_of=sweep.file.overrides,
        retry=sweep.plan.retry,
        tried=tried,
    )


def _metric(file: SweepFile, figures: Mapping[str, Any]) -> float | None:
    """Find what the sweep looks for; only a search that learns from it cannot do without."""
    if file.metric is None:
        return None
    value = figures.get(file.metric.name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    known = ", ".join(key for key, item in figures.items() if isinstance(item, int | float))
    told = f"metric: the run has no figure {file.metric.name}, only {known}"
    if file.method == "bayes":
        raise ConfigurationError(told)
    log.warning("%s", told)
    return None


def _tell_point(
    sweep: Sweep, point: Point, progress: Progress, took: list[float], jobs: int
) -> None:
    if point.status == INTERRUPTED:
        return
    if point.status == FAILED:
        log.warning("%s failed: %s", point.name, point.why)
        return
    metric = sweep.file.metric
    figure = f", {metric.name} {point.metric:.4g}" if metric and point.metric is not None else ""
    left = progress.total - progress.finished - progress.counts.get(FAILED, 0)
    seconds = sum(took) / len(took) * left / jobs if took and left else None
    more = "" if seconds is None else f", about {clock_face(seconds)} left"
    done = f"point {progress.finished}/{progress.total}"
    log.info("%s: %s%s in %s%s", done, point.name, figure, clock_face(point.seconds), more)
