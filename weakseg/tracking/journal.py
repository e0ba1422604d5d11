"""Remember what wandb was told: its own log is written late, and loses its end in a `kill -9`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import MetricsLog

TOLD: Final = "told.jsonl"
UNSURE_SECONDS: Final = 60.0
"""wandb writes what it was told within some 15 seconds; those of a busy machine are longer."""
_TIME: Final = "_time"
_CLOSED: Final = "_closed"


class Journal:
    """The rows that wandb was told in all starts of a run.

    Args:
        folder: Of the run's tracking; the journal is a file in it.
    """

    def __init__(self, folder: Path) -> None:
        self._log = MetricsLog(folder / TOLD)
        self._rows = self._log.rows() if self._log.path.exists() else []

    @property
    def count(self) -> int:
        """How many rows were told before this start."""
        return sum(_CLOSED not in row for row in self._rows)

    def lost(self) -> list[dict[str, Any]]:
        """Give the rows that wandb may have lost, in their order; none after a proper end.

        Each is given once, though those of a start soon after another stand there twice.
        """
        if not self._rows or _CLOSED in self._rows[-1]:
            return []
        since = self._rows[-1][_TIME] - UNSURE_SECONDS
        recent = [row for row in self._rows if row.get(_TIME, 0.0) > since]
        bare = [{key: row[key] for key in row if key != _TIME} for row in recent]
        once: list[dict[str, Any]] = []
        seen: set[str] = set()
        for row in bare:
            known = json.dumps(row, sort_keys=True)
            if row and known not in seen:
                seen.add(known)
                once.append(row)
        return once

    def add(self, row: Mapping[str, Any]) -> None:
        """Note a row; of pictures and tables only that there was one."""
        figures = {key: row[key] for key in row if isinstance(row[key], int | float | str)}
        has_more = len(figures) < len([key for key in row if row[key] is not None])
        self._log.append({**({} if has_more else figures), _TIME: time.time()})

    def close(self) -> None:
        """Note that wandb has written everything."""
        self._log.append({_CLOSED: 1})
