"""Run the units of an ablation, each after what it builds on; one that fails stops no other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from weakseg.errors import WeaksegError
from weakseg.stages.ablation.study import Study, Unit
from weakseg.stages.running import POLL_SECONDS
from weakseg.training import Interrupted, StopFlag
from weakseg.training.progress import clock_face

log = logging.getLogger(__name__)


def run_units(
    study: Study,
    units: Sequence[Unit],
    *,
    jobs: int,
    make: Callable[[Unit], bool],
    stop: StopFlag,
    on_stop: Callable[[], None],
    on_end: Callable[[Unit, int, Sequence[Unit]], None] = lambda unit, done, left: None,
) -> dict[Unit, str]:
    """Make the units, `jobs` at once, each after the one it builds on.

    Args:
        study: Says what builds on what.
        units: In the order wanted; a unit that builds on one that is not among them may start.
        jobs: How many at once.
        make: Makes one; False if there was nothing to do. Its `WeaksegError`s are the unit's own.
        stop: Ends the work.
        on_stop: Called at the end, to stop what is running still.
        on_end: Called with a unit that is finished, how many are, and which can still become so.

    Returns:
        Unit -> why it could not be made, for those that could not.

    Raises:
        Interrupted: If the work was ended.
    """
    waiting, todo = deque(units), set(units)
    failed: dict[Unit, str] = {}
    done: set[Unit] = set()
    running: dict[Future[bool], Unit] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool, _at_the_end(on_stop):
        while (waiting or running) and not stop.is_set:
            ready = [u for u in waiting if not (todo - done).intersection(study.builds_on(u))]
            for unit in ready[: jobs - len(running)]:
                waiting.remove(unit)
                running[pool.submit(make, unit)] = unit
            ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                unit = running.pop(future)
                problem = _problem(future)
                if problem is None:
                    done.add(unit)
                    on_end(unit, len(done), [*running.values(), *waiting])
                elif not stop.is_set:
                    failed[unit] = problem
                    log.warning("%s failed: %s", unit, problem)
                    failed |= _without_hope(study, waiting, failed)
    if stop.is_set:
        raise Interrupted(
            f"stopped by {stop.reason} after {len(done)} of {len(todo)} units: "
            "run the same command again to go on from there"
        )
    return failed


def _without_hope(
    study: Study, waiting: deque[Unit], failed: Mapping[Unit, str]
) -> dict[Unit, str]:
    """Take out of `waiting` what builds on a unit that failed, however far away."""
    found: dict[Unit, str] = {}
    for unit in list(waiting):  # Each comes after what it builds on.
        broken = [one for one in study.builds_on(unit) if one in failed or one in found]
        if broken:
            waiting.remove(unit)
            found[unit] = f"{broken[0]}, which it builds on, failed"
    return found


@contextmanager
def _at_the_end(on_stop: Callable[[], None]) -> Iterator[None]:
    """Reach what is still running before anybody waits for it; where all is done, nothing is."""
    try:
        yield
    finally:
        on_stop()


def _problem(future: Future[bool]) -> str | None:
    try:
        future.result()
    except (WeaksegError, OSError) as error:
        return str(error)
    return None


def seconds_left(
    left: Sequence[Unit],
    finished: Mapping[Unit, float],
    *,
    group_of: Callable[[Unit], str],
    jobs: int,
) -> float | None:
    """Estimate how long the units left will take, by those of the same row, group, or any."""
    if not finished:
        return None

    def expected(unit: Unit) -> float:
        same_row = [s for other, s in finished.items() if other.row == unit.row]
        same_group = [s for other, s in finished.items() if group_of(other) == group_of(unit)]
        known = same_row or same_group or list(finished.values())
        return sum(known) / len(known)

    return sum(map(expected, left)) / jobs


def progress_line(unit: Unit, done: int, total: int, left: float | None) -> str:
    """Say how far the work is: `unit 7/42 ..., about 1 h 10 min left`."""
    more = "" if left is None or done == total else f", about {clock_face(left)} left"
    return f"unit {done}/{total}: {unit}{more}"
