"""Measure scores and masks against the truth: the one place, with the check, that reads it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from weakseg.arrays import FrameArray, Mask
from weakseg.artifacts import RunFolder, plain, read_scores
from weakseg.data import Frame, read_frame
from weakseg.data.listing import cameras_of
from weakseg.data.truth import masks_of, read_mask
from weakseg.errors import DataError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.metrics import (
    FrameFigures,
    ScoreCurves,
    Sequences,
    group_table,
    iou,
    measure,
    opacity_table,
    reliability_of,
    size_table,
)
from weakseg.metrics import summarise as summarise_frames
from weakseg.models import TiledInference
from weakseg.refine import ThresholdChoice
from weakseg.stages.evaluation.rows import frame_row
from weakseg.stages.scores import ScoresOf, score_path, stored_scores
from weakseg.training import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Figures over frames, and one line for each of them.

    Args:
        figures: Of all frames, by name; what cannot be known is NaN.
        frames: Of each frame, in the order they came.
        curve: Threshold and IoU per image at it.
        strata: By size of the smoke; see `weakseg.metrics.size_table`.
        rules: By rule for the threshold; see `weakseg.stages.evaluation.rules.by_rule`.
        by_scene: One row a scene, with the key `scene`; see `weakseg.metrics.group_table`.
        by_camera: The same with the key `camera`: empty unless the data names cameras.
        by_opacity: By opacity of the smoke; see `weakseg.metrics.opacity_table`.
        reliability: Bins of the frames' probabilities, each with `low`, `high`, `count`,
            `mean_score` and `smoke_rate` (NaN in empty bins); none if a probability is not known.
        pixel_reliability: The same of the pixels' scores.
        curves: All frames' scores by truth.
        truths: Id of each frame to a digest of the mask it was measured by.
        paths: Id of each frame to its picture.
    """

    figures: dict[str, float]
    frames: list[FrameFigures] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)
    strata: list[dict[str, float | str]] = field(default_factory=list)
    rules: list[dict[str, float | str]] = field(default_factory=list)
    by_scene: list[dict[str, float | str]] = field(default_factory=list)
    by_camera: list[dict[str, float | str]] = field(default_factory=list)
    by_opacity: list[dict[str, float | str]] = field(default_factory=list)
    reliability: list[dict[str, float]] = field(default_factory=list)
    pixel_reliability: list[dict[str, float]] = field(default_factory=list)
    curves: ScoreCurves = field(default_factory=ScoreCurves, repr=False, compare=False)
    truths: dict[str, str] = field(default_factory=dict, repr=False)
    paths: dict[str, Path] = field(default_factory=dict, repr=False)


def known_masks(data: Mapping[str, Any]) -> dict[Path, Path]:
    """Give the masks that a frame source's settings lead to: absolute frame path -> mask path."""
    return masks_of(data)


def evaluate(
    frames: Sequence[Frame],
    masks: Mapping[Path, Path],
    scores_of: ScoresOf,
    threshold: float,
    *,
    masks_of_run: Callable[[Frame], Mask] | None = None,
    pixels_of: Callable[[Frame], FrameArray] | None = None,
    cameras: Mapping[Path, str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure soft scores, and the masks cut from them, frame by frame.

    Args:
        frames: In the order they were filmed. With a mask in `masks`, or labelled smoke-free:
            their truth is empty. Frames labelled smoke without a mask are all ignored, and count
            for the image-level figures only.
        masks: Absolute frame path -> absolute mask path.
        scores_of: Gives a frame's scores and probability.
        threshold: Smoke score from which a pixel is smoke.
        masks_of_run: Gives a frame's mask where the run has cut its own; else the threshold does.
        pixels_of: Reads a frame, to measure the opacity of its smoke; None leaves it out.
        cameras: Absolute frame path -> camera; one not named stands for its scene's own.
        draws: Resamples of scenes behind each interval.
        seed: Of the resamples.
    """
    curves, figures, digests = ScoreCurves(), [], {}
    named = any((cameras or {}).get(frame.path) for frame in frames)
    sequences = Sequences([_film(frame) for frame in frames])
    for frame in track(frames, what="measure", unit="frames"):
        scores, probability = scores_of(frame)
        truth = truth_of(frame, masks, *scores.shape)
        cut = masks_of_run(frame) if masks_of_run else (scores >= threshold).astype(np.uint8)
        predicted = np.where(cut == SMOKE, SMOKE, BACKGROUND).astype(np.uint8)
        has_smoke = bool(np.any(truth == SMOKE))
        figures.append(
            measure(
                predicted,
                truth,
                id=frame.id,
                label=frame.label,
                scene=frame.scene,
                scores=scores,
                probability=probability,
                pixels=pixels_of(frame) if pixels_of and has_smoke else None,
                camera=((cameras or {}).get(frame.path) or frame.scene) if named else "",
                sequence=frame.sequence,
                change=sequences.change(_film(frame), predicted, truth),
            )
        )
        curves.add(scores, truth)
        digests[frame.id] = _digest(truth)
    merged = summarise_frames(figures, draws=draws, seed=seed)
    soft = curves.summary(threshold)
    merged |= {key: value for key, value in soft.items() if key not in merged}
    return Evaluation(
        merged,
        figures,
        list(zip(curves.thresholds.tolist(), curves.iou().tolist(), strict=True)),
        size_table(figures),
        by_scene=group_table(figures, key="scene"),
        by_camera=group_table(figures, key="camera") if named else [],
        by_opacity=opacity_table(figures),
        reliability=reliability_of(figures),
        pixel_reliability=curves.reliability(),
        curves=curves,
        truths=digests,
        paths={frame.id: frame.path for frame in frames},
    )


def _film(frame: Frame) -> str:
    """Name the film a frame is part of: sequences of two scenes may have one name."""
    return f"{frame.scene}/{frame.sequence}" if frame.sequence else ""


def _digest(truth: Mask) -> str:
    """Tell masks apart by a short text."""
    return hashlib.sha256(str(truth.shape).encode() + truth.tobytes()).hexdigest()[:16]


def truth_of(frame: Frame, masks: Mapping[Path, Path], height: int, width: int) -> Mask:
    """Read a frame's mask; a frame labelled smoke-free needs none, of others all is ignored."""
    path = masks.get(frame.path)
    if path is None:
        return np.full((height, width), IGNORE if frame.label == SMOKE else BACKGROUND, np.uint8)
    return read_mask(path, height=height, width=width)


def truths(data: Mapping[str, Any]) -> Callable[[Frame, int, int], Mask]:
    """Give a reader of the truth of a source's frames, for the pictures of a page."""
    masks = masks_of(data)
    return lambda frame, height, width: truth_of(frame, masks, height, width)


def frames_with_truth(
    frames: Sequence[Frame], masks: Mapping[Path, Path], split: str | None
) -> list[Frame]:
    """Keep the frames that can be judged: those with a mask, and smoke-free ones beside them."""
    chosen = [frame for frame in frames if split in (None, frame.split)]
    judged = {frame.split for frame in chosen if frame.path in masks}
    return [
        frame
        for frame in chosen
        if frame.path in masks or (frame.label == BACKGROUND and frame.split in judged)
    ]


def in_order(frames: Sequence[Frame], listed: Iterable[Path]) -> list[Frame]:
    """Put frames in the order they are listed, as consecutive frames are to be compared.

    Args:
        frames: In any order; those not listed keep theirs, after the others.
        listed: Paths of frames.
    """
    place = {path: number for number, path in enumerate(listed)}
    return sorted(frames, key=lambda frame: place.get(frame.path, len(place)))


def pixels_of(frame: Frame) -> FrameArray:
    """Read a frame."""
    return read_frame(frame.path)


def evaluate_split(
    run: RunFolder, frames: Sequence[Frame], split: str, threshold: float
) -> Evaluation | None:
    """Measure the stored scores of one split of a stage-3 run; None if it has no masks."""
    masks = masks_of(run.manifest.data)
    chosen = frames_with_truth(frames, masks, split)
    if not chosen:
        log.info("the %s split has no masks: figures by image labels only", split)
        return None
    cameras = cameras_of(run.manifest.data)
    return evaluate(
        in_order(chosen, cameras),
        masks,
        stored_scores(run),
        threshold,
        pixels_of=pixels_of,
        cameras=cameras,
    )


def iou_against_masks(
    model: nn.Module, frames: Sequence[Frame], inference: TiledInference, data: Mapping[str, Any]
) -> float:
    """Give the mean IoU over the frames with smoke: only if the user asks for `selection=val`."""
    masks = masks_of(data)
    smoky = [frame for frame in frames if frame.label == SMOKE and frame.path in masks]
    if not smoky:
        raise DataError("selection=val needs masks of the val split: take selection=labels")
    found = []
    for frame in smoky:
        scores = inference(model, read_frame(frame.path))
        predicted = (scores >= 0.5).astype(np.uint8)
        truth = truth_of(frame, masks, *scores.shape)
        one = measure(predicted, truth, id=frame.id, label=1, scene="", with_boundary=False)
        found.append(iou(one.counts))
    return float(np.mean(found))


def oracle_threshold(run: RunFolder, frames: Sequence[Frame]) -> ThresholdChoice:
    """Choose the threshold with the highest IoU on masks: for `selection=val` only."""
    masks = masks_of(run.manifest.data)
    curves = ScoreCurves()
    for frame in frames_with_truth(frames, masks, None):
        scores = read_scores(score_path(run, frame.id))
        curves.add(scores, truth_of(frame, masks, *scores.shape))
    best, value = curves.peak()
    best = max(best, 1 / 256)
    return ThresholdChoice(best, best, best, "val_masks", {"iou_per_image": value})


def as_json(result: Evaluation) -> dict[str, Any]:
    """Give an evaluation ready for JSON: what cannot be known is null."""
    return {
        "figures": plain(result.figures),
        "by_size": plain(result.strata),
        "by_rule": plain(result.rules),
        "by_scene": plain(result.by_scene),
        "by_camera": plain(result.by_camera),
        "by_opacity": plain(result.by_opacity),
        "reliability": plain(result.reliability),
        "pixel_reliability": plain(result.pixel_reliability),
        "iou_by_threshold": [[t, _known(v)] for t, v in result.curve],
        "frames": [
            frame_row(frame, path=result.paths.get(frame.id), truth=result.truths.get(frame.id, ""))
            for frame in result.frames
        ],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
