"""Show a tracker what a run has made: frames with their masks, tables, files and their origin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from weakseg.arrays import Mask
from weakseg.artifacts import ArtifactError, FinishedRun
from weakseg.artifacts.lock import FolderLock
from weakseg.artifacts.manifest import Manifest
from weakseg.data import Frame, read_frame
from weakseg.labels import IGNORE, SMOKE
from weakseg.stages.evaluation.measuring import Evaluation, truths
from weakseg.stages.evaluation.rows import EVALUATION, frame_row
from weakseg.stages.work import Work, frame_of
from weakseg.tracking import Panel, Tracker
from weakseg.tracking.tracker import Cell

log = logging.getLogger(__name__)

BEST = "checkpoints/best.safetensors"
TYPES = {"stage1": "cams", "stage2": "pseudo-masks", "stage3": "model"}
TRACKED: Final = "tracked"
"""Folder beside the evaluations of a run that holds what was told of them."""
_TEXTS: Final = ("id", "path", "scene", "split", "sequence", "sha256")
_NESTED: Final = ("counts", "boundary_counts", "change", "truth")
"""What a measured frame tells beside its figures; no cell of a table."""
_MEASURED: Final = {
    "camera": "camera",
    "iou": "iou",
    "boundary_iou": "boundary_iou",
    "smoke_share": "true_share",
    "opacity": "opacity",
    "mae": "mae",
}
"""Figures of a measured frame, and what their columns are called beside those of frames.csv."""

Row: TypeAlias = Mapping[str, Cell]
MaskOf: TypeAlias = Callable[[Mapping[str, str], int, int], Mask]


def show(
    work: Work,
    rows: Sequence[Mapping[str, str]],
    masks_of: Mapping[str, MaskOf],
    *,
    count: int,
    files: Sequence[str],
    made_of: Sequence[Path] = (),
    measured: Evaluation | None = None,
) -> None:
    """Give the tracker frames of the run, its tables, its files and the runs it was made of.

    The frames are, of those with smoke, the most and the least sure, or the best and the worst by
    IoU where they were measured; and of those without, where most was found.

    Args:
        work: The stage at work; its tracker may be one that shows nothing.
        rows: Of frames.csv.
        masks_of: Name of a mask -> what draws it for a row, at height and width.
        count: Frames with smoke to show; half as many without.
        files: Names inside the run folder, to keep as an artifact.
        made_of: Folders of the runs whose products were read.
        measured: What is known of frames by masks: the true ones are drawn, too.
    """
    tracker, manifest = work.tracker, work.run.manifest
    table = with_figures(rows, measured)
    step = max((int(row.get("step", 0)) for row in work.run.metrics.rows()), default=0)
    truth = truths(manifest.data)
    known = set(measured.paths) if measured else set()

    def draw(row: Mapping[str, str], height: int, width: int) -> dict[str, Mask]:
        masks = {name: mask_of(row, height, width) for name, mask_of in masks_of.items()}
        if row["id"] in known:
            masks["truth"] = truth(frame_of(row), height, width)
        return masks

    by_id = {row["id"]: row for row in rows}
    _show_frames(tracker, table, lambda id, *size: draw(by_id[id], *size), count=count, step=step)
    _show_table(tracker, "frames", table)
    if measured is not None:
        _show_groups(tracker, measured)
    tracker.made_of(made_of)
    tracker.artifact(
        run_name(manifest),
        TYPES[manifest.kind],
        [work.run.path / name for name in files if (work.run.path / name).exists()],
        alias=manifest.fingerprint[:12],
        metadata={
            "fingerprint": manifest.fingerprint,
            "inputs": manifest.inputs,
            "version": manifest.version,
            "git_commit": manifest.git_commit,
        },
    )


def show_evaluation(
    tracker: Tracker,
    run: FinishedRun,
    name: str,
    result: Evaluation,
    *,
    mask_of: Callable[[Frame], Mask],
    data: Mapping[str, Any],
    frames: Sequence[Frame],
    count: int,
    settings: Mapping[str, Any],
) -> None:
    """Track an evaluation as a run of its own, made of the run that was measured.

    Args:
        tracker: One that is not at work.
        run: The run that was measured.
        name: Of the evaluation.
        result: Its figures.
        mask_of: Gives the mask that was judged.
        data: Settings of the source of its frames and masks.
        frames: Those that were measured.
        count: Frames with smoke to show; half as many without.
        settings: Of the evaluation.
    """
    known, truth = {frame.id: frame for frame in frames}, truths(data)
    config = run.manifest.config
    folder = run.path / EVALUATION / TRACKED / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # As a run's folder is: nobody uploads what is still being written.
        held = FolderLock(folder)
    except ArtifactError as error:
        log.warning("the evaluation %s is not tracked: %s", name, error)
        return
    tracker.start(
        folder,
        name=f"evaluate-{name}-{run_name(run.manifest)}",
        group=(config.get("tracking") or {}).get("group") or None,
        job_type="evaluate",
        config={
            "evaluation": name,
            "settings": settings,
            "measured": {"kind": run.manifest.kind, "run": str(run.path), "config": config},
        },
    )
    status = "failed"
    try:
        told = [frame_row(one, path=known[one.id].path) for one in result.frames]
        rows = [
            {_MEASURED.get(k, k): v for k, v in row.items() if k not in _NESTED} for row in told
        ]

        def draw(id: str, height: int, width: int) -> dict[str, Mask]:
            return {"prediction": mask_of(known[id]), "truth": truth(known[id], height, width)}

        _show_frames(tracker, rows, draw, count=count, step=0)
        _show_table(tracker, "frames", rows)
        _show_groups(tracker, result)
        tracker.made_of([run.path])
        status = "finished"
    finally:
        tracker.finish(result.figures, status)
        held.release()


def run_name(manifest: Manifest) -> str:
    """Name a run as trackers show it: as asked, or by stage and output folder."""
    config = manifest.config
    asked = (config.get("tracking") or {}).get("name")
    return str(asked or f"{manifest.kind}-{Path(str(config['output'])).name}")


def with_figures(
    rows: Sequence[Mapping[str, str]], measured: Evaluation | None
) -> list[dict[str, Cell]]:
    """Make numbers of the columns of frames.csv, and add what is known of the frames by masks."""
    found = {one.id: frame_row(one) for one in measured.frames} if measured else {}
    table: list[dict[str, Cell]] = []
    for row in rows:
        one: dict[str, Cell] = {k: v if k in _TEXTS else _number(v) for k, v in row.items()}
        if measured is not None:
            own = found.get(row["id"], {})
            one |= {column: own.get(key) for key, column in _MEASURED.items()}
        table.append(one)
    return table


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _show_frames(
    tracker: Tracker,
    table: Sequence[Row],
    draw: Callable[[str, int, int], Mapping[str, Mask]],
    *,
    count: int,
    step: int,
) -> None:
    """Show chosen frames in two lists, and all of them in a table beside their figures."""
    examples: list[dict[str, Cell]] = []
    for kind, rows in chosen(table, count).items():
        panels = []
        for row in rows:
            frame = read_frame(Path(str(row["path"])))
            masks = draw(str(row["id"]), *frame.shape[:2])
            masks = {name: mask for name, mask in masks.items() if np.any(mask != IGNORE)}
            panels.append(Panel(frame, masks, _caption(row)))
            examples.append({"picture": panels[-1], "kind": kind, **row})
        if panels:
            tracker.images(f"pictures/{kind}", panels, step)
    _show_table(tracker, "examples", examples)


def chosen(table: Sequence[Row], count: int) -> dict[str, list[Row]]:
    """Choose frames to look at: with smoke the best and the worst, without it false alarms."""
    smoke = [row for row in table if row["label"] == SMOKE]
    judged = [row for row in smoke if row.get("iou") is not None]
    key = "iou" if judged else "probability"
    smoke = sorted(judged or smoke, key=lambda row: -_or_zero(row.get(key)))
    free = [row for row in table if row["label"] != SMOKE]
    found = "predicted_share" if free and "predicted_share" in free[0] else "smoke_share"
    free.sort(key=lambda row: (-_or_zero(row.get(found)), -_or_zero(row.get("probability"))))
    half = (count + 1) // 2
    rest = smoke[half:]
    worst = rest[max(0, len(rest) - count + half) :]
    return {"smoke": smoke[:half] + worst, "smoke_free": free[:half]}


def _or_zero(value: Cell) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _caption(row: Row) -> str:
    known = {"IoU": row.get("iou"), "probability": row.get("probability")}
    told = [f"{name} {v:.3f}" for name, v in known.items() if isinstance(v, int | float)]
    return f"{row['id']}: {', '.join(told)}" if told else str(row["id"])


def _show_groups(tracker: Tracker, measured: Evaluation) -> None:
    """Show an evaluation's tables of groups of frames, those that hold something."""
    groups: dict[str, Sequence[Mapping[str, Any]]] = {
        "by_scene": measured.by_scene,
        "by_camera": measured.by_camera,
        "by_size": measured.strata,
        "by_opacity": measured.by_opacity,
        "by_rule": measured.rules,
        "reliability": measured.reliability,
        "pixel_reliability": measured.pixel_reliability,
        "iou_by_threshold": [{"threshold": cut, "iou": iou} for cut, iou in measured.curve],
    }
    for name, rows in groups.items():
        _show_table(tracker, name, rows)


def _show_table(tracker: Tracker, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if columns:
        cells = [[row.get(column) for column in columns] for row in rows]
        tracker.table(f"tables/{name}", columns, cells)
