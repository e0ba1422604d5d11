"""Figures are known by their names: more is better, less is better, or neither."""

from __future__ import annotations

import pytest

from weakseg.tracking.goals import LESS, MORE, goal_of


@pytest.mark.parametrize(
    "figure",
    [
        *("test/iou_per_image", "test/iou_pooled", "miou", "test/boundary_iou", "val/pseudo_iou"),
        *("val/auroc", "val/map_auroc", "val/selection", "test/average_precision", "test/f_beta"),
        *("evaluate/iou_per_image", "stage2/test/smoke_frames_with_mask", "test/temporal_iou"),
        *("test/pixel_ap", "test/ap50", "test/empty_on_empty", "test/oracle_iou_pooled"),
    ],
)
def test_more_is_better(figure: str) -> None:
    assert goal_of(figure) == MORE


@pytest.mark.parametrize(
    "figure",
    [
        *("train/loss", "step/loss", "val/cross_entropy", "test/ece", "test/mae"),
        *("test/fpr_at_tpr95", "test/false_alarm_share", "test/false_area_mean", "test/flicker"),
        *("val/smoke_free_frames_with_mask", "seconds_per_frame/crf", "test/alarm_switches"),
    ],
)
def test_less_is_better(figure: str) -> None:
    assert goal_of(figure) == LESS


@pytest.mark.parametrize(
    "figure",
    [
        *("threshold", "step/lr", "epoch", "test/frames", "seconds", "step/gradient_norm"),
        *("test/iou_per_image_low", "test/oracle_threshold_pooled", "train/smoke_mean_share"),
        *("test/temporal_iou_truth", "test/smoke_free_frames"),
    ],
)
def test_neither_is_better(figure: str) -> None:
    assert goal_of(figure) is None
