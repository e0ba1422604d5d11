"""Keep what became of each point of a sweep: one file a point, safe under kill -9 and many hands.

`OUTPUT/ledger/0007/point.json` is replaced whole. Whoever makes a point holds the lock beside it,
which the kernel frees when its holder dies: a point that says `running` and is not locked was
interrupted, and goes on with the next claim. New points are chosen under the lock of the ledger.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from weakseg.artifacts import ArtifactError, fingerprint, read_json, write_json
from weakseg.artifacts.lock import FolderLock
from weakseg.stages.sweeps.file import Metric
from weakseg.stages.sweeps.search import Search, Seen, point_id
from weakseg.stages.sweeps.space import Value

Overrides: TypeAlias = Callable[[Mapping[str, Value]], Sequence[str]]

WAITING: Final = "waiting"
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
FINISHED: Final = "finished"
FAILED: Final = "failed"

_PATIENCE_SECONDS: Final = 120.0
_LONGEST_NAME: Final = 120


@dataclass(frozen=True)
class Point:
    """One point of a sweep, and what became of it.

    Args:
        number: From 0, in the order in which points were chosen.
        name: Of its run folder: what varies, as typed.
        parameters: Name -> value.
        overrides: The same, as typed: `refine=crf`.
        seed: Of the run, if the sweep sets it.
        status: `waiting`, `running`, `interrupted`, `finished` or `failed`.
        attempts: How often its command was started.
        started: When it was last started, ISO 8601 in UTC.
        finished: When it was finished.
        seconds: All starts took, together; a killed one, until its command last said something.
        metric: What the sweep looks for, as the run measured it.
        figures: The run's summary: name -> number or word.
        why: What went wrong, of a failed point: the last line its command said.
        command: As it is typed.
        run: Its run folder, relative to the sweep's.
        version: Of weakseg, when it was last started.
        git_commit: Of its source; empty outside a checkout.
    """

    number: int
    name: str
    parameters: Mapping[str, Value]
    overrides: Sequence[str]
    seed: int | str | None = None
    status: str = WAITING
    attempts: int = 0
    started: str = ""
    finished: str = ""
    seconds: float = 0.0
    metric: float | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    command: str = ""
    run: str = ""
    version: str = ""
    git_commit: str = ""

    @property
    def id(self) -> str:
        """Of its values: the same values are the same point."""
        return point_id(self.parameters)

    @property
    def seen(self) -> Seen:
        """What a search needs to know of it."""
        return Seen(self.parameters, self.metric, self.status == FAILED)


@dataclass
class Claim:
    """A point that nobody else makes until it is released."""

    point: Point
    lock: FolderLock

    def release(self) -> None:
        """Let others have it."""
        self.lock.release()


def by_metric(point: Point, metric: Metric | None) -> Point:
    """Give a point with the metric that its figures say: the file may name another one by now."""
    if point.status != FINISHED:
        return point
    value = None if metric is None else point.figures.get(metric.name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return dataclasses.replace(point, metric=None)
    return dataclasses.replace(point, metric=float(value))


class Ledger:
    """The points of the sweep in the folder `output`.

    Args:
        output: The sweep's folder.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / "ledger"

    def folder_of(self, point: Point) -> Path:
        """Say where the record and the log of a point lie."""
        return self._folder / f"{point.number:04d}"

    def log_file(self, point: Point) -> Path:
        """Say where what its command said is kept."""
        return self.folder_of(point) / "log.txt"

    def write(self, point: Point) -> None:
        """Write the record of a point, whole or not at all."""
        write_json(self.folder_of(point) / "point.json", dataclasses.asdict(point))

    def points(self) -> list[Point]:
        """Read every point, by number.

        Raises:
            ArtifactError: If a record was damaged by other hands.
        """
        return [_read(path) for path in sorted(self._folder.glob("*/point.json"))]

    def statuses(self) -> list[Point]:
        """Read every point; those that say `running` while nobody does are `interrupted`."""
        return [self._as_it_is(point) for point in self.points()]

    def claim(
        self,
        search: Search,
        *,
        metric: Metric | None,
        overrides_of: Overrides,
        retry: bool,
        tried: Container[int],
    ) -> Claim | None:
        """Take a point to make: one that was begun or chosen before, else a new one.

        Args:
            search: Chooses new points.
            metric: Whose target, once reached, ends the sweep.
            overrides_of: Parameters -> words as typed.
            retry: Whether failed points are made again.
            tried: Numbers that are not wanted again.

        Returns:
            The point, locked; None if there is nothing to do but what others do.
        """
        with self.locked():
            points = [by_metric(point, metric) for point in self.points()]
            if metric is not None and any(metric.is_reached(one.metric) for one in points):
                return None
            # What has failed before comes last, so that it does not keep others from being made.
            for point in sorted(points, key=lambda one: (one.status == FAILED, one.attempts)):
                is_open = point.status != FINISHED and (retry or point.status != FAILED)
                if is_open and point.number not in tried and search.includes(point.parameters):
                    claim = self._take(point)
                    if claim is not None:
                        return claim
            if sum(search.includes(point.parameters) for point in points) >= search.total:
                return None
            values = search.propose([point.seen for point in points])
            if values is None:
                return None
            new = self._new(max((p.number for p in points), default=-1) + 1, values, overrides_of)
            return self._take(new)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from choosing points or telling of them meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self._folder, patience_seconds=_PATIENCE_SECONDS)
        try:
            yield
        finally:
            lock.release()

    def _new(self, number: int, values: Mapping[str, Value], overrides_of: Overrides) -> Point:
        overrides = list(overrides_of(values))
        seed = values.get("seed")
        point = Point(
            number=number,
            name=folder_name(overrides),
            parameters=values,
            overrides=overrides,
            seed=seed if isinstance(seed, int | str) else None,
        )
        self.write(point)
        return point

    def _take(self, point: Point) -> Claim | None:
        """Lock a point, and read again what became of it meanwhile."""
        try:
            lock = FolderLock(self.folder_of(point), patience_seconds=0.0)
        except ArtifactError:
            return None
        newest = _read(self.folder_of(point) / "point.json")
        if newest.status != point.status:
            lock.release()
            return None
        return Claim(newest, lock)

    def _as_it_is(self, point: Point) -> Point:
        if point.status != RUNNING:
            return point
        claim = self._take(point)
        if claim is None:  # Somebody is at it, or has just finished it.
            return _read(self.folder_of(point) / "point.json")
        claim.release()
        return dataclasses.replace(point, status=INTERRUPTED)


def folder_name(overrides: Sequence[str]) -> str:
    """Name a run folder after what varies; a name that would lose something ends in a hash."""
    typed = ",".join(overrides)
    name = re.sub(r"[^A-Za-z0-9=,.+_-]+", "_", typed)
    if name == typed and len(name) <= _LONGEST_NAME and not name.startswith("."):
        return name
    return f"{name[:_LONGEST_NAME].lstrip('.')}-{fingerprint(typed)[:8]}"


def _read(path: Path) -> Point:
    content = read_json(path)
    try:
        return Point(**content)
    except TypeError as error:
        raise ArtifactError(
            f"{path} is no point of a sweep ({error}): delete its folder"
        ) from error
