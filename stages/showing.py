"""Show a tracker what a run has made: frames with their masks, the table, the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from weakseg.arrays import Mask
from weakseg.data import read_frame
from weakseg.labels import SMOKE
from weakseg.stages.work import Work
from weakseg.tracking import Panel

BEST = "checkpoints/best.safetensors"
TYPES = {"stage1": "cams", "stage2": "pseudo-masks", "stage3": "model"}


def show(
    work: Work,
    rows: Sequence[Mapping[str, str]],
    masks_of: Mapping[str, Callable[[Mapping[str, str], int, int], Mask]],
    *,
    count: int,
    files: Sequence[str],
) -> None:
    """Give the tracker the run's most and least sure smoke frames, its table and its files.

    Args:
        work: The stage at work; its tracker may be one that shows nothing.
        rows: Of frames.csv.
        masks_of: Name of a mask -> what draws it for a row, at height and width.
        count: Frames to show.
        files: Names inside the run folder, to keep as an artifact.
    """
    smoke = [row for row in rows if int(row["label"]) == SMOKE]
    smoke.sort(key=lambda row: -float(row["probability"]))
    half = max(1, count // 2)
    chosen = smoke[:half] + smoke[half:][-half:]
    panels = []
    for row in chosen:
        frame = read_frame(row["path"])
        masks = {name: draw(row, *frame.shape[:2]) for name, draw in masks_of.items()}
        panels.append(Panel(frame, masks, f"{row['id']}: probability {row['probability']}"))
    step = max((int(row.get("step", 0)) for row in work.run.metrics.rows()), default=0)
    work.tracker.images("frames", panels, step)
    columns = list(rows[0]) if rows else []
    work.tracker.table("frames", columns, [[row[key] for key in columns] for row in rows])
    kind = work.run.manifest.kind
    paths = [work.run.path / name for name in files if (work.run.path / name).exists()]
    work.tracker.artifact(f"{kind}-{work.run.path.name}", TYPES[kind], paths)
