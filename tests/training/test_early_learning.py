"""Early learning is over when the overlap with the given masks grows no longer as at first."""

from __future__ import annotations

import numpy as np
import pytest

from weakseg.training.early_learning import fit_curve, has_learnt_early


def curve(a: float, b: float, c: float, points: int = 12) -> np.ndarray:
    time = np.arange(1, points + 1)
    return a * (1 - np.exp(-b * time**c))


@pytest.mark.parametrize(("a", "b", "c"), [(0.8, 0.5, 1.0), (0.6, 0.1, 1.5), (0.9, 1.0, 0.5)])
def test_the_fit_finds_the_curve_it_was_given(a: float, b: float, c: float) -> None:
    values = curve(a, b, c)
    found = curve(*fit_curve(values))
    # The grid steps are some 12 % in b and 0.05 in c.
    np.testing.assert_allclose(found, values, atol=0.01)


def test_the_fit_is_the_best_of_its_grid(rng: np.random.Generator) -> None:
    """By brute force over a, too."""
    values = np.clip(curve(0.7, 0.3, 1.2) + rng.normal(0, 0.05, 12), 0, 1)
    a, b, c = fit_curve(values)
    error = ((curve(a, b, c) - values) ** 2).sum()
    for scale in np.linspace(0.5, 1.5, 21):
        assert error <= ((curve(scale * a, b, c) - values) ** 2).sum() + 1e-12
    for rate in np.geomspace(0.01, 10, 61)[::6]:
        assert error <= ((curve(a, rate, c) - values) ** 2).sum() + 1e-12


def test_early_learning_ends_where_the_slope_has_fallen() -> None:
    """By the formula: the slope of 1 - exp(-t/2) falls by 90 % after 1 + 2 ln 10 = 5.6."""
    values = curve(0.8, 0.5, 1.0).tolist()
    assert not has_learnt_early(values[:5])
    assert has_learnt_early(values[:7])
    assert has_learnt_early(values[:5], slope_drop=0.5)


def test_what_still_grows_is_still_learning() -> None:
    assert not has_learnt_early(np.linspace(0.05, 0.6, 12).tolist())


def test_few_points_and_nothing_learnt_say_nothing() -> None:
    assert not has_learnt_early([0.1, 0.5, 0.5])
    assert not has_learnt_early([0.0] * 10)


def test_impossible_drops_are_refused() -> None:
    with pytest.raises(ValueError, match="slope_drop must"):
        has_learnt_early([0.1] * 5, slope_drop=1.5)
