"""Start the commands as a terminal would, but without waiting for torch to load each time.

A server process loads the libraries once and forks a child for every command, which runs
`python -m weakseg.COMMAND` in a folder, with arguments and output of its own. A child can be told
to die, or to find the disk full, at a chosen moment: at its n-th renaming of a finished file.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = (
    "tracker=none",
    "hardware.threads=1",
    "image_size=64",
    "fit.batch_size=4",
    "optimizer.lr=0.003",
    "fit.log_every=2",
)
"""Settings of a training that takes seconds."""

STAGES = {
    "stage1": (
        *TINY,
        "classifier=resnet50",
        "classifier.name=test_resnet",
        "classifier.weights=none",
        "head_lr_factor=3",
    ),
    "stage2": ("tracker=none", "hardware.threads=1", "refine=none"),
    "stage3": (*TINY, "segmenter=unet", "segmenter.encoder_weights=none", "head_lr_factor=1"),
}
"""What follows each stage's command in the tests, besides data, output and length."""


LIBRARIES = (
    "lightning_fabric",
    "segmentation_models_pytorch",
    "timm",
    "weakseg.launch",
    "weakseg.stages.audit",
    "weakseg.stages.cams",
    "weakseg.stages.evaluation.command",
    "weakseg.stages.importing.command",
    "weakseg.stages.prediction.command",
    "weakseg.stages.pseudo_masks",
    "weakseg.stages.segmentation",
)


@dataclass(frozen=True)
class Accident:
    """What happens to a command, and when.

    Args:
        what: `SIGKILL` or `SIGTERM` (it sends itself the signal), or `ENOSPC` (the disk is full
            from then on).
        at: `before` or `after` (a renaming), or `seconds`.
        count: Which renaming, from 1; or how many seconds.
    """

    what: str
    at: str
    count: float


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code (negative for a signal), what it said, renamings it made."""

    code: int
    out: str
    err: str
    renamings: int
    seconds: float

    @property
    def sentence(self) -> str:
        """What follows `error: `, if the command ended by that and nothing worse."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert self.code > 0, f"exit code {self.code}: {self.err}"
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err + self.out, self.err
        return lines[0].removeprefix("error: ")


class Doors:
    """The server, and the way to start commands through it.

    Args:
        folder: Takes what the commands say.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        command: str,
        *arguments: str,
        cwd: Path,
        accident: Accident | None = None,
        file_limit: int | None = None,
        python: Path | None = None,
    ) -> Done:
        """Run `python -m weakseg.COMMAND ARGUMENTS` in `cwd` to its end.

        Args:
            command: Such as `stage1`.
            arguments: What follows it.
            cwd: Where it starts.
            accident: What happens to it.
            file_limit: Bytes that no file of it may exceed.
            python: The program it takes for Python when it starts commands itself.
        """
        told = self._folder / f"{next(self._numbers)}"
        order = {
            "command": command,
            "arguments": arguments,
            "cwd": str(cwd),
            "accident": None if accident is None else vars(accident),
            "file_limit": file_limit,
            "python": None if python is None else str(python),
            "told": str(told),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        renamings = Path(f"{told}.renamings")
        return Done(
            answer["code"],
            Path(f"{told}.out").read_text(),
            Path(f"{told}.err").read_text(),
            len(renamings.read_bytes()),
            answer["seconds"],
        )

    def must(self, command: str, *arguments: str, cwd: Path) -> Done:
        """Run a command that is to succeed."""
        done = self.run(command, *arguments, cwd=cwd)
        assert done.code == 0, done.err
        return done

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()


@dataclass(frozen=True)
class Chain:
    """The three stages, run in `root` one after the other, and how to run them again."""

    root: Path
    arguments: dict[str, tuple[str, ...]]

    def run_of(self, stage: str) -> Path:
        """The run folder of a stage."""
        return self.root / "runs" / stage / "tiny"


def make_chain(doors: Doors, index: Path, root: Path, *, epochs: int = 10) -> Chain:
    """Run stages 1, 2 and 3 on the frames of `index`, in `root`."""
    arguments = {
        stage: (*settings, f"output=runs/{stage}/tiny") for stage, settings in STAGES.items()
    }
    arguments["stage1"] += ("data=index", f"data.index={index}", f"fit.epochs={epochs}")
    arguments["stage3"] += (f"fit.epochs={epochs}",)
    for stage, settings in arguments.items():
        doors.must(stage, *settings, cwd=root)
    return Chain(root, arguments)


def serve() -> None:
    """Run the orders that come by standard input, one at a time."""
    load_libraries()
    for line in sys.stdin:
        order = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            obey(order)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"code": status, "seconds": time.monotonic() - started}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def load_libraries() -> None:
    """Import here what every child would; nothing of it may start a thread."""
    for name in LIBRARIES:
        importlib.import_module(name)


def obey(order: dict[str, Any]) -> None:
    """Become the command; never returns."""
    told = order["told"]
    for number, name in ((1, f"{told}.out"), (2, f"{told}.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    watch_renamings(f"{told}.renamings", order["accident"])
    if order["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], order["file_limit"]))
    os.chdir(order["cwd"])
    sys.executable = order["python"] or sys.executable
    sys.argv = [order["command"], *order["arguments"]]
    code = 1
    try:
        runpy.run_module(f"weakseg.{order['command']}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch_renamings(counter: str, accident: dict[str, Any] | None) -> None:
    """Count the renamings in the size of a file, and let the accident happen at its moment."""
    count = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    happens = Accident(**accident) if accident else Accident("nothing", "never", 0)
    replace, fsync = os.replace, os.fsync
    made = 0

    def happen() -> None:
        if happens.what == "ENOSPC":
            os.fsync = full_disk  # type: ignore[assignment]
        else:
            os.kill(os.getpid(), getattr(signal, happens.what))

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def watched(source: Any, target: Any, **options: Any) -> None:
        nonlocal made
        made += 1
        own = made  # Other threads rename meanwhile.
        if happens.at == "before" and own == happens.count:
            happen()
        replace(source, target, **options)
        os.write(count, b".")
        if happens.at == "after" and own == happens.count:
            happen()

    os.replace = watched  # type: ignore[assignment]
    os.fsync = fsync
    if happens.at == "seconds":
        timer = threading.Timer(happens.count, happen)
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    serve()
