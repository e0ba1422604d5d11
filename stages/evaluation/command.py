"""Measure a finished run's product against masks, and write the figures beside it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakseg.artifacts import FinishedRun, load_run, plain, write_json
from weakseg.data import FrameSource
from weakseg.data.listing import cameras_of
from weakseg.errors import DataError
from weakseg.plans import EvaluatePlan
from weakseg.stages.evaluation.measuring import (
    Evaluation,
    as_json,
    evaluate,
    frames_with_truth,
    in_order,
    known_masks,
    pixels_of,
)
from weakseg.stages.evaluation.rows import EVALUATION
from weakseg.stages.evaluation.rules import by_rule, rule_lines
from weakseg.stages.evaluation.sets import open_set, tell_sets
from weakseg.stages.pages.evaluation import evaluation_page
from weakseg.stages.products import Product, frames_for, open_product, statistics_of
from weakseg.stages.showing import show_evaluation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What an evaluation has left.

    Args:
        name: Of the frames measured.
        path: Of the figures' file.
        result: The figures.
    """

    name: str
    path: Path
    result: Evaluation


def run(plan: EvaluatePlan, config: Mapping[str, Any]) -> Path:
    """Measure the run of `plan` against masks; write `RUN/evaluation/NAME.*`.

    First come the frames of `data`, or the run's own; then the sets of `plan.sets`, one after
    another, and a table of all of them beside each other.
    """
    finished = load_run(Path(plan.run))
    product = open_product(finished, plan.hardware, tile=plan.tile)
    outside = {
        name + _in_tiles(plan.tile): open_set(name, given) for name, given in plan.sets.items()
    }
    settings = finished.data if plan.data is None else plan.data.settings()
    measured = []
    if plan.data is not None or not outside or known_masks(settings):
        name = plan.name or evaluation_name(settings, plan.split, tile=plan.tile)
        if name in outside:
            raise DataError(
                f"two evaluations would be called {name}: rename the set, or give name="
            )
        own = measure_set(plan, finished, product, source=plan.data, split=plan.split, name=name)
        measured.append(own)
    for name, (source, split) in outside.items():
        log.info("set %s", name)
        one = measure_set(
            plan, finished, product, source=source, split=split, name=name, labels_will_do=True
        )
        measured.append(one)
    if outside:
        tell_sets(finished, {one.name: one.result for one in measured})
    return measured[0].path


def measure_set(
    plan: EvaluatePlan,
    finished: FinishedRun,
    product: Product,
    *,
    source: FrameSource | None,
    split: str | None,
    name: str,
    labels_will_do: bool = False,
) -> Measured:
    """Measure a run on the frames of one source, and write its figures and page.

    Args:
        plan: How.
        finished: The run.
        product: What it made.
        source: Of the frames; None means the run's own.
        split: The only one wanted.
        name: Of the files in `RUN/evaluation`.
        labels_will_do: Whether frames are judged by their labels where none has a mask.

    Raises:
        DataError: If there is no frame to judge.
    """
    settings = finished.data if source is None else source.settings()
    masks, cameras = known_masks(settings), cameras_of(settings)
    listed = in_order(frames_for(finished, source, split), cameras)
    frames = frames_with_truth(listed, masks, split)
    if not frames and labels_will_do:
        frames = [frame for frame in listed if split in (None, frame.split)]
        log.info("%s has no masks: figures by image labels, and false alarms", name)
    if not frames:
        raise DataError(
            f"none of the frames with masks {_of_split(split)}belongs to {finished.path}: "
            "give data=index data.index=FILE.csv with a mask_path column, of frames it has seen"
        )
    result = evaluate(
        frames,
        masks,
        product.scores_of,
        product.threshold,
        masks_of_run=product.mask_of,
        pixels_of=pixels_of,
        cameras=cameras,
        draws=plan.resamples,
        seed=plan.seed,
    )
    if plan.rules:
        rows = by_rule(
            plan.rules,
            statistics_of(finished),
            result,
            own=product.threshold,
            own_rule=product.rule,
        )
        result = dataclasses.replace(result, rules=rows)
    folder = finished.path / EVALUATION
    path = folder / f"{name}.json"
    told = {
        "run": finished.fingerprint,
        "data": settings,
        "split": split,
        "threshold": product.threshold,
        "tile": plan.tile,
    }
    write_json(path, as_json(result) | plain(told))
    page = evaluation_page(
        folder,
        name,
        run=finished,
        result=result,
        frames=frames,
        data=settings,
        scores=product.scores_of,
        threshold=product.threshold,
        count=plan.report_frames,
        masks_of_run=product.mask_of,
    )
    if plan.tracker is not None:
        show_evaluation(
            plan.tracker,
            finished,
            name,
            result,
            mask_of=product.cut,
            data=settings,
            frames=frames,
            count=plan.report_frames,
            settings=told,
        )
    for line in [*headline(result.figures), *rule_lines(result.rules)]:
        log.info("%s", line)
    log.info("figures: %s; report: %s", path, page)
    return Measured(name, path, result)


def headline(figures: Mapping[str, float]) -> list[str]:
    """Say the main figures in lines, with their intervals over scenes."""
    names = {
        "iou_per_image": "IoU per image",
        "iou_pooled": "IoU pooled",
        "miou": "mIoU",
        "false_alarm_share": "false alarms",
        "auroc": "AUROC of the frames",
        "temporal_iou": "IoU of consecutive masks",
        "oracle_iou_per_image": "IoU per image at the oracle's threshold",
    }
    lines = []
    for key, name in names.items():
        value = figures.get(key, math.nan)
        if math.isfinite(value):
            low, high = (figures.get(f"{key}_{end}", math.nan) for end in ("low", "high"))
            span = f" (95 % of scene resamples {low:.3f}-{high:.3f})" if math.isfinite(low) else ""
            lines.append(f"{name} {value:.3f}{span}")
    return lines


def evaluation_name(
    settings: Mapping[str, Any], split: str | None, *, tile: int | None = None
) -> str:
    """Name an evaluation after its data, split and tiles: `labels-test`, `labels-test-tile512`."""
    stem = Path(str(settings.get("index") or settings.get("folder") or "data")).stem
    return (f"{stem}-{split}" if split else stem) + _in_tiles(tile)


def _in_tiles(tile: int | None) -> str:
    return "" if tile is None else f"-tile{tile}"


def _of_split(split: str | None) -> str:
    return f"of the split {split} " if split else ""
