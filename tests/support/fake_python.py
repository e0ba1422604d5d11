"""Make a program that takes Python's place and runs `fake_stage.py` instead of weakseg."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import fake_stage

PYTHON = sys.executable


def make_fake_python(folder: Path, *, seconds: float = 0.0) -> Path:
    """Write the program into `folder`, where every start of a command is noted, too."""
    program = folder / "python"
    program.write_text(
        f"""#!/bin/sh
export FAKE_STAGE_FOLDER='{folder}' SECONDS_TO_SLEEP={seconds}
case "$2" in
  weakseg.*) exec '{PYTHON}' -I -S '{fake_stage.__file__}' "$@" ;;
  *) exec '{PYTHON}' "$@" ;;
esac
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def starts(folder: Path) -> list[str]:
    """List the runs that were started, in order, each as often as it was."""
    told = folder / "starts.txt"
    return told.read_text().split() if told.exists() else []
