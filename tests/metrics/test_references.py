"""Every figure agrees with torchmetrics, and every edge case is what the table here says."""

from __future__ import annotations

import math

import numpy as np
import pytest

torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
import torch  # noqa: E402

from weakseg.arrays import Mask, ScoreMap  # noqa: E402
from weakseg.labels import IGNORE  # noqa: E402
from weakseg.metrics import ScoreCurves, image_figures, measure, summarise  # noqa: E402

SHAPE = (24, 32)

Frames = list[tuple[ScoreMap, Mask]]


@pytest.fixture
def frames(rng: np.random.Generator) -> Frames:
    """Scores on 8 bits, as runs keep them, and truth with ignored pixels; the last is clear."""
    found = []
    for k in range(6):
        truth = (rng.random(SHAPE) < (0.3 if k < 5 else 0.0)).astype(np.uint8)
        levels = np.clip(rng.integers(0, 180, SHAPE) + 70 * truth, 0, 255)
        truth[rng.random(SHAPE) < 0.1] = IGNORE
        found.append(((levels / 255).astype(np.float32), truth))
    return found


def flat(frames: Frames) -> tuple[torch.Tensor, torch.Tensor]:
    scores = np.concatenate([scores[truth != IGNORE] for scores, truth in frames])
    truth = np.concatenate([truth[truth != IGNORE] for _, truth in frames])
    return torch.from_numpy(scores), torch.from_numpy(truth).long()


def figures_of(frames: Frames, threshold: float = 0.5) -> dict[str, float]:
    measured = [
        measure(
            (scores >= threshold).astype(np.uint8),
            truth,
            id=str(k),
            label=int((truth == 1).any()),
            scene=str(k),
            scores=scores,
        )
        for k, (scores, truth) in enumerate(frames)
    ]
    return summarise(measured, draws=0)


def test_pooled_figures_agree_with_torchmetrics(frames: Frames) -> None:
    scores, truth = flat(frames)
    # torchmetrics calls smoke what lies above a threshold, we what reaches it.
    found = (scores >= 0.5).long()
    ours = figures_of(frames)
    for name, theirs in {
        "iou_pooled": torchmetrics.binary_jaccard_index(found, truth),
        "miou": torchmetrics.multiclass_jaccard_index(found, truth, num_classes=2),
        "precision": torchmetrics.binary_precision(found, truth),
        "recall": torchmetrics.binary_recall(found, truth),
        "f1": torchmetrics.binary_f1_score(found, truth),
        "f_beta": torchmetrics.binary_fbeta_score(found, truth, beta=math.sqrt(0.3)),
    }.items():
        assert ours[name] == pytest.approx(float(theirs), rel=1e-5), name


def test_figures_per_frame_agree_with_torchmetrics(frames: Frames) -> None:
    ours = figures_of(frames)
    overlaps, distances, false_areas = [], [], []
    for one in frames:
        scores, truth = flat([one])
        found = (scores >= 0.5).long()
        distances.append(float((scores - truth).abs().mean()))
        if truth.any():
            overlaps.append(float(torchmetrics.binary_jaccard_index(found, truth)))
        else:
            false_areas.append(float(found.float().mean()))
    assert ours["iou_per_image"] == pytest.approx(np.mean(overlaps), rel=1e-5)
    assert ours["mae"] == pytest.approx(np.mean(distances), rel=1e-5)
    assert ours["false_area_mean"] == pytest.approx(np.mean(false_areas), rel=1e-5)
    assert ours["false_alarm_share"] == np.mean([area > 0.001 for area in false_areas])


def test_soft_figures_agree_with_torchmetrics(frames: Frames) -> None:
    curves = ScoreCurves()
    for scores, truth in frames:
        curves.add(scores, truth)
    scores, truth = flat(frames)
    ours = curves.summary(0.5)
    theirs = torchmetrics.binary_average_precision(scores, truth)
    assert ours["pixel_ap"] == pytest.approx(float(theirs), rel=1e-5)
    theirs = torchmetrics.binary_calibration_error(scores, truth, n_bins=16, norm="l1")
    # A score on the edge of two bins counts with the lower there, with the higher here.
    assert ours["pixel_ece"] == pytest.approx(float(theirs), abs=2e-3)
    each = [
        [float(torchmetrics.binary_jaccard_index((s >= t).long(), y)) for s, y in smoky]
        for t in curves.thresholds
        for smoky in [[flat([one]) for one in frames[:5]]]
    ]
    assert ours["oracle_iou_per_image"] == pytest.approx(max(np.mean(each, axis=1)), rel=1e-5)
    assert ours["oracle_gap_per_image"] == pytest.approx(
        max(np.mean(each, axis=1)) - np.mean(each[128]), rel=1e-4
    )


def test_image_figures_agree_with_torchmetrics(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, size=200)
    beliefs = np.clip(0.3 * labels + rng.random(200) * 0.7, 0, 1)
    ours = image_figures(labels, beliefs)
    given = (torch.from_numpy(beliefs), torch.from_numpy(labels))
    assert ours["auroc"] == pytest.approx(float(torchmetrics.binary_auroc(*given)), rel=1e-5)
    theirs = torchmetrics.binary_average_precision(*given)
    assert ours["average_precision"] == pytest.approx(float(theirs), rel=1e-5)
    theirs = torchmetrics.binary_calibration_error(*given, n_bins=15, norm="l1")
    assert ours["ece"] == pytest.approx(float(theirs), rel=1e-5)
    alarms, hits, _ = torchmetrics.binary_roc(*given)
    assert ours["fpr_at_tpr95"] == pytest.approx(float(alarms[hits >= 0.95].min()), rel=1e-5)


# ---- edges

EMPTY = np.zeros(SHAPE, np.uint8)
FULL = np.ones(SHAPE, np.uint8)
PIXEL = EMPTY.copy()
PIXEL[7, 9] = 1
UNKNOWN = np.full(SHAPE, IGNORE, np.uint8)
NAN = math.nan
NAMES = ("iou_pooled", "miou", "precision", "recall", "f1", "f_beta", "iou_per_image")
NAMES += ("boundary_iou", "empty_on_empty", "false_alarm_share", "false_area_mean", "mae")


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        pytest.param(EMPTY, EMPTY, (1, 1, 1, 1, 1, 1, NAN, NAN, 1, 0, 0, 0), id="empty on empty"),
        pytest.param(FULL, EMPTY, (0, 0, 0, 0, 0, 0, NAN, NAN, 0, 1, 1, 1), id="all on empty"),
        pytest.param(EMPTY, FULL, (0, 0, 0, 0, 0, 0, 0, 0, NAN, NAN, NAN, 1), id="empty on all"),
        pytest.param(FULL, FULL, (1, 1, 1, 1, 1, 1, 1, 1, NAN, NAN, NAN, 0), id="all smoke"),
        pytest.param(PIXEL, PIXEL, (1, 1, 1, 1, 1, 1, 1, 1, NAN, NAN, NAN, 0), id="one pixel"),
        pytest.param(FULL, UNKNOWN, (NAN,) * 12, id="ignored everywhere"),
    ],
)
def test_edge_cases(found: Mask, truth: Mask, expected: tuple[float, ...]) -> None:
    one = measure(
        found,
        truth,
        id="f",
        label=int((truth == 1).any()),
        scene="s",
        scores=found.astype(np.float32),
    )
    figures = summarise([one], draws=10)
    np.testing.assert_allclose([figures[name] for name in NAMES], expected)
    assert all(math.isnan(value) for key, value in figures.items() if key.endswith("_low"))


def test_one_pixel_too_many_on_an_empty_frame_is_a_speck_and_still_wrong() -> None:
    one = measure(PIXEL, EMPTY, id="f", label=0, scene="s")
    figures = summarise([one], draws=0)
    assert figures["iou_pooled"] == figures["empty_on_empty"] == 0
    assert figures["false_area_mean"] == 1 / EMPTY.size
    # 1 of 768 pixels is 0.13 %, above the 0.1 % of an alarm; 1 of 1,200 is not.
    assert figures["false_alarm_share"] == 1
    larger = np.zeros((30, 40), np.uint8)
    speck = larger.copy()
    speck[0, 0] = 1
    assert (
        summarise([measure(speck, larger, id="f", label=0, scene="s")], draws=0)[
            "false_alarm_share"
        ]
        == 0
    )


def test_soft_edge_cases() -> None:
    for truth in (EMPTY, UNKNOWN):
        curves = ScoreCurves()
        curves.add(FULL.astype(np.float32), truth)
        figures = curves.summary(0.5)
        assert math.isnan(figures["pixel_ap"])
        assert math.isnan(figures["oracle_iou_per_image"])
    for truth in (FULL, PIXEL):
        curves = ScoreCurves()
        curves.add(truth.astype(np.float32), truth)
        figures = curves.summary(0.5)
        assert figures["pixel_ap"] == figures["oracle_iou_per_image"] == 1
        assert figures["oracle_gap_per_image"] == figures["pixel_ece"] == 0
