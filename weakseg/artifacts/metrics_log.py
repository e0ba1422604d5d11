"""Append rows of figures to a file of JSON lines that a kill -9 cannot spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts.atomic import disk_errors
from weakseg.artifacts.figures import plain


class MetricsLog:
    """The rows of `metrics.jsonl`, in the order they were logged.

    Args:
        path: The file; made at the first row.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; not-a-number and infinity become null, which every reader knows.

        Raises:
            ArtifactError: If the disk refuses; the file then ends with its last whole row.
        """
        line = json.dumps(plain(row), allow_nan=False)
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            end = self._drop_partial_line()
            try:
                with self.path.open("ab") as handle:
                    handle.write(line.encode("utf-8") + b"\n")
            except OSError:
                if self.path.exists():
                    os.truncate(self.path, end)
                raise

    def rows(self) -> list[dict[str, Any]]:
        """Read the whole rows; a partial last line is left out."""
        return [json.loads(line) for line in self._lines()]

    def truncate_after(self, step: int, key: str = "step") -> None:
        """Drop every row from the first one whose `key` lies above `step`.

        Called when training resumes: rows logged after the checkpoint will be logged again.
        """
        end = 0
        for line in self._lines():
            if json.loads(line).get(key, step) > step:
                break
            end += len(line)
        if self.path.exists():
            with disk_errors(self.path):
                os.truncate(self.path, end)

    def _lines(self) -> list[bytes]:
        """The whole lines with their newlines: their lengths add up to file offsets."""
        if not self.path.exists():
            return []
        return [line for line in self.path.read_bytes().splitlines(True) if line.endswith(b"\n")]

    def _drop_partial_line(self) -> int:
        """Cut what a kill -9 left of a last line; return the length of the file."""
        if not self.path.exists():
            return 0
        size = self.path.stat().st_size
        with self.path.open("rb") as handle:
            handle.seek(max(size - 1, 0))
            if size == 0 or handle.read(1) == b"\n":
                return size
        size = sum(map(len, self._lines()))
        os.truncate(self.path, size)
        return size
