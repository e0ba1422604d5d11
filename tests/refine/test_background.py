from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakseg.refine import Background

EVIDENCE = hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32))
BACKGROUNDS = st.one_of(
    st.builds(Background, score=st.floats(0.01, 1)),
    st.builds(Background, alpha=st.floats(0.1, 10)),
)


@settings(deadline=None)
@given(EVIDENCE, BACKGROUNDS)
def test_scores_are_bounded_and_sum_to_one(evidence: np.ndarray, background: Background) -> None:
    scores = background(evidence)
    assert scores.dtype == np.float32
    assert scores.min() >= 0
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-6)


@settings(deadline=None)
@given(EVIDENCE, BACKGROUNDS)
def test_the_order_of_the_evidence_is_kept(evidence: np.ndarray, background: Background) -> None:
    smoke = background(evidence)[1].ravel()
    in_order = smoke[np.argsort(evidence.ravel(), kind="stable")]
    assert np.all(np.diff(in_order) >= -1e-6)


@pytest.mark.parametrize("background", [Background(), Background(score=0.01), Background(alpha=9)])
def test_no_evidence_stays_exactly_no_smoke(background: Background) -> None:
    assert np.all(background(np.zeros((2, 2), np.float32))[1] == 0)


def test_alpha_of_one_gives_the_evidence_back(rng: np.random.Generator) -> None:
    evidence = rng.random((5, 5), dtype=np.float32)
    np.testing.assert_allclose(Background()(evidence)[1], evidence, atol=1e-6)


def test_a_constant_score_competes_with_the_evidence() -> None:
    evidence = np.array([[0.3, 0.9]], np.float32)
    np.testing.assert_allclose(Background(score=0.3)(evidence)[1], [[0.5, 0.75]], atol=1e-6)


def test_a_threshold_on_evidence_carries_over() -> None:
    background = Background(score=0.3)
    assert background.smoke_score_at(0.3) == pytest.approx(0.5)


def test_a_background_that_never_wins_is_refused() -> None:
    with pytest.raises(ValueError, match="score must be above 0"):
        Background(score=0.0)
    with pytest.raises(ValueError, match="alpha"):
        Background(alpha=0)
