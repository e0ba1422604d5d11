"""Name the files of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """Where the files of a run lie."""

    path: Path

    @property
    def cams(self) -> Path:
        """Folder of the CAMs, `ID.npz`."""
        return self.path / "cams"

    @property
    def masks(self) -> Path:
        """Folder of the masks, `ID.png` of class ids."""
        return self.path / "masks"

    @property
    def scores(self) -> Path:
        """Folder of the soft scores, 8-bit `ID.png`."""
        return self.path / "scores"

    @property
    def checkpoints(self) -> Path:
        """Folder of `last.pt` and `best.safetensors`."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """One JSON line per logged row."""
        return self.path / "metrics.jsonl"

    @property
    def frames_csv(self) -> Path:
        """The frames the run was made of, one row each."""
        return self.path / "frames.csv"

    @property
    def summary_path(self) -> Path:
        """The final figures."""
        return self.path / "summary.json"

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"
