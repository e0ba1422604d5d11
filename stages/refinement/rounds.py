"""Make one round of self-training: learn the masks of the round before, look at every frame."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.artifacts import (
    FinishedRun,
    RunPaths,
    plain,
    read_json,
    read_mask_ids,
    read_scores,
    write_json,
    write_scores,
)
from weakseg.data import Frame, SegmentationItem, read_frame
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.metrics import auroc
from weakseg.models import SegmentationModel, TiledInference
from weakseg.plans import Stage2Plan
from weakseg.refine import Background, Step, ThresholdChoice, confidence, refine
from weakseg.refine.agreement import RoundFigures, mask_agreement, mean_known
from weakseg.refine.choice import LOWEST
from weakseg.refine.pipeline import FAULTS_OF_A_FRAME
from weakseg.stages.learning import fit_segmenter, list_items, validate_by_labels
from weakseg.stages.refinement.cutting import choose_threshold, cut_masks
from weakseg.stages.scores import THRESHOLD, cache_of, frame_score, mask_path, score_path
from weakseg.stages.segmenters import new_segmenter
from weakseg.stages.work import Work
from weakseg.training import track

log = logging.getLogger(__name__)

ROUNDS: Final = "rounds"
FIGURES: Final = "figures.json"
LEARNT: Final = "learnt.json"
WEIGHTS: Final = "weights"


@dataclass(frozen=True)
class Material:
    """What every round works with.

    Args:
        plan: The whole plan of stage 2.
        frames: All that have scores.
        probability: The classifier's, of smoke in [0, 1], by the ids of the frames.
        start: The stage-1 run whose network the segmenters start from.
        work: The stage at work.
    """

    plan: Stage2Plan
    frames: Sequence[Frame]
    probability: Mapping[str, float]
    start: FinishedRun
    work: Work

    def folder(self, number: int) -> RunPaths:
        """Say where a round's products lie."""
        return RunPaths(self.work.run.path / ROUNDS / str(number))

    def smoke_frames(self, split: str) -> list[Frame]:
        """List the frames of a split that are labelled smoke."""
        return [frame for frame in self.frames if (frame.split, frame.label) == (split, SMOKE)]


def make_round(material: Material, number: int) -> RoundFigures:
    """Make a round's scores, threshold and masks from the masks of the round before."""
    plan, work, now = material.plan, material.work, material.folder(number)
    if not (now.path / FIGURES).exists():
        missing = [f for f in material.frames if not score_path(now, f.id).exists()]
        if missing or not (now.path / LEARNT).exists():
            segmenter = train_segmenter(material, number)
            predict_frames(material, number, segmenter, missing)
        choice = choose_threshold(plan.threshold, material.frames, material.probability, now)
        cut_masks(plan.masks, choice, material.frames, now, work)
    return figures_of(material, number)


def train_segmenter(material: Material, number: int) -> SegmentationModel:
    """Fit a new segmenter to the masks of the round before; it comes back ready to look."""
    plan, work = material.plan, material.work
    before, now = material.folder(number - 1), material.folder(number)
    items = _items(material, number)
    torch.manual_seed(plan.seed)  # Rounds differ by the masks they learn, not by their start.
    segmenter = new_segmenter(plan.self_training, material.start)
    result = fit_segmenter(
        plan.self_training,
        segmenter,
        items,
        seed=plan.seed,
        validate=validate_by_labels(
            plan.self_training, [f for f in material.frames if f.split == "val"], before
        ),
        folder=now,
        on_log=lambda row, step: work.log_row(
            {f"round {number}/{name}": value for name, value in row.items()}, step
        ),
        stop=work.stop,
    )
    write_json(now.path / LEARNT, plain({"epoch": result.best_epoch, **result.best}))
    return segmenter


def _items(material: Material, number: int) -> list[SegmentationItem]:
    """List what a round learns from, and write the weights of its pixels."""
    before, now = material.folder(number - 1), material.folder(number)
    smoky = material.smoke_frames("train")
    kept = {f.id for f in smoky if (read_mask_ids(mask_path(before, f.id)) == SMOKE).any()}
    if not kept:
        raise DataError(
            f"every pseudo-mask of round {number - 1} of a training frame labelled smoke is empty: "
            "give a lower threshold, or train the classifier of stage 1 longer"
        )
    weights = now.path / WEIGHTS
    choice = ThresholdChoice.from_dict(read_json(before.path / THRESHOLD))
    missing = [f for f in smoky if f.id in kept and not (weights / f"{f.id}.png").exists()]
    for frame in track(missing, what=f"round {number}: weigh pixels", unit="frames"):
        material.work.check_stop()
        weight = confidence(
            read_scores(score_path(before, frame.id)),
            threshold=min(choice.threshold, 1 - LOWEST),
            floor=material.plan.self_training.confidence_floor,
        )
        write_scores(weights / f"{frame.id}.png", weight)
    items = list_items(material.frames, before, kept=kept, weights=weights)
    log.info("round %d: learn from %d frames, %d with a mask", number, len(items), len(kept))
    return items


def predict_frames(
    material: Material, number: int, segmenter: SegmentationModel, frames: Sequence[Frame]
) -> None:
    """Write the scores of `frames`: what the segmenter sees, as far as the classifier believes it.

    The classifier's probability scales the scores, on every split alike: a frame it calls
    smoke-free stays empty, whatever its label says.
    """
    plan = material.plan
    before, now = material.folder(number - 1), material.folder(number)
    inference: TiledInference = plan.self_training.inference
    blend = np.float32(plan.self_training.blend)
    for frame in track(frames, what=f"round {number}: segment", unit="frames"):
        material.work.check_stop()
        pixels = read_frame(frame.path)
        believed = np.float32(material.probability[frame.id])
        smoke = inference(segmenter, pixels) * believed
        if plan.self_training.refine_again:
            smoke = _refined(material, frame, pixels, smoke)
        if blend > 0:
            smoke = (1 - blend) * smoke + blend * read_scores(score_path(before, frame.id))
        write_scores(score_path(now, frame.id), np.clip(smoke, 0, 1))


def _refined(material: Material, frame: Frame, pixels: FrameArray, smoke: ScoreMap) -> ScoreMap:
    """Take scores through the steps of the recipe that need no learning and no classifier.

    They start from what the segmenter says of both classes, not from `background`, which is for
    evidence. A frame that a step fails on keeps its scores.
    """
    steps: dict[str, Step] = {
        key: step
        for key, step in material.plan.refine.steps.items()
        if not _needs_more_than_scores(step)
    }
    try:
        return refine(
            pixels,
            smoke,
            material.probability[frame.id],
            background=Background(),
            steps=steps,
            frame_id=frame.id,
            cache_dir=cache_of(material.plan, material.work.run),
        ).smoke
    except FAULTS_OF_A_FRAME as error:
        log.warning("%s is not refined again, for it fails: %s", frame.id, error)
        return smoke


def _needs_more_than_scores(step: Step) -> bool:
    """Tell steps that learn from all frames, or ask the classifier to look by another recipe."""
    return bool(getattr(step, "learns", False)) or hasattr(step, "recipe")


def figures_of(material: Material, number: int) -> RoundFigures:
    """Give a round's figures; they are written once, when all its masks are there."""
    path = material.folder(number).path / FIGURES
    if not path.exists():
        write_json(path, measure_round(material, number).to_dict())
    return RoundFigures.from_dict(read_json(path))


def measure_round(material: Material, number: int) -> RoundFigures:
    """Measure a round's masks by image labels and by the masks of the round before."""
    now = material.folder(number)
    learnt = read_json(now.path / LEARNT) if number > 0 else {}
    shares, agreements = [], []
    for frame in material.smoke_frames("train"):
        mask = read_mask_ids(mask_path(now, frame.id))
        shares.append(float((mask == SMOKE).mean()))
        if number > 0:
            earlier = read_mask_ids(mask_path(material.folder(number - 1), frame.id))
            agreements.append(mask_agreement(mask, earlier))
    val = [frame for frame in material.frames if frame.split == "val"]
    labels = [frame.label for frame in val]
    scores = [frame_score(read_scores(score_path(now, frame.id))) for frame in val]
    shown = [float((read_mask_ids(mask_path(now, f.id)) == SMOKE).any()) for f in val]
    pairs = list(zip(labels, shown, strict=True))
    return RoundFigures(
        agreement=mean_known(agreements),
        auroc=mean_known([auroc(labels, scores)]) if val else None,
        false_alarms=mean_known(has for label, has in pairs if label != SMOKE),
        recall=mean_known(has for label, has in pairs if label == SMOKE),
        coverage=mean_known(float(share > 0) for share in shares),
        smoke_share=mean_known(shares),
        segmenter_auroc=learnt.get("auroc"),
    )
