"""Choose the threshold of soft scores without masks, and cut pseudo-masks by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weakseg.artifacts import RunPaths, read_scores, write_json, write_mask
from weakseg.data import Frame
from weakseg.refine import EvidenceStatistics, MaskRule, ThresholdChoice, ThresholdRule
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.work import Work
from weakseg.training import track


def choose_threshold(
    rule: ThresholdRule,
    frames: Sequence[Frame],
    probability: Mapping[str, float],
    folder: RunPaths,
) -> ThresholdChoice:
    """Choose the cut by the labels and the scores of the training and validation frames.

    Args:
        rule: Sees labels, probabilities and histograms of scores.
        frames: Of any split, with their scores in `folder`.
        probability: Of smoke in [0, 1], by the ids of the frames.
        folder: Where the choice is written, beside the scores.
    """
    statistics = EvidenceStatistics()
    for frame in track(frames, what="choose the threshold", unit="frames"):
        if frame.split in ("train", "val"):
            scores = read_scores(score_path(folder, frame.id))
            statistics.add(frame.id, scores, label=frame.label, probability=probability[frame.id])
    choice = rule.choose(statistics)
    write_json(folder.path / THRESHOLD, choice.to_dict())
    return choice


def cut_masks(
    rule: MaskRule, choice: ThresholdChoice, frames: Sequence[Frame], folder: RunPaths, work: Work
) -> None:
    """Write the pseudo-mask of every frame that has none yet, from its scores in `folder`."""
    missing = [frame for frame in frames if not mask_path(folder, frame.id).exists()]
    for frame in track(missing, what="cut masks", unit="frames"):
        work.check_stop()
        scores = read_scores(score_path(folder, frame.id))
        write_mask(mask_path(folder, frame.id), rule(scores, choice))
