"""Figures of yes/no answers, against scikit-learn and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from weakseg.metrics import auroc, average_precision, ece, fpr_at_tpr95, image_figures

ANSWERS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda k: k / 8)), min_size=1, max_size=60
)


@given(ANSWERS)
def test_ranking_figures_agree_with_scikit_learn(answers: list[tuple[int, float]]) -> None:
    labels, beliefs = zip(*answers, strict=True)
    if 0 < sum(labels) < len(labels):
        assert math.isclose(auroc(labels, beliefs), reference.roc_auc_score(labels, beliefs))
        alarms, hits, _ = reference.roc_curve(labels, beliefs, drop_intermediate=False)
        assert math.isclose(fpr_at_tpr95(labels, beliefs), alarms[hits >= 0.95 - 1e-12].min())
    if sum(labels):
        theirs = reference.average_precision_score(labels, beliefs)
        assert math.isclose(average_precision(labels, beliefs), theirs, rel_tol=1e-9)


@given(ANSWERS)
def test_order_of_frames_does_not_matter(answers: list[tuple[int, float]]) -> None:
    forth = image_figures(*zip(*answers, strict=True))
    back = image_figures(*zip(*answers[::-1], strict=True))
    for name, value in forth.items():
        np.testing.assert_allclose(back[name], value, atol=1e-12)


def test_one_kind_of_frame_alone_cannot_be_ranked() -> None:
    assert math.isnan(auroc([1, 1], [0.1, 0.9]))
    assert math.isnan(fpr_at_tpr95([0, 0], [0.1, 0.9]))
    assert math.isnan(average_precision([0, 0], [0.1, 0.9]))
    assert average_precision([1, 1], [0.1, 0.9]) == 1
    assert math.isnan(ece([], []))
    assert math.isnan(auroc([], []))


def test_ece_is_the_gap_between_promise_and_outcome() -> None:
    assert math.isclose(ece([1, 0, 1, 0], [0.8, 0.8, 0.8, 0.8]), 0.3)
    assert ece([1, 0], [1.0, 0.0]) == 0
    # Two bins whose gaps of opposite sign do not cancel.
    assert math.isclose(ece([0, 1], [0.3, 0.7]), 0.3)


def test_wrong_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        auroc([2], [0.5])
    with pytest.raises(ValueError, match="finite"):
        auroc([1], [math.nan])
    with pytest.raises(ValueError, match="probabilities must have shape"):
        auroc([1, 0], [0.5])
    with pytest.raises(ValueError, match="probability must lie in"):
        ece([1], [1.5])
