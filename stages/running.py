"""Run commands as processes: each with a log, stopped on request, none outliving its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from weakseg.errors import WeaksegError
from weakseg.quoting import typed
from weakseg.training import Interrupted, StopFlag

POLL_SECONDS: Final = 0.2
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
    sys.exit("what started it has ended")
signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm tells the job that way, which tells us.
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes a command that the kernel asks to end when its parent dies, were it by kill -9."""


T = TypeVar("T")


class StepFailed(WeaksegError):
    """A command that ended badly: what it said."""


@dataclass(frozen=True)
class Step:
    """One command.

    Args:
        name: What it is for: stage1, measure-val.
        command: Which of weakseg's: `stage1`, `evaluate`.
        words: What follows it.
    """

    name: str
    command: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it is typed."""
        return typed(["python", "-m", f"weakseg.{self.command}", *self.words])


def command_of(step: Step) -> list[str]:
    """Give the words that start a command."""
    return [sys.executable, "-m", f"weakseg.{step.command}", *step.words]


class Terminal:
    """Start commands as processes, and stop them all on request; none outlives this process.

    Args:
        environment: Added to that of this process; None takes a variable out.
    """

    def __init__(self, environment: Mapping[str, str | None]) -> None:
        every = {**os.environ, **environment}
        self._environment = {name: value for name, value in every.items() if value is not None}
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
    way_out: str = "",
) -> None:
    """Run the commands of a unit, one after the other.

    A run folder that was made with other settings is made again if it belongs to who runs them
    alone. One that is in use is waited for: a command whose parent was killed saves its state
    first.

    Args:
        steps: The commands.
        log_file: Takes what they say.
        run: Runs one and gives its exit code.
        patience: Seconds to wait for a folder in use.
        pause: Seconds between looks at it.
        way_out: What to do where a run was made with other settings, if it is to be left alone;
            it is made again if empty.

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
            if way_out:
                found = _last_word(log_file, code).rpartition("): ")[0]
                raise StepFailed(f"{step.name}: {found}): {way_out}")
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


def run_watched(call: Callable[[], T], *, stop: StopFlag, terminal: Terminal) -> T:
    """Run what starts commands in `terminal`, and stop them when asked to.

    Raises:
        Interrupted: If it was stopped before its end.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(call)
        try:
            while not stop.is_set and not future.done():
                wait([future], timeout=POLL_SECONDS)
            if stop.is_set:
                terminal.stop()
            wait([future])
        except BaseException:
            # A second Ctrl-C among others, while commands save their state.
            terminal.kill()
            raise
    if stop.is_set and future.exception() is not None:
        raise Interrupted(
            f"stopped by {stop.reason}: run the same command again to go on from there"
        )
    return future.result()
