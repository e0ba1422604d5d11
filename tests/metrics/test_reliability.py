"""Bins of reliability tell what scikit-learn's calibration curve tells, and add up to ECE."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from weakseg.arrays import Mask
from weakseg.labels import IGNORE
from weakseg.metrics import (
    ScoreCurves,
    calibration_error,
    ece,
    measure,
    reliability_bins,
    reliability_of,
)


@pytest.fixture
def answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    beliefs = rng.random(300)
    return (rng.random(300) < beliefs**2).astype(np.int64), beliefs


def test_bins_agree_with_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    rows = [row for row in reliability_bins(*answers, bins=10) if row["count"]]
    rates, means = calibration_curve(*answers, n_bins=10)
    np.testing.assert_allclose([row["smoke_rate"] for row in rows], rates)
    np.testing.assert_allclose([row["mean_score"] for row in rows], means)
    assert sum(row["count"] for row in rows) == 300


def test_ece_is_the_mean_distance_of_the_bins(answers: tuple[np.ndarray, np.ndarray]) -> None:
    assert calibration_error(reliability_bins(*answers)) == pytest.approx(ece(*answers))
    assert math.isnan(calibration_error(reliability_bins([], [])))


def test_bins_cover_the_unit_interval_and_empty_ones_are_unknown() -> None:
    rows = reliability_bins([1, 0], [1.0, 0.5], bins=4)
    assert [(row["low"], row["high"]) for row in rows] == [
        (0, 0.25),
        (0.25, 0.5),
        (0.5, 0.75),
        (0.75, 1),
    ]
    assert [row["count"] for row in rows] == [0, 0, 1, 1]
    assert math.isnan(rows[0]["mean_score"])
    assert (rows[3]["mean_score"], rows[3]["smoke_rate"]) == (1, 1)
    with pytest.raises(ValueError, match="probability must lie in"):
        reliability_bins([1], [1.5])


def test_pixels_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    curves = ScoreCurves()
    assert curves.reliability() == []
    scores = rng.random((3, 20, 30), dtype=np.float32)
    truth = (rng.random((3, 20, 30)) < scores).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = IGNORE
    for one, mask in zip(scores, truth, strict=True):
        curves.add(one, mask)
    known = truth != IGNORE
    rates, means = calibration_curve(truth[known], scores[known], n_bins=16)
    rows = curves.reliability()
    assert sum(row["count"] for row in rows) == known.sum()
    np.testing.assert_allclose([row["smoke_rate"] for row in rows], rates)
    np.testing.assert_allclose([row["mean_score"] for row in rows], means, rtol=1e-6)
    expected = ece(truth[known], scores[known], bins=16)
    assert curves.summary()["pixel_ece"] == pytest.approx(expected, rel=1e-6)


def test_unknown_probability_leaves_no_bins(plume_mask: Mask) -> None:
    known = measure(plume_mask, plume_mask, id="a", label=1, scene="s", probability=0.9)
    unknown = measure(plume_mask, plume_mask, id="b", label=1, scene="s")
    assert sum(row["count"] for row in reliability_of([known])) == 1
    assert reliability_of([known, unknown]) == []
    assert reliability_of([]) == []
