"""A command is a process with a log; it ends when it is asked to, and with its parent."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from weakseg.stages import running
from weakseg.stages.running import Step, Terminal
from weakseg.training import Interrupted

STAGE1 = Step("stage1", "stage1", ("seed=0",))


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of Python, start a program that says its words and sleeps."""
    program = tmp_path / "sleeper"
    program.write_text(
        '#!/bin/sh\necho "$OMP_NUM_THREADS $@"\nexec sleep "${SECONDS_TO_SLEEP:-0}"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(
        running,
        "command_of",
        lambda step: [str(program), "-m", f"weakseg.{step.command}", *step.words],
    )


@pytest.mark.usefixtures("sleeper")
def test_command_is_a_process_with_its_log(tmp_path: Path) -> None:
    terminal = Terminal({"OMP_NUM_THREADS": "3"})
    assert terminal.run(STAGE1, tmp_path / "log") == 0
    assert (tmp_path / "log").read_text() == "3 -m weakseg.stage1 seed=0\n"


@pytest.mark.usefixtures("sleeper")
def test_stop_ends_running_commands_and_starts_no_other(tmp_path: Path) -> None:
    terminal = Terminal({"SECONDS_TO_SLEEP": "60"})
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(terminal.run(STAGE1, tmp_path / "log")))
    thread.start()
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text():
        time.sleep(0.01)
    terminal.stop()
    thread.join(timeout=10)
    assert codes == [-15]
    with pytest.raises(Interrupted):
        terminal.run(STAGE1, tmp_path / "log")


PARENT = """
import sys
from pathlib import Path
from weakseg.stages import running
from weakseg.stages.running import Step
running.command_of = lambda step: ["/bin/sh", "-c", "echo $$; exec sleep 60"]
running.Terminal({}).run(Step("stage1", "stage1", ()), Path(sys.argv[1]))
"""


def test_command_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(told)])
    while not told.exists() or not told.read_text().endswith("\n"):
        assert parent.poll() is None
        time.sleep(0.02)
    child = int(told.read_text())
    os.kill(child, 0)
    parent.kill()
    parent.wait()
    assert ends_within(child, seconds=10)


def ends_within(process: int, *, seconds: float) -> bool:
    """Say whether a process that is not ours ends; one that nobody waits for counts as ended."""
    state = Path(f"/proc/{process}/stat")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.usefixtures("sleeper")
def test_kill_reaches_the_helpers_of_a_command_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "sleep 60 & echo $!; wait"
    monkeypatch.setattr(running, "command_of", lambda step: ["/bin/sh", "-c", script])
    terminal, codes = Terminal({}), list[int]()
    thread = threading.Thread(target=lambda: codes.append(terminal.run(STAGE1, tmp_path / "log")))
    thread.start()
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text().endswith("\n"):
        time.sleep(0.02)
    terminal.kill()
    thread.join(timeout=10)
    assert codes == [-9]
    assert ends_within(int((tmp_path / "log").read_text()), seconds=10)


DEAF = """
import sys
from pathlib import Path
from weakseg.stages import running
from weakseg.stages.running import Step, Terminal, run_steps, run_watched
from weakseg.training import StopFlag
DEAF = "trap : TERM; echo $$; while :; do sleep 1; done"
running.command_of = lambda step: ["/bin/sh", "-c", DEAF]
terminal, log_file = Terminal({}), Path(sys.argv[1])
steps = [Step("stage1", "stage1", ())]
with StopFlag() as stop:
    run_watched(lambda: run_steps(steps, log_file, terminal.run), stop=stop, terminal=terminal)
"""


def test_second_ctrl_c_does_not_wait_for_a_command_that_does_not_end(tmp_path: Path) -> None:
    told = tmp_path / "log"
    parent = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(told)], stderr=subprocess.PIPE, text=True
    )
    while not told.exists() or len(told.read_text().split()) < 5:
        assert parent.poll() is None
        time.sleep(0.02)
    child = int(told.read_text().split()[-1])
    parent.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        parent.wait(timeout=2)
    parent.send_signal(signal.SIGINT)
    _, error = parent.communicate(timeout=10)
    assert "KeyboardInterrupt" in error
    assert ends_within(child, seconds=10)
