"""What a tracker can be told; none of it may raise or stop a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from weakseg.arrays import FrameArray, Mask
from weakseg.checks import check_shape

Value: TypeAlias = float | int | str
"""What a row or a table may hold."""


@dataclass(frozen=True)
class Panel:
    """A frame with masks to lay over it.

    Args:
        frame: (H, W, 3) uint8, RGB.
        masks: Name ("prediction", "truth") -> (H, W) uint8 class ids.
        caption: A line below it.
    """

    frame: FrameArray
    masks: Mapping[str, Mask] = field(default_factory=dict)
    caption: str = ""

    def __post_init__(self) -> None:
        check_shape((None, None, 3), frame=self.frame)
        check_shape(self.frame.shape[:2], **self.masks)


class Tracker(Protocol):
    """A place that shows runs beside each other; out of `start` ... `finish`, calls do nothing."""

    def start(
        self,
        run_dir: Path,
        *,
        name: str,
        group: str | None,
        job_type: str,
        config: Mapping[str, Any],
    ) -> None:
        """Begin, or take up again, the run kept in `run_dir`.

        Args:
            run_dir: The run folder; the tracker writes nowhere else.
            name: What the run is called.
            group: The sweep it belongs to.
            job_type: The stage.
            config: The resolved configuration.
        """

    def log(self, row: Mapping[str, Value], step: int) -> None:
        """Add a row of figures at `step`."""

    def images(self, key: str, panels: Sequence[Path | Panel], step: int) -> None:
        """Show picture files, or frames with masks over them, under `key`."""

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Show a table under `key`."""

    def artifact(self, name: str, type: str, paths: Sequence[Path]) -> None:
        """Keep files and folders under `name`, as one version of an artifact."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Close with the final figures; `status` is "finished", "interrupted" or "failed"."""
