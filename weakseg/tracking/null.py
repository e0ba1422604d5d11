"""Track nothing: the run's own files hold everything anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weakseg.tracking.tracker import Cell, Panel, Value


class NoTracker:
    """A tracker that does nothing."""

    def start(
        self,
        run_dir: Path,
        *,
        name: str,
        group: str | None,
        job_type: str,
        config: Mapping[str, Any],
    ) -> None:
        """Do nothing."""

    def log(self, row: Mapping[str, Value], step: int) -> None:
        """Do nothing."""

    def images(self, key: str, panels: Sequence[Path | Panel], step: int) -> None:
        """Do nothing."""

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Do nothing."""

    def artifact(
        self,
        name: str,
        type: str,
        paths: Sequence[Path],
        *,
        alias: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Do nothing."""

    def made_of(self, run_dirs: Sequence[Path]) -> None:
        """Do nothing."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Do nothing."""
