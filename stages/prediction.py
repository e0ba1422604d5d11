"""Segment new frames with a finished stage-3 run: masks, soft scores, overlays and a table."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.artifacts import load_run, write_scores, write_text
from weakseg.artifacts.pictures import write_picture
from weakseg.data import read_frame
from weakseg.data.folders import pictures_in
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.plans import PredictPlan
from weakseg.report import overlay
from weakseg.stages.scores import frame_score
from weakseg.stages.segmenters import load_segmenter
from weakseg.stages.work import settle_hardware
from weakseg.training import Interrupted, StopFlag, track

log = logging.getLogger(__name__)

TABLE = "predictions.csv"
COLUMNS = ("image", "smoke_probability", "smoke_share")


def run(plan: PredictPlan, config: Mapping[str, Any]) -> Path:
    """Segment every picture of `plan.source`; give the table's path.

    A picture that cannot be read is named and left out, and the rest goes on; the table of those
    that could is written before the error is raised.
    """
    device = settle_hardware(plan.hardware, seed=0)
    pictures = find_pictures(Path(plan.source))
    model, inference, threshold = load_segmenter(load_run(Path(plan.run), kind="stage3"))
    threshold = threshold if plan.cut is None else plan.cut
    if plan.tile is not None:
        inference = type(inference)(**{**inference.settings(), "image_size": plan.tile})
    model.to(device)
    output, rows, unread = Path(plan.output), [], []
    base = Path(plan.source) if Path(plan.source).is_dir() else Path(plan.source).parent
    with StopFlag() as stop:
        for picture in track(pictures, what="segment", unit="images"):
            if stop.is_set:
                break
            try:
                frame = read_frame(picture, max_pixels=plan.max_pixels)
            except DataError as error:
                log.warning("%s", error)
                unread.append(picture)
                continue
            scores = inference(model, frame)
            name = picture.relative_to(base).with_suffix("")
            save(output, name, frame, scores, threshold)
            rows.append(row(picture.relative_to(base), scores, threshold))
    write_text(output / TABLE, as_table(rows))
    log.info("%d of %d images segmented: %s", len(rows), len(pictures), output / TABLE)
    if stop.is_set:
        raise Interrupted(f"stopped by {stop.reason} after {len(rows)} images")
    if unread:
        raise DataError(
            f"{len(unread)} of {len(pictures)} images could not be read, the first is {unread[0]}: "
            "repair or remove them; the others are done"
        )
    return output / TABLE


def find_pictures(source: Path) -> Sequence[Path]:
    """List the pictures of a folder and its sub-folders, or the one picture."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source} does not exist: source= takes an image or a folder of them")
    found = list(pictures_in(source))
    if not found:
        raise DataError(f"{source} holds no pictures: source= takes an image or a folder of them")
    return found


def save(output: Path, name: Path, frame: FrameArray, scores: ScoreMap, threshold: float) -> None:
    """Write a picture's mask (0/255), soft scores and overlay, each into a folder of its own."""
    mask = scores >= threshold
    write_scores(output / "masks" / f"{name}.png", mask.astype(np.float32))
    write_scores(output / "scores" / f"{name}.png", scores)
    ids = np.where(mask, SMOKE, 0).astype(np.uint8)
    write_picture(output / "overlays" / f"{name}.jpg", overlay(frame, ids))


def row(image: Path, scores: ScoreMap, threshold: float) -> dict[str, str]:
    """Sum a picture up in a row of the table."""
    return {
        "image": image.as_posix(),
        "smoke_probability": f"{frame_score(scores):.4f}",
        "smoke_share": f"{float((scores >= threshold).mean()):.6f}",
    }


def as_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Write the rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
