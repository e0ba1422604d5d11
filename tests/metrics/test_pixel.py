"""Counts of pixels, and what is made of them, against scikit-learn and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from weakseg.arrays import Mask
from weakseg.labels import IGNORE
from weakseg.metrics import (
    PixelCounts,
    background_iou,
    count,
    f1,
    f_beta,
    iou,
    mae,
    miou,
    precision,
    recall,
)

NUMBER = st.integers(0, 50)
COUNTS = st.builds(PixelCounts, tp=NUMBER, fp=NUMBER, fn=NUMBER, tn=NUMBER)
FIGURES = (iou, background_iou, miou, precision, recall, f1, f_beta)


def test_counts_are_those_of_the_confusion_matrix(rng: np.random.Generator) -> None:
    truth = rng.choice(np.array([0, 1, IGNORE], np.uint8), size=(30, 40))
    predicted = rng.integers(0, 2, size=(30, 40)).astype(np.uint8)
    known = truth != IGNORE
    (tn, fp), (fn, tp) = reference.confusion_matrix(truth[known], predicted[known])
    assert count(predicted, truth) == PixelCounts(tp, fp, fn, tn)


def test_figures_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    truth, predicted = rng.integers(0, 2, size=(2, 500))
    counts = count(predicted[None].astype(np.uint8), truth[None].astype(np.uint8))
    for mine, theirs in (
        (iou(counts), reference.jaccard_score(truth, predicted)),
        (miou(counts), reference.jaccard_score(truth, predicted, average="macro")),
        (precision(counts), reference.precision_score(truth, predicted)),
        (recall(counts), reference.recall_score(truth, predicted)),
        (f1(counts), reference.f1_score(truth, predicted)),
        (f_beta(counts), reference.fbeta_score(truth, predicted, beta=math.sqrt(0.3))),
    ):
        assert math.isclose(mine, theirs, rel_tol=1e-12)


@given(COUNTS)
def test_figures_lie_in_the_unit_interval(counts: PixelCounts) -> None:
    for figure in FIGURES:
        value = figure(counts)
        assert math.isnan(value) if counts.pixels == 0 else 0 <= value <= 1


@given(COUNTS)
def test_iou_is_never_above_f1_and_tells_the_same(counts: PixelCounts) -> None:
    if counts.pixels:
        assert math.isclose(f1(counts), 2 * iou(counts) / (1 + iou(counts)), abs_tol=1e-12)


@given(COUNTS, COUNTS)
def test_counts_add_up(first: PixelCounts, second: PixelCounts) -> None:
    both = first + second
    assert both == second + first
    assert both.pixels == first.pixels + second.pixels


def test_nothing_found_where_nothing_is_is_right(plume_mask: Mask) -> None:
    empty = np.zeros_like(plume_mask)
    counts = count(empty, empty)
    assert counts.is_empty_on_empty
    assert [figure(counts) for figure in FIGURES] == [1.0] * len(FIGURES)


def test_something_found_where_nothing_is_is_wrong(plume_mask: Mask) -> None:
    counts = count(plume_mask, np.zeros_like(plume_mask))
    assert not counts.is_empty_on_empty
    assert (iou(counts), precision(counts), recall(counts), f1(counts)) == (0, 0, 0, 0)


def test_nothing_found_where_something_is_is_wrong(plume_mask: Mask) -> None:
    counts = count(np.zeros_like(plume_mask), plume_mask)
    assert (iou(counts), precision(counts), recall(counts), f1(counts)) == (0, 0, 0, 0)


def test_a_frame_all_ignored_tells_nothing(plume_mask: Mask) -> None:
    counts = count(plume_mask, np.full_like(plume_mask, IGNORE))
    assert counts == PixelCounts()
    assert not counts.is_empty_on_empty
    assert all(math.isnan(figure(counts)) for figure in FIGURES)
    assert math.isnan(mae(plume_mask.astype(np.float32), np.full_like(plume_mask, IGNORE)))


def test_ignored_pixels_do_not_count(plume_mask: Mask) -> None:
    truth = plume_mask.copy()
    truth[:, ::2] = IGNORE
    garbage = plume_mask.copy()
    garbage[:, ::2] ^= 1
    assert count(garbage, truth) == count(plume_mask, truth)


def test_a_pixel_left_open_is_not_found() -> None:
    assert count(np.array([[IGNORE]], np.uint8), np.array([[1]], np.uint8)) == PixelCounts(fn=1)


def test_mae_is_the_mean_distance() -> None:
    truth = np.array([[0, 1, IGNORE]], np.uint8)
    scores = np.array([[0.25, 0.5, 0.9]], np.float32)
    assert math.isclose(mae(scores, truth), 0.375)


def test_sizes_must_agree(plume_mask: Mask) -> None:
    with pytest.raises(ValueError, match="predicted must have shape"):
        count(plume_mask[1:], plume_mask)
    with pytest.raises(ValueError, match="tp must be at least 0"):
        PixelCounts(tp=-1)
