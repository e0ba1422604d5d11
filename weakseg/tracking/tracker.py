"""What a tracker can be told; none of it may raise or stop a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from weakseg.arrays import FrameArray, Mask
from weakseg.checks import check_shape

Value: TypeAlias = float | int | str
"""What a row of figures may hold."""


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


Cell: TypeAlias = Value | Panel | None
"""What a table may hold; None is what cannot be known."""


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

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table under `key`."""

    def artifact(
        self,
        name: str,
        type: str,
        paths: Sequence[Path],
        *,
        alias: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep files and folders under `name`, as one version of an artifact.

        Args:
            name: Of the artifact.
            type: "cams", "pseudo-masks", "model".
            paths: Files and folders; their last parts are their names in the artifact.
            alias: Another name of this version, such as the run's fingerprint.
            metadata: What made it.
        """

    def made_of(self, run_dirs: Sequence[Path]) -> None:
        """Say whose artifacts this run was made of: those of earlier runs, by their folders."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Close with the final figures; `status` is "finished", "interrupted" or "failed"."""
