"""Frames' figures merge into those of a data set, with intervals by scene."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weakseg.arrays import Mask
from weakseg.labels import IGNORE
from weakseg.metrics import (
    FrameFigures,
    PixelCounts,
    auroc,
    false_alarm_share,
    false_area_mean,
    iou,
    measure,
    scene_interval,
    size_table,
    summarise,
)


def frame(
    tp: int, fp: int, fn: int, *, label: int = 1, scene: str = "a", probability: float = math.nan
) -> FrameFigures:
    counts = PixelCounts(tp, fp, fn, 1000 - tp - fp - fn)
    return FrameFigures("x", label, scene, counts, probability=probability)


FRAMES = [
    frame(30, 10, 10, scene="a"),
    frame(0, 0, 40, scene="b"),
    frame(0, 0, 0, label=0, scene="c"),
    frame(0, 50, 0, label=0, scene="d"),
    frame(0, 1, 0, label=0, scene="d"),  # a speck: exactly min_area
]


def test_figures_are_what_their_names_say() -> None:
    figures = summarise(FRAMES, draws=0)
    assert figures["iou_per_image"] == (0.6 + 0.0) / 2  # of the frames with smoke
    assert math.isclose(figures["iou_pooled"], 30 / 141)
    assert math.isclose(figures["precision"], 30 / 91)
    assert math.isclose(figures["recall"], 30 / 80)
    assert math.isclose(figures["false_alarm_share"], 1 / 3)
    assert math.isclose(figures["empty_on_empty"], 1 / 3)
    assert math.isclose(figures["false_area_mean"], 0.051 / 3)
    assert (figures["frames"], figures["smoke_frames"], figures["smoke_free_frames"]) == (5, 2, 3)
    assert math.isnan(figures["mae"])
    assert math.isnan(figures["boundary_iou"])
    assert "auroc" not in figures
    assert "iou_pooled_low" not in figures


def test_the_order_of_frames_does_not_matter() -> None:
    forth, back = summarise(FRAMES, draws=50), summarise(FRAMES[::-1], draws=50)
    assert forth.keys() == back.keys()
    for name, value in forth.items():
        np.testing.assert_allclose(back[name], value, atol=1e-12)


def test_probabilities_bring_the_image_figures() -> None:
    frames = [frame(1, 0, 0, probability=0.9), frame(0, 0, 0, label=0, probability=0.2)]
    assert summarise(frames, draws=0)["auroc"] == auroc([1, 0], [0.9, 0.2])


def test_intervals_hold_the_figure_and_repeat() -> None:
    rng = np.random.default_rng(0)
    frames = [frame(int(rng.integers(0, 80)), 10, 10, scene=str(k // 3)) for k in range(60)]
    figures = summarise(frames, draws=200)
    assert figures == pytest.approx(summarise(frames, draws=200), nan_ok=True)
    for name in ("iou_per_image", "iou_pooled"):
        assert figures[f"{name}_low"] < figures[name] < figures[f"{name}_high"]
    assert math.isnan(figures["false_alarm_share_low"])  # no smoke-free frame


def test_copies_of_frames_make_nothing_surer() -> None:
    """Five near copies of each scene leave the interval as wide as it was."""
    singles = [frame(10 * k, 10, 10, scene=str(k)) for k in range(1, 9)]
    once, often = summarise(singles, draws=300), summarise(singles * 5, draws=300)
    for name in ("iou_per_image_low", "iou_per_image_high"):
        assert math.isclose(once[name], often[name], abs_tol=1e-12)


def test_intervals_follow_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(size=400)
    scenes = [str(k) for k in range(400)]
    low, high = scene_interval(scenes, lambda t: float(t @ values / t.sum()), draws=2000)
    half = 1.96 * values.std() / 20
    # 2000 draws: the quantiles scatter by about 3 % of the half width; 15 % is five times that.
    np.testing.assert_allclose(
        [low, high], [values.mean() - half, values.mean() + half], atol=0.15 * half
    )


def test_one_scene_has_no_interval() -> None:
    low, high = scene_interval(["a", "a"], lambda times: 1.0)
    assert math.isnan(low)
    assert math.isnan(high)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        summarise([])
    with pytest.raises(ValueError, match="label must be one of 0, 1"):
        frame(0, 0, 0, label=2)


def test_a_measured_frame_knows_all(plume_mask: Mask) -> None:
    soft = plume_mask * np.float32(0.75)
    found = measure(
        plume_mask, plume_mask, id="f", label=1, scene="s", scores=soft, probability=0.9
    )
    assert found.iou == 1
    assert found.boundary is not None
    assert iou(found.boundary) == 1
    assert math.isclose(found.mae, 0.25 * plume_mask.mean())
    assert found.smoke_share == found.predicted_share == plume_mask.mean()
    figures = summarise([found], draws=0)
    assert figures["boundary_iou"] == 1
    assert math.isclose(figures["mae"], found.mae)


def test_a_frame_all_ignored_spoils_nothing(plume_mask: Mask) -> None:
    unknown = measure(plume_mask, np.full_like(plume_mask, IGNORE), id="u", label=0, scene="u")
    assert math.isnan(unknown.predicted_share)
    assert not unknown.is_smoke_free
    with_it, without = summarise([*FRAMES, unknown], draws=0), summarise(FRAMES, draws=0)
    for name in ("iou_per_image", "iou_pooled", "false_alarm_share", "empty_on_empty"):
        assert with_it[name] == without[name]


def test_alarms_without_frames_are_unknown() -> None:
    assert math.isnan(false_alarm_share([]))
    assert math.isnan(false_area_mean([]))
    assert false_alarm_share([0.0, 0.5], min_area=0.4) == 0.5


def test_small_and_large_plumes_are_told_apart() -> None:
    frames = [frame(2, 0, 2), frame(10, 0, 0), frame(0, 0, 50), frame(50, 0, 50), FRAMES[3]]
    small, medium, large = size_table(frames)
    assert (small["stratum"], small["frames"], small["iou_per_image"]) == ("small", 1, 0.5)
    assert (medium["frames"], medium["iou_per_image"]) == (1, 1.0)
    assert (large["frames"], large["iou_per_image"], large["missed_share"]) == (2, 0.25, 0.5)
    assert math.isclose(float(large["iou_pooled"]), 50 / 150)
    with pytest.raises(ValueError, match="bounds must rise"):
        size_table(frames, bounds=(0.5, 0.1))
