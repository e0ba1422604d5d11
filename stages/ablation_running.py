"""Run commands side by side, each after what it builds on; one that fails stops no other."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
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
_PATIENCE_SECONDS: Final = 900.0
_PAUSE_SECONDS: Final = 10.0
_TIED: Final = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, which outlives exec
except (AttributeError, OSError):
    pass  # Not Linux.
if os.getppid() != int(sys.argv[1]):
    sys.exit("the ablation has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a command that the kernel asks to end when its parent dies, were it by kill -9."""


class StepFailed(WeaksegError):
    """A command of a unit that ended badly: what it said, and where the rest stands."""


def command_of(step: Step) -> list[str]:
    """Give the words that start a command."""
    return [sys.executable, "-m", f"weakseg.{step.command}", *step.words]


class Terminal:
    """Start commands as processes, and stop them all on request; none outlives this process.

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
        tied = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid())]
        with log_file.open("ab") as said:
            with self._lock:
                if self._is_stopped:
                    raise Interrupted("stopped before the next command")
                # A session of its own: Ctrl-C reaches it through `stop`, once.
                process = subprocess.Popen(
                    [*tied, *command_of(step)],
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
        """End every running command and its helpers at once; what is finished is on disk."""
        with self._lock:
            self._is_stopped = True
            for process in self._live:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def run_steps(
    steps: Sequence[Step],
    log_file: Path,
    run: Callable[[Step, Path], int],
    *,
    patience: float = _PATIENCE_SECONDS,
    pause: float = _PAUSE_SECONDS,
) -> None:
    """Run the commands of a unit, one after the other.

    A run folder that was made with other settings is made again: it is the ablation's own. One
    that is in use is waited for: a command of an ablation that was killed saves its state first.

    Args:
        steps: The commands.
        log_file: Takes what they say.
        run: Runs one and gives its exit code.
        patience: Seconds to wait for a folder in use.
        pause: Seconds between looks at it.

    Raises:
        StepFailed: At the first that ends badly.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    for step in steps:
        deadline = time.monotonic() + patience
        code = _say_and_run(step, log_file, run)
        while code and _is_in_use(log_file) and time.monotonic() < deadline:
            time.sleep(pause)
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
    return " run made otherwise (" in _last_error(log_file)


def _is_in_use(log_file: Path) -> bool:
    return " is in use by another run (" in _last_error(log_file)


def _last_error(log_file: Path) -> str:
    said = [line for line in _tail(log_file) if line.startswith("error: ")]
    return said[-1] if said else ""


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
            ended, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
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
