"""Measure a finished run's product against masks, and write the figures beside it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts import load_run, write_json
from weakseg.errors import DataError
from weakseg.plans import EvaluatePlan
from weakseg.stages.measuring import as_json, evaluate, frames_with_truth, known_masks
from weakseg.stages.pages import evaluation_page
from weakseg.stages.products import frames_for, open_product, statistics_of
from weakseg.stages.rules import by_rule, rule_lines

log = logging.getLogger(__name__)


def run(plan: EvaluatePlan, config: Mapping[str, Any]) -> Path:
    """Measure the run of `plan` against the masks of its data; write `RUN/evaluation/NAME.*`."""
    finished = load_run(Path(plan.run))
    settings = finished.data if plan.data is None else plan.data.settings()
    masks = known_masks(settings)
    frames = frames_with_truth(frames_for(finished, plan.data, masks), masks, plan.split)
    if not frames:
        raise DataError(
            f"none of the frames with masks {_of_split(plan.split)}belongs to {finished.path}: "
            "give data=index data.index=FILE.csv with a mask_path column, of frames it has seen"
        )
    product = open_product(finished, plan.hardware)
    result = evaluate(
        frames,
        masks,
        product.scores_of,
        product.threshold,
        masks_of_run=product.mask_of,
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
    name = plan.name or _name(settings, plan.split)
    folder = finished.path / "evaluation"
    write_json(folder / f"{name}.json", as_json(result))
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
    )
    for line in headline(result.figures):
        log.info("%s", line)
    for line in rule_lines(result.rules):
        log.info("%s", line)
    log.info("figures: %s; report: %s", folder / f"{name}.json", page)
    return folder / f"{name}.json"


def headline(figures: Mapping[str, float]) -> list[str]:
    """Say the main figures in lines, with their intervals over scenes."""
    names = {
        "iou_per_image": "IoU per image",
        "iou_pooled": "IoU pooled",
        "miou": "mIoU",
        "false_alarm_share": "false alarms",
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


def _name(settings: Mapping[str, Any], split: str | None) -> str:
    stem = Path(str(settings.get("index") or settings.get("folder") or "data")).stem
    return f"{stem}-{split}" if split else stem


def _of_split(split: str | None) -> str:
    return f"of the split {split} " if split else ""
