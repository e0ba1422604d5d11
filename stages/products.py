"""Open what a finished run has made, of whichever stage: scores, masks, threshold."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import nn

from weakseg.arrays import Mask, ScoreMap
from weakseg.artifacts import FinishedRun, read_mask_ids, read_scores
from weakseg.artifacts.atomic import read_json
from weakseg.data import Frame, FrameSource, read_frame, source_from_settings
from weakseg.errors import ArtifactError, WeaksegError
from weakseg.models import TiledInference
from weakseg.plans import HardwarePlan
from weakseg.refine import (
    EvidenceStatistics,
    FalseAlarmThreshold,
    OtsuThreshold,
    ThresholdChoice,
)
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.refinement.tally import failures_of
from weakseg.stages.scores import (
    THRESHOLD,
    ScoresOf,
    frame_score,
    mask_path,
    score_path,
    stored_scores,
)
from weakseg.stages.segmenters import load_segmenter
from weakseg.stages.work import frame_of, settle_hardware
from weakseg.training import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Product:
    """What can be measured of a run."""

    scores_of: ScoresOf
    threshold: float
    mask_of: Callable[[Frame], Mask] | None = None
    rule: str = ""

    def cut(self, frame: Frame) -> Mask:
        """Give a frame's mask: the run's own, or what its threshold cuts from the scores."""
        if self.mask_of is not None:
            return self.mask_of(frame)
        scores, _ = self.scores_of(frame)
        return (scores >= self.threshold).astype(np.uint8)


def open_product(run: FinishedRun, hardware: HardwarePlan, *, tile: int | None = None) -> Product:
    """Open the product of a finished run of any stage.

    Args:
        run: Of any stage.
        hardware: Where a segmenter looks at frames whose scores are not kept.
        tile: Side of the tiles in which a segmenter reads frames, instead of its own; every frame
            is then looked at anew. Of stage 3 only.

    Raises:
        ArtifactError: If tiles are asked of a run that has no segmenter.
    """
    if tile is not None and run.manifest.kind != "stage3":
        raise ArtifactError(f"tile= is for stage-3 runs, and {run.path} is of {run.manifest.kind}")
    if run.manifest.kind == "stage1":
        reader = _evidence(run)
        choice = _choice_for_evidence(run)
        return Product(reader, choice.threshold, rule=choice.rule)
    choice = ThresholdChoice.from_dict(read_json(run.path / THRESHOLD))
    if run.manifest.kind == "stage2":
        return Product(
            stored_scores(run),
            choice.threshold,
            lambda frame: read_mask_ids(mask_path(run, frame.id)),
            rule=choice.rule,
        )
    return Product(_segmented(run, hardware, tile), choice.threshold, rule=choice.rule)


def statistics_of(run: FinishedRun) -> EvidenceStatistics:
    """Count the scores of the training and validation frames that a finished run has kept.

    It is what the run's own threshold was chosen from: of stage 1 the evidence, of stage 2 the
    refined scores, of stage 3 the scores of the validation frames. No mask is looked at.
    """
    read = EvidenceReader(run) if run.manifest.kind == "stage1" else None
    statistics = EvidenceStatistics()
    failed = {row.id for row in failures_of(run)}
    rows = [row for row in run.frames if row["split"] in ("train", "val")]
    rows = [row for row in rows if row["id"] not in failed]
    for row in track(rows, what="count the scores", unit="frames"):
        if read is not None:
            scores, probability = read(row["id"])
        elif score_path(run, row["id"]).exists():
            scores = read_scores(score_path(run, row["id"]))
            probability = float(row["probability"])
        else:
            continue
        statistics.add(row["id"], scores, label=int(row["label"]), probability=probability)
    return statistics


def frames_for(
    run: FinishedRun, source: FrameSource | None, split: str | None = None
) -> Sequence[Frame]:
    """Choose the frames to measure: the run's own, or those of another source.

    A segmenter looks at all of a source's frames but, unless a split is asked for, those it has
    learnt from; other runs have only the frames they were made of.

    Args:
        run: Of any stage.
        source: Of other frames or masks; None means the run's own frames.
        split: The only one wanted.

    Raises:
        ArtifactError: If the frames are new to a run that cannot look at new frames.
    """
    own = [frame_of(row) for row in run.frames]
    if source is None:
        return own
    if run.manifest.kind == "stage3":
        frames = [frame for frame in source.frames() if split in (None, frame.split)]
        return frames if split is not None else _without_learnt(run, source, frames)
    wanted = {frame.path for frame in source.frames()}
    known = [frame for frame in own if frame.path in wanted]
    if not known:
        raise ArtifactError(
            f"{run.path} has seen none of these frames, and only a stage-3 run can look at new "
            "ones: give the data the run was made of"
        )
    return known


def _without_learnt(run: FinishedRun, source: FrameSource, frames: Sequence[Frame]) -> list[Frame]:
    """Leave out the frames of the split that a run has learnt from."""
    try:
        listed = source_from_settings(run.data).frames()
    except (WeaksegError, OSError) as error:
        log.warning("%s: the source's own split train stands for what the run learnt", error)
        listed = source.frames()
    learnt = {frame.path for frame in listed if frame.split == "train"}
    kept = [frame for frame in frames if frame.path not in learnt]
    if len(kept) < len(frames):
        log.info(
            "%d frames that %s has learnt from are left out: split=train measures them",
            len(frames) - len(kept),
            run.path,
        )
    return kept


def _evidence(run: FinishedRun) -> ScoresOf:
    reader = EvidenceReader(run)

    def read(frame: Frame) -> tuple[ScoreMap, float]:
        evidence, probability = reader(frame.id)
        height, width = read_frame(frame.path).shape[:2]
        return at_frame_size(evidence, height, width), probability

    return read


def _choice_for_evidence(run: FinishedRun) -> ThresholdChoice:
    """Choose the threshold of bare evidence without masks, as stage 2 would."""
    statistics = statistics_of(run)
    careful = FalseAlarmThreshold(floor=OtsuThreshold().choose(statistics).threshold)
    return careful.choose(statistics)


def _segmented(run: FinishedRun, hardware: HardwarePlan, tile: int | None) -> ScoresOf:
    """Read the scores a run has kept, and look at all other frames with its segmenter."""
    stored = stored_scores(run)
    own = {} if tile is not None else {row["path"]: row["id"] for row in run.frames}

    @cache
    def segmenter() -> tuple[nn.Module, TiledInference]:
        device = settle_hardware(hardware, seed=0)
        model, inference, _ = load_segmenter(run)
        if tile is not None:
            inference = TiledInference(**{**inference.settings(), "image_size": tile})
        return model.to(device), inference

    def read(frame: Frame) -> tuple[ScoreMap, float]:
        known = own.get(str(frame.path))
        if known is not None and score_path(run, known).exists():
            return stored(dataclasses.replace(frame, id=known))
        model, inference = segmenter()
        scores = inference(model, read_frame(frame.path))
        return scores, frame_score(scores)

    return read
