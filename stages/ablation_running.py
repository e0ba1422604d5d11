"""Run commands side by side, each after what it builds on; one that fails stops no other."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from weakseg.errors import WeaksegError
from weakseg.stages.ablation_commands import Step
from weakseg.stages.ablation_study import Study, Unit
from weakseg.training import Interrupted, StopFlag
from weakseg.training.progress import clock_face

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.2
_TAIL_BYTES: Final = 20_000


class StepFailed(WeaksegError):
    """A command of a unit that ended badly: what it said, and where the rest stands."""


class Terminal:
    """Start commands as processes, and stop them all on request.

    Args:
        environment: Added to that of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def run(self, step: Step, log_file: Path) -> int:
        """Run a command to its end, what it says appended to `log_file`; give its exit code.

        Raises:
            Interrupted: If all were stopped before it could start.
        """
        words = [sys.executable, "-m", f"weakseg.{step.command}", *step.words]
        with log_file.open("ab") as said:
            with self._lock:
                if self._is_stopped:
                    raise Interrupted("stopped before the next command")
                # A session of its own: Ctrl-C reaches it through `stop`, once.
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                )
                self._live.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._live.discard(process)

    def stop(self) -> None:
        """Ask every running command to save its state and end; start no other."""
        with self._lock:
            self._is_stopped = True
            for process in self._live:
                process.terminate()

    def kill(self) -> None:
        """End every running command at once; what each has finished is on disk."""
        with self._lock:
            self._is_stopped = True
            for process in self._live:
                process.kill()


def run_steps(steps: Sequence[Step], log_file: Path, run: Callable[[Step, Path], int]) -> None:
    """Run the commands of a unit, one after the other.

    A run folder that was made with other settings is made again: it is the ablation's own.

    Raises:
        StepFailed: At the first that ends badly.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    for step in steps:
        code = _say_and_run(step, log_file, run)
        if code and step.command != "evaluate" and _was_made_otherwise(log_file):
            again = Step(step.name, step.command, (*step.words, "overwrite=true"))
            code = _say_and_run(again, log_file, run)
        if code:
            raise StepFailed(f"{step.name}: {_last_word(log_file, code)}")


def _say_and_run(step: Step, log_file: Path, run: Callable[[Step, Path], int]) -> int:
    with log_file.open("a", encoding="utf-8") as said:
        said.write(f"$ {step.line}\n")
    return run(step, log_file)


def _tail(log_file: Path) -> list[str]:
    """Give what the newest command in a log said."""
    with log_file.open("rb") as said:
        said.seek(max(0, log_file.stat().st_size - _TAIL_BYTES))
        lines = said.read().decode("utf-8", errors="replace").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ python -m ")]
    return lines[starts[-1] + 1 :] if starts else lines


def _was_made_otherwise(log_file: Path) -> bool:
    said = [line for line in _tail(log_file) if line.startswith("error: ")]
    return bool(said) and " run made otherwise (" in said[-1]


def _last_word(log_file: Path, code: int) -> str:
    """Find the sentence a command ended with; its last line if it had none."""
    said = [line for line in _tail(log_file) if line.strip()]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if errors:
        return errors[-1]
    ended = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}: {said[-1].strip()}" if said else ended


def run_units(
    study: Study,
    units: Sequence[Unit],
    *,
    jobs: int,
    make: Callable[[Unit], bool],
    stop: StopFlag,
    on_stop: Callable[[], None],
    on_end: Callable[[Unit, int], None] = lambda unit, done: None,
) -> dict[Unit, str]:
    """Make the units, `jobs` at once, each after the one it builds on.

    Args:
        study: Says what builds on what.
        units: In the order wanted; a unit that builds on one that is not among them may start.
        jobs: How many at once.
        make: Makes one; False if there was nothing to do. Its `WeaksegError`s are the unit's own.
        stop: Ends the work.
        on_stop: Called at the end, to stop what is running still.
        on_end: Called with a unit that is finished, and how many are.

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
            for unit in [unit for unit in waiting if study.parent(unit) in failed]:
                waiting.remove(unit)
                failed[unit] = f"{study.parent(unit)}, which it builds on, failed"
            ready = [u for u in waiting if (p := study.parent(u)) not in todo or p in done]
            for unit in ready[: jobs - len(running)]:
                waiting.remove(unit)
                running[pool.submit(make, unit)] = unit
            ended, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                unit = running.pop(future)
                problem = _problem(future)
                if problem is None:
                    done.add(unit)
                    on_end(unit, len(done))
                elif not stop.is_set:
                    failed[unit] = problem
                    log.warning("%s failed: %s", unit, problem)
    if stop.is_set:
        raise Interrupted(
            f"stopped by {stop.reason} after {len(done)} of {len(todo)} units: "
            "run the same command again to go on from there"
        )
    return failed


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
