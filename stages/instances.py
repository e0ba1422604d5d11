"""Write what a segmenter of instances finds in held-out frames: boxes and masks, told and drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from weakseg.arrays import FrameArray
from weakseg.artifacts import RunPaths, read_json, write_json
from weakseg.artifacts.instances import MASK_CUT, as_records, write_coco
from weakseg.artifacts.pictures import write_picture
from weakseg.data import Frame, read_frame
from weakseg.labels import SMOKE
from weakseg.models import FoundInstances, MaskRcnn, SegmentationModel, TiledInference
from weakseg.models.instances_frames import find_instances
from weakseg.models.instances_targets import targets_from_mask
from weakseg.report import panel_sheet
from weakseg.report.instances import draw_instances
from weakseg.stages.evaluation.measuring import truths
from weakseg.stages.work import Work
from weakseg.training import track

log = logging.getLogger(__name__)

INSTANCES: Final = "instances.json"
SHEET: Final = "instances.jpg"
_FOLDER: Final = "instances"
_SHEET_SIDE: Final = 480


def write_instances(
    model: SegmentationModel,
    frames: Sequence[Frame],
    inference: TiledInference,
    work: Work,
    *,
    drawn_split: str,
    data: Mapping[str, Any],
    shown_score: float,
    sheet_frames: int,
) -> dict[str, float]:
    """Find the instances of held-out frames; write `instances.json`, and draw those of one split.

    Frames that are done are not done again. Every frame of `drawn_split` is drawn into
    `instances/ID.jpg`, and some side by side with their masks, if known, into `instances.jpg`.

    Args:
        model: In evaluation mode; of one that finds no instances nothing is written.
        frames: Held out.
        inference: How frames are read.
        work: The stage at work.
        drawn_split: Whose frames are drawn.
        data: Settings of the frames' source, which lead to masks.
        shown_score: Score from which an instance is drawn and counted, in [0, 1]; the file has all.
        sheet_frames: Frames on the sheet, at least 0.

    Returns:
        Figures for the summary: instances shown of a frame with smoke, and of one without.
    """
    if not isinstance(model, MaskRcnn):
        return {}
    device = next(model.parameters()).device
    for frame in track(frames, what="find instances", unit="frames"):
        work.check_stop()
        if not _path(work.run, frame).exists():
            pixels = read_frame(frame.path)
            found = find_instances(model, pixels, inference, device=device)
            if frame.split == drawn_split:
                drawn = _draw_found(pixels, found, shown_score)
                write_picture(_path(work.run, frame, ".jpg"), drawn)
            facts = {
                "file_name": str(frame.path),
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "frame": frame.id,
                "split": frame.split,
            }
            write_json(_path(work.run, frame), {"picture": facts, "instances": as_records(found)})
    info = {"mask_cut": MASK_CUT, "score_floor": model.settings()["score_floor"]}
    count = write_coco(work.run.path / INSTANCES, _records(work.run, frames), info=info)
    log.info("%d instances in %d frames: %s", count, len(frames), work.run.path / INSTANCES)
    chosen = [frame for frame in frames if frame.split == drawn_split]
    on_sheet = _mixed(chosen, sheet_frames)
    _draw_sheet(model, on_sheet, inference, work.run, data, shown_score=shown_score)
    return _figures(work.run, chosen, drawn_split, shown_score)


def _path(run: RunPaths, frame: Frame, suffix: str = ".json") -> Path:
    return run.path / _FOLDER / f"{frame.id}{suffix}"


def _records(
    run: RunPaths, frames: Sequence[Frame]
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for frame in frames:
        content = read_json(_path(run, frame))
        yield content["picture"], content["instances"]


def _figures(run: RunPaths, frames: Sequence[Frame], split: str, score: float) -> dict[str, float]:
    counts: dict[bool, list[int]] = {True: [], False: []}
    for frame, (_, records) in zip(frames, _records(run, frames), strict=True):
        sure = sum(record["score"] >= score for record in records)
        counts[frame.label == SMOKE].append(sure)
    names = {True: "instances_by_smoke_frame", False: "instances_by_smoke_free_frame"}
    return {
        f"{split}/{names[label]}": float(np.mean(found)) for label, found in counts.items() if found
    }


def _mixed(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Take frames from the whole list, three with smoke to one without."""
    smoky = [frame for frame in frames if frame.label == SMOKE]
    clear = [frame for frame in frames if frame.label != SMOKE]
    return _spread(smoky, count - count // 4) + _spread(clear, count // 4)


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    if not frames or count < 1:
        return []
    places = np.linspace(0, len(frames) - 1, num=min(count, len(frames)))
    return [frames[place] for place in places.round().astype(int)]


def _draw_sheet(
    model: MaskRcnn,
    frames: Sequence[Frame],
    inference: TiledInference,
    run: RunPaths,
    data: Mapping[str, Any],
    *,
    shown_score: float,
) -> None:
    truth = truths(data)
    device = next(model.parameters()).device
    rows = []
    for frame in frames:
        pixels = read_frame(frame.path)
        found = find_instances(model, pixels, inference, device=device)
        mask = torch.from_numpy(truth(frame, *pixels.shape[:2])).long()
        real = targets_from_mask(mask)
        told = draw_instances(
            pixels, boxes=real.boxes.numpy(), masks=real.masks.numpy().astype(np.bool_)
        )
        rows.append([pixels, told, _draw_found(pixels, found, shown_score)])
    if rows:
        write_picture(run.path / SHEET, panel_sheet(rows, long_side=_SHEET_SIDE))


def _draw_found(pixels: FrameArray, found: FoundInstances, score: float) -> FrameArray:
    sure = found.above(score)
    return draw_instances(
        pixels,
        boxes=sure.boxes.numpy(),
        masks=sure.masks.numpy() >= MASK_CUT,
        scores=sure.scores.tolist(),
    )
