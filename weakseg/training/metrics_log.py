"""Keep a training's figures as JSON lines that a resumed run can wind back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from weakseg.artifacts.atomic import disk_errors

Row = Mapping[str, float | int | str]


class MetricsLog:
    """Append rows to a file, one JSON object a line.

    Args:
        path: The file; it and its folder are made when the first row comes.
    """

    def __init__(self, path: Path) -> None:
        """Remember the file."""
        self.path = path

    def append(self, row: Row) -> None:
        """Add one row; what is no number becomes null, as JSON knows no NaN."""
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(clean) + "\n")

    def sync(self) -> int:
        """Bring the rows to the disk and return the file's length in bytes."""
        if not self.path.exists():
            return 0
        with disk_errors(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def rewind(self, length: int) -> None:
        """Drop what was written after the file had this length."""
        if self.path.exists() and self.path.stat().st_size > length:
            os.truncate(self.path, length)
