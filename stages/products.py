"""Open what a finished run has made, of whichever stage: scores, masks, threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weakseg.arrays import Mask, ScoreMap
from weakseg.artifacts import FinishedRun, read_mask_ids, read_scores
from weakseg.artifacts.atomic import read_json
from weakseg.data import Frame, FrameSource, read_frame
from weakseg.errors import ArtifactError
from weakseg.plans import HardwarePlan
from weakseg.refine import (
    EvidenceStatistics,
    FalseAlarmThreshold,
    OtsuThreshold,
    ThresholdChoice,
)
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.scores import (
    THRESHOLD,
    ScoresOf,
    frame_score,
    mask_path,
    score_path,
    stored_scores,
)
from weakseg.stages.segmenters import load_segmenter
from weakseg.stages.tally import failures_of
from weakseg.stages.work import frame_of, settle_hardware
from weakseg.training import track


@dataclass(frozen=True)
class Product:
    """What can be measured of a run."""

    scores_of: ScoresOf
    threshold: float
    mask_of: Callable[[Frame], Mask] | None = None
    rule: str = ""


def open_product(run: FinishedRun, hardware: HardwarePlan) -> Product:
    """Open the product of a finished run of any stage."""
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
    return Product(_segmented(run, hardware), choice.threshold, rule=choice.rule)


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
    run: FinishedRun, source: FrameSource | None, masks: Mapping[Path, Path]
) -> Sequence[Frame]:
    """Choose the frames to measure: the run's own where it knows those with masks, else new ones.

    Raises:
        ArtifactError: If the frames are new to a run that cannot look at new frames.
    """
    own = [frame_of(row) for row in run.frames]
    known = {frame.path for frame in own}
    if source is None or any(path in known for path in masks):
        return own
    if run.manifest.kind != "stage3":
        raise ArtifactError(
            f"{run.path} has seen none of these frames, and only a stage-3 run can look at new "
            "ones: give the data the run was made of"
        )
    return source.frames()


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


def _segmented(run: FinishedRun, hardware: HardwarePlan) -> ScoresOf:
    device = settle_hardware(hardware, seed=0)
    model, inference, _ = load_segmenter(run)
    model.to(device)
    stored = stored_scores(run)
    known = {row["id"]: row["path"] for row in run.frames}

    def read(frame: Frame) -> tuple[ScoreMap, float]:
        if known.get(frame.id) == str(frame.path) and score_path(run, frame.id).exists():
            return stored(frame)
        scores = inference(model, read_frame(frame.path))
        return scores, frame_score(scores)

    return read
