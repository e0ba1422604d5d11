"""Weigh down or ignore what pseudo-masks are least sure of, and say what else a training doubts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from weakseg.artifacts import (
    FinishedRun,
    RunPaths,
    read_json,
    read_mask_ids,
    read_scores,
    write_mask,
    write_scores,
)
from weakseg.checks import check_at_least, check_in_unit
from weakseg.data import SegmentationItem
from weakseg.plans import SupervisionPlan
from weakseg.refine import ThresholdChoice, confidence
from weakseg.refine.choice import LOWEST
from weakseg.refine.doubt import ignore_near_edges, ignore_uncertain
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.work import Work
from weakseg.training import NoisyMasks, track

_OFF: Final = SupervisionPlan()
_OF_PSEUDO_MASKS: Final = (
    "confidence_floor",
    "edge_band_pixels",
    "uncertain_band",
    "trim_share",
    "correction_confidence",
)


def check_doubts(plan: SupervisionPlan) -> None:
    """Refuse what no pseudo-mask could be laid out by, naming the key."""
    check_in_unit(
        **{
            "supervision.confidence_floor": plan.confidence_floor,
            "supervision.uncertain_band": plan.uncertain_band,
        }
    )
    check_at_least(0, **{"supervision.edge_band_pixels": plan.edge_band_pixels})
    asked = [key for key in _OF_PSEUDO_MASKS if getattr(plan, key) != getattr(_OFF, key)]
    if plan.mode == "full" and asked:
        raise ValueError(
            f"supervision.{asked[0]} doubts pseudo-masks, and supervision=full learns none: leave "
            "it out, or take supervision=mixed"
        )


def noise_of(plan: SupervisionPlan, *, precision: str) -> NoisyMasks | None:
    """Say what a training does about wrong masks at each step; None for nothing.

    Args:
        plan: Whose masks are learnt, and how far they are believed.
        precision: Of the training.
    """
    noise = NoisyMasks(
        trim_share=plan.trim_share,
        correction_confidence=plan.correction_confidence,
        slope_drop=plan.slope_drop,
        consistency_weight=plan.consistency_weight,
        teacher_decay=plan.teacher_decay,
        ramp_fraction=plan.ramp_fraction,
        precision=precision,
    )
    return noise if noise.needs_teacher or noise.trim_share > 0 else None


def doubt(
    items: Sequence[SegmentationItem],
    plan: SupervisionPlan,
    pseudo: FinishedRun | None,
    folder: RunPaths,
    work: Work,
) -> list[SegmentationItem]:
    """Lay out the pseudo-masks among `items` anew, as far as they are doubted; keep the others.

    Args:
        items: What to learn from.
        plan: How far pseudo-masks are believed.
        pseudo: The stage-2 run that made them; None if there are none.
        folder: Takes the masks and the weights of their pixels.
        work: The stage at work.
    """
    has_bands = plan.edge_band_pixels > 0 or plan.uncertain_band > 0
    if pseudo is None or not (has_bands or plan.confidence_floor < 1):
        return list(items)
    threshold = ThresholdChoice.from_dict(read_json(pseudo.path / THRESHOLD)).threshold
    weights = folder.path / "weights"
    found = []
    for item in track(items, what="weigh pseudo-masks", unit="frames"):
        work.check_stop()
        name = item.frame.id
        if not item.is_noisy:
            found.append(item)
            continue
        if has_bands:
            if not mask_path(folder, name).exists():
                _write_with_bands(plan, pseudo, name, threshold, folder)
            item = dataclasses.replace(item, mask_path=mask_path(folder, name))  # noqa: PLW2901
        if plan.confidence_floor < 1:
            weight = weights / f"{name}.png"
            if not weight.exists():
                scores = read_scores(score_path(pseudo, name))
                cut = min(threshold, 1 - LOWEST)
                write_scores(weight, confidence(scores, threshold=cut, floor=plan.confidence_floor))
            item = dataclasses.replace(item, weight_path=weight)  # noqa: PLW2901
        found.append(item)
    return found


def _write_with_bands(
    plan: SupervisionPlan, pseudo: FinishedRun, name: str, threshold: float, folder: RunPaths
) -> None:
    mask = read_mask_ids(mask_path(pseudo, name))
    banded = ignore_near_edges(mask, pixels=plan.edge_band_pixels)
    if plan.uncertain_band > 0:
        scores = read_scores(score_path(pseudo, name))
        banded = ignore_uncertain(banded, scores, threshold=threshold, width=plan.uncertain_band)
    write_mask(mask_path(folder, name), banded)
