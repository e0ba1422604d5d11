"""Evidence is absolute, comparable between frames, and empty where there is no smoke."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakseg.cam import Calibration, CalibrationStatistics, calibrate
from weakseg.cam.platt import fit_platt, sigmoid


def raw_map(rng: np.random.Generator, *, smoke: bool) -> np.ndarray:
    """(16, 16) raw map: faint noise, and with smoke a strong spot."""
    raw = rng.exponential(0.1, size=(16, 16)).astype(np.float32)
    if smoke:
        raw[4:8, 4:8] += rng.uniform(2, 4)
    return raw


@pytest.fixture
def statistics(rng: np.random.Generator) -> CalibrationStatistics:
    gathered = CalibrationStatistics()
    for index in range(80):
        label = index % 2
        logit = rng.normal(3 if label else -3, 1.5)
        split = "val" if index % 4 > 1 else "train"
        gathered.add(raw_map(rng, smoke=label == 1), logit, label=label, split=split)
    return gathered


def test_the_formula_is_the_documented_one() -> None:
    calibration = Calibration(offset=1, scale=4, logit_slope=2, logit_bias=-1)
    found = calibration.evidence(np.array([[0, 1, 2, 5, 9]], dtype=np.float32), 0.75)
    gate = 1 / (1 + np.exp(-(2 * 0.75 - 1)))
    np.testing.assert_allclose(found, gate * np.array([[0, 0, 0.25, 1, 1]]), rtol=1e-6)
    assert found.dtype == np.float32


@given(
    low=st.floats(0, 1e3),
    more=st.floats(0, 1e3),
    logit=st.floats(-50, 50),
    surer=st.floats(0, 50),
)
def test_evidence_rises_with_the_map_and_with_the_logit(
    low: float, more: float, logit: float, surer: float
) -> None:
    calibration = Calibration(offset=0.5, scale=20, logit_slope=0.7, logit_bias=0.1)
    raw = np.array([[low, low + more]])
    faint = calibration.evidence(raw, logit)
    strong = calibration.evidence(raw, logit + surer)
    assert 0 <= faint[0, 0] <= faint[0, 1] <= 1
    assert np.all(strong >= faint)


def test_twice_the_raw_value_is_more_evidence_in_another_frame() -> None:
    calibration = Calibration(offset=0.5, scale=10, logit_slope=1)
    raw = np.array([[0.0, 1.0], [2.0, 4.0]])
    one, two = calibration.evidence(raw, 3), calibration.evidence(2 * raw, 3)
    assert two.max() > 1.9 * one.max()


def test_frames_without_smoke_are_almost_empty_and_smoke_is_not(
    statistics: CalibrationStatistics, rng: np.random.Generator
) -> None:
    calibration = calibrate(statistics)
    calm = calibration.evidence(raw_map(rng, smoke=False), -3)
    smoke = calibration.evidence(raw_map(rng, smoke=True), 3)
    assert calm.mean() < 0.005
    assert smoke[5, 5] > 0.5
    assert smoke[12:].mean() < 0.02


def test_an_empty_map_is_no_evidence_however_sure_the_classifier() -> None:
    assert Calibration().evidence(np.zeros((2, 2)), 100).max() == 0


def test_offset_and_scale_follow_the_documented_rule(statistics: CalibrationStatistics) -> None:
    calibration = calibrate(statistics)
    calm = [q[2] for q, y, s in rows(statistics) if y == 0 and s == "train"]
    peaks = [q[3] for q, y, s in rows(statistics) if y == 1 and s == "train"]
    assert calibration.offset == pytest.approx(np.median(calm))
    assert calibration.scale == pytest.approx(np.median(peaks) - np.median(calm))


def rows(statistics: CalibrationStatistics) -> zip:
    return zip(statistics.quantiles, statistics.labels, statistics.splits, strict=True)


def test_probabilities_come_from_val_frames_where_there_are_enough(
    statistics: CalibrationStatistics,
) -> None:
    before = calibrate(statistics)
    for label in (0, 1):
        for _ in range(40):
            statistics.add(np.ones((2, 2)), 0.0, label=label, split="test")
    assert calibrate(statistics) == before
    val = np.array([s == "val" for s in statistics.splits])
    slope, bias = fit_platt(np.array(statistics.logits)[val], np.array(statistics.labels)[val])
    assert (before.logit_slope, before.logit_bias) == (slope, bias)


def test_a_classifier_that_learnt_nothing_still_gets_a_calibration() -> None:
    statistics = CalibrationStatistics()
    for index in range(10):
        label = index % 2
        statistics.add(np.full((4, 4), 0.5 if label else 1.0), 0.0, label=label)
    calibration = calibrate(statistics)
    assert calibration.offset == 0
    assert calibration.scale == pytest.approx(0.5)
    assert calibration.probability(0.0) == pytest.approx(0.5, abs=1e-3)


def test_one_label_alone_is_refused() -> None:
    statistics = CalibrationStatistics()
    statistics.add(np.ones((2, 2)), 1.0, label=1)
    with pytest.raises(ValueError, match="both labels, got 1 with smoke and 0 without"):
        calibrate(statistics)


def test_calibrations_survive_json() -> None:
    calibration = Calibration(0.1, 0.3, 1.7, -0.4)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"offset": -1}, {"logit_slope": -1}])
def test_wrong_calibrations_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Calibration(**wrong)


def test_platt_finds_the_slope_that_made_the_labels(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 3, size=20_000)
    labels = (rng.random(20_000) < sigmoid(0.8 * logits - 1)).astype(int)
    slope, bias = fit_platt(logits, labels)
    # Standard errors at this size are about 0.01 and 0.02.
    assert slope == pytest.approx(0.8, abs=0.04)
    assert bias == pytest.approx(-1, abs=0.08)


def test_platt_stays_finite_when_the_classes_are_far_apart() -> None:
    slope, bias = fit_platt(np.array([-900.0, -800, 800, 900]), np.array([0, 0, 1, 1]))
    assert 0 < slope < 1
    # The smoothed targets of two frames of each class.
    assert sigmoid(slope * 850 + bias) == pytest.approx(0.75, abs=0.01)


def test_platt_does_not_turn_a_wrong_classifier_round() -> None:
    slope, bias = fit_platt(np.array([-2.0, -1, 1, 2]), np.array([1, 1, 0, 0]))
    assert slope == 0
    assert sigmoid(bias) == pytest.approx(0.5)
