"""Curves over thresholds tell at every point what counting at that threshold tells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from weakseg.arrays import Mask, ScoreMap
from weakseg.labels import IGNORE
from weakseg.metrics import PixelCounts, ScoreCurves, count, iou

Frames = list[tuple[ScoreMap, Mask]]


@pytest.fixture
def frames(rng: np.random.Generator) -> Frames:
    found = []
    for k in range(5):
        truth = (rng.random((12, 16)) < 0.3).astype(np.uint8)
        if k == 4:
            truth[:] = 0  # a frame without smoke
        levels = np.clip(rng.integers(0, 200, truth.shape) + 55 * truth, 0, 255)
        truth[rng.random(truth.shape) < 0.1] = IGNORE
        found.append(((levels / 255).astype(np.float32), truth))
    return found


@pytest.fixture
def curves(frames: Frames) -> ScoreCurves:
    collected = ScoreCurves()
    for scores, truth in frames:
        collected.add(scores, truth)
    return collected


@pytest.mark.parametrize("index", [0, 1, 77, 128, 200, 255])
def test_every_point_agrees_with_counting(curves: ScoreCurves, frames: Frames, index: int) -> None:
    threshold = curves.thresholds[index]
    counts = [count((scores >= threshold).astype(np.uint8), truth) for scores, truth in frames]
    smoky = [iou(one) for one in counts if one.tp + one.fn > 0]
    assert len(smoky) == 4
    assert math.isclose(curves.iou("per_image")[index], np.mean(smoky))
    assert math.isclose(curves.iou("pooled")[index], iou(sum(counts, PixelCounts())))
    assert curves.iou_at(threshold) == curves.iou()[index]


@pytest.mark.parametrize("threshold", [0.0, 77 / 256, 0.5, 0.7, 1.0])
def test_areas_are_shares_of_what_is_not_ignored(
    curves: ScoreCurves, frames: Frames, threshold: float
) -> None:
    cut = min(math.ceil(threshold * 256), 255) / 256
    expected = [float((scores[truth != IGNORE] >= cut).mean()) for scores, truth in frames]
    np.testing.assert_allclose(curves.areas_at(threshold), expected)


def test_area_of_a_frame_without_truth_is_unknown() -> None:
    curves = ScoreCurves()
    curves.add(np.ones((2, 2), np.float32), np.full((2, 2), IGNORE, np.uint8))
    assert np.isnan(curves.areas_at(0.5)).all()
    assert ScoreCurves().areas_at(0.5).shape == (0,)


def test_average_precision_agrees_with_scikit_learn(curves: ScoreCurves, frames: Frames) -> None:
    scores = np.concatenate([scores[truth != IGNORE] for scores, truth in frames])
    truth = np.concatenate([truth[truth != IGNORE] for _, truth in frames])
    theirs = reference.average_precision_score(truth, scores)
    assert math.isclose(curves.pixel_average_precision(), theirs, rel_tol=1e-9)


def test_the_oracle_is_never_beaten(curves: ScoreCurves) -> None:
    for average in ("per_image", "pooled"):
        threshold, best = curves.peak(average)
        assert best == curves.iou(average).max()
        assert curves.iou_at(threshold, average) == best
        assert curves.summary(0.3)[f"oracle_gap_{average}"] >= 0
    figures = curves.summary(0.3)
    assert figures["iou_pooled"] == curves.iou_at(0.3, "pooled")
    assert figures["threshold"] == 0.3
    assert "threshold" not in curves.summary()


def test_perfect_scores_reach_one(plume_mask: Mask) -> None:
    curves = ScoreCurves()
    curves.add(0.2 + 0.5 * plume_mask.astype(np.float32), plume_mask)
    assert curves.peak()[1] == 1
    assert 0.2 < curves.peak()[0] <= 0.7
    assert curves.pixel_average_precision() == 1


def test_without_smoke_there_is_nothing_to_tell(plume_mask: Mask) -> None:
    curves = ScoreCurves()
    assert math.isnan(curves.pixel_average_precision())
    curves.add(np.zeros(plume_mask.shape, np.float32), np.zeros_like(plume_mask))
    assert len(curves) == 1
    assert np.isnan(curves.iou("per_image")).all()
    assert all(math.isnan(value) for value in curves.peak("pooled"))
    assert math.isnan(curves.summary(0.5)["iou_pooled"])


def test_wrong_scores_are_refused(plume_mask: Mask) -> None:
    curves = ScoreCurves()
    with pytest.raises(ValueError, match="highest_score"):
        curves.add(plume_mask * np.float32(1.5), plume_mask)
    with pytest.raises(ValueError, match="lowest_score"):
        curves.add(np.full(plume_mask.shape, math.nan, np.float32), plume_mask)
    with pytest.raises(ValueError, match="scores must have shape"):
        curves.add(plume_mask[1:].astype(np.float32), plume_mask)
    with pytest.raises(ValueError, match="average must be one of"):
        curves.iou("median")
