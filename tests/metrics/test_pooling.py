"""Figures from sums are those of the counts, for one data set and for many drawn at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from weakseg.metrics import (
    FrameFigures,
    PixelCounts,
    RankedAnswers,
    SceneDraws,
    drawn_figures,
    f1,
    f_beta,
    frame_sums,
    iou,
    miou,
    pooled_figures,
    precision,
    ranked_answers,
    recall,
    scene_interval,
    summarise,
)

NUMBER = st.integers(0, 40)
COUNTS = st.builds(PixelCounts, tp=NUMBER, fp=NUMBER, fn=NUMBER, tn=NUMBER)
POOLED: dict[str, Callable[[PixelCounts], float]] = {
    "iou_pooled": iou,
    "miou": miou,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "f_beta": f_beta,
}


def one(counts: PixelCounts, scene: str = "s", probability: float = math.nan) -> FrameFigures:
    label = int(counts.tp + counts.fn > 0)
    return FrameFigures("f", label, scene, counts, counts, probability, mae=0.25)


@given(st.lists(COUNTS, min_size=1, max_size=6))
def test_pooled_figures_are_those_of_the_summed_counts(counts: list[PixelCounts]) -> None:
    sums = frame_sums([one(each) for each in counts])
    figures = pooled_figures(sums.sum(0, keepdims=True))
    for name, figure in POOLED.items():
        expected = figure(sum(counts, PixelCounts()))
        np.testing.assert_allclose(figures[name][0], expected, atol=1e-12)
    smoky = [iou(each) for each in counts if each.tp + each.fn]
    expected = np.mean(smoky) if smoky else math.nan
    np.testing.assert_allclose(figures["iou_per_image"][0], expected, atol=1e-12)
    np.testing.assert_allclose(figures["boundary_iou"][0], expected, atol=1e-12)


@pytest.fixture
def frames(rng: np.random.Generator) -> list[FrameFigures]:
    found = []
    for k in range(40):
        tp, fp, fn, tn = (int(n) for n in rng.integers(1, 60, size=4))
        counts = PixelCounts(tp, fp, fn, tn) if k % 3 else PixelCounts(0, fp // 2, 0, 1000)
        found.append(one(counts, scene=f"s{k // 4}", probability=float(rng.random())))
    return found


def test_drawn_figures_are_those_of_the_frames_drawn(frames: list[FrameFigures]) -> None:
    """A draw that holds a scene twice is measured like a list that holds its frames twice."""
    drawn = SceneDraws([frame.scene for frame in frames], draws=20, seed=3)
    found = drawn_figures(drawn, frame_sums(frames), ranked_answers(frames))
    for draw in range(len(drawn)):
        times = drawn.weights(draw).astype(int)
        listed = [f for f, count in zip(frames, times, strict=True) for _ in range(count)]
        expected = summarise(listed, draws=0)
        for name, values in found.items():
            if name in expected:
                np.testing.assert_allclose(values[draw], expected[name], atol=1e-12, err_msg=name)


def test_intervals_are_those_of_one_figure_at_a_time(frames: list[FrameFigures]) -> None:
    figures = summarise(frames, draws=150, seed=5)
    smoky = np.array([frame.has_smoke for frame in frames], dtype=np.float64)
    overlaps = np.array([frame.iou if frame.has_smoke else 0.0 for frame in frames])
    scenes = [frame.scene for frame in frames]
    expected = scene_interval(
        scenes, lambda t: float(t @ overlaps / (t @ smoky)), draws=150, seed=5
    )
    found = figures["iou_per_image_low"], figures["iou_per_image_high"]
    np.testing.assert_allclose(found, expected)
    for name in ("f_beta", "boundary_iou", "auroc", "average_precision", "ece", "precision"):
        assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]


def test_weighted_answers_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, size=80)
    beliefs = np.round(rng.random(80), 1)  # with ties
    answers = RankedAnswers(labels, beliefs)
    for _ in range(5):
        times = rng.integers(0, 4, size=80).astype(np.float64)
        seen = times > 0
        given_to = (labels[seen], beliefs[seen])
        ours = answers.figures(times)
        theirs = reference.roc_auc_score(*given_to, sample_weight=times[seen])
        assert ours["auroc"] == pytest.approx(theirs)
        theirs = reference.average_precision_score(*given_to, sample_weight=times[seen])
        assert ours["average_precision"] == pytest.approx(theirs)
        copies = RankedAnswers(labels.repeat(times.astype(int)), beliefs.repeat(times.astype(int)))
        assert ours == pytest.approx(copies.figures())


def test_weights_must_fit_the_answers() -> None:
    with pytest.raises(ValueError, match="weights must have shape"):
        RankedAnswers([0, 1], [0.1, 0.9]).auroc(np.ones(3))
    assert math.isnan(RankedAnswers([0, 1], [0.1, 0.9]).ece(np.zeros(2)))


def test_thousands_of_frames_take_no_time_that_grows_with_their_square() -> None:
    """A hundred thousand frames: arrays of frames times frames would need 80 GB."""
    sums = np.ones((100_000, frame_sums([]).shape[1]))
    drawn = SceneDraws([str(k % 300) for k in range(100_000)], draws=100)
    assert drawn.sums(sums).sum() == pytest.approx(sums.sum() * 100, rel=0.1)
