"""The lattice's Gaussian sums, against exact ones."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakseg.arrays import FrameArray
from weakseg.filtering import (
    Lattice,
    bilateral_features,
    bilateral_filter,
    gaussian_filter,
    position_features,
)


def exact_weights(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return np.exp(-0.5 * ((wide[:, None] - wide) ** 2).sum(-1))


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


# Measured: 1.5, 2.4, 3.7, 6 % unnormalised and 0.04, 0.1, 0.2, 1.7 % by row; bounds leave room.
@pytest.mark.parametrize(
    ("dims", "by_sum", "by_row"),
    [(1, 0.03, 0.002), (2, 0.05, 0.005), (3, 0.07, 0.01), (5, 0.1, 0.03)],
)
def test_filter_matches_exact_sums(
    dims: int, by_sum: float, by_row: float, rng: np.random.Generator
) -> None:
    features = rng.normal(size=(2000, dims)).astype(np.float32)
    values = rng.random((2000, 2), dtype=np.float32)
    weights = exact_weights(features)
    exact = weights @ values
    assert relative_error(gaussian_filter(values, features), exact) < by_sum
    rows = gaussian_filter(values, features, normalisation="row")
    assert relative_error(rows, exact / weights.sum(1, keepdims=True)) < by_row


def test_bilateral_filter_matches_exact_means(plume: FrameArray, rng: np.random.Generator) -> None:
    values = rng.random((2, 48, 64), dtype=np.float32)
    features = bilateral_features(plume, sigma_xy_pixels=10, sigma_rgb_levels=15)
    weights = exact_weights(features)
    exact = (weights @ values.reshape(2, -1).T) / weights.sum(1, keepdims=True)
    found = bilateral_filter(plume, values, sigma_xy_pixels=10, sigma_rgb_levels=15)
    # Measured 0.4 % on this frame.
    assert relative_error(found.reshape(2, -1).T, exact) < 0.01


def test_sums_of_a_frame_are_right_up_to_a_constant(plume: FrameArray) -> None:
    features = bilateral_features(plume, sigma_xy_pixels=10, sigma_rgb_levels=15)
    exact = exact_weights(features).sum(1)
    found = Lattice(features).degree.astype(np.float64)
    constant = (found @ exact) / (found @ found)
    assert 1 < constant < 1.4
    assert relative_error(constant * found, exact) < 0.1


def test_symmetric_normalisation_matches_exact_one(rng: np.random.Generator) -> None:
    features = rng.normal(size=(800, 3)).astype(np.float32)
    values = rng.random((800, 1), dtype=np.float32)
    weights = exact_weights(features)
    scale = 1 / np.sqrt(weights.sum(1, keepdims=True))
    found = gaussian_filter(values, features, normalisation="symmetric")
    assert relative_error(found, scale * (weights @ (scale * values))) < 0.05


@pytest.mark.parametrize("threads", [0, 2, 7])
def test_threads_change_nothing(threads: int, rng: np.random.Generator) -> None:
    features = rng.normal(size=(40000, 3)).astype(np.float32)
    values = rng.random((40000, 3), dtype=np.float32)
    serial = gaussian_filter(values, features, threads=1)
    np.testing.assert_array_equal(gaussian_filter(values, features, threads=threads), serial)


def test_symmetric_operator_is_its_own_transpose(rng: np.random.Generator) -> None:
    features = 2 * rng.normal(size=(60, 4)).astype(np.float32)
    identity = np.eye(60, dtype=np.float32)
    operator = Lattice(features).filter(identity)
    np.testing.assert_allclose(operator, operator.T, atol=1e-6)
    one_order = Lattice(features, symmetric=False).filter(identity)
    assert np.abs(one_order - one_order.T).max() > 1e-3
    np.testing.assert_allclose(operator, (one_order + one_order.T) / 2, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    points=st.integers(1, 60),
    dims=st.integers(1, 16),
    channels=st.integers(1, 6),
)
def test_row_normalised_filter_is_a_mean(seed: int, points: int, dims: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    features = 3 * rng.normal(size=(points, dims)).astype(np.float32)
    values = rng.normal(size=(points, channels)).astype(np.float32)
    means = gaussian_filter(values, features, normalisation="row")
    assert means.shape == values.shape
    assert np.all(means <= values.max(0) + 1e-4)
    assert np.all(means >= values.min(0) - 1e-4)


def test_channels_do_not_mix(rng: np.random.Generator) -> None:
    lattice = Lattice(rng.normal(size=(300, 5)))
    values = rng.random((300, 7), dtype=np.float32)
    apart = np.concatenate([lattice.filter(values[:, c : c + 1]) for c in range(7)], axis=1)
    np.testing.assert_allclose(lattice.filter(values), apart, rtol=1e-5)


def test_position_features_are_x_and_y_in_sigmas() -> None:
    features = position_features(2, 3, sigma_xy_pixels=2)
    np.testing.assert_array_equal(
        features, [[0, 0], [0.5, 0], [1, 0], [0, 0.5], [0.5, 0.5], [1, 0.5]]
    )


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros((4, 17)), r"\(4, 17\)"),
        (np.zeros(4), r"\(N, d\) or \(B, N, d\), got \(4,\)"),
        (np.zeros((0, 2)), r"\(0, 2\)"),
        (np.full((4, 2), np.nan), "finite"),
        (np.full((4, 2), np.inf), "finite"),
        (np.full((4, 2), 1e7), "1e6"),
    ],
)
def test_bad_features_are_refused(features: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Lattice(features)


def test_bad_arguments_are_refused(plume: FrameArray) -> None:
    lattice = Lattice(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"values must have shape \(4, any\), got \(5, 1\)"):
        lattice.filter(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="normalisation must be one of"):
        lattice.filter(np.zeros((4, 1)), normalisation="rows")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads must be at least 0"):
        Lattice(np.zeros((4, 2)), threads=-1)
    with pytest.raises(ValueError, match="values must have shape"):
        bilateral_filter(plume, np.zeros((1, 64, 48)), sigma_xy_pixels=5, sigma_rgb_levels=5)
    with pytest.raises(ValueError, match="sigma_rgb_levels must be above 0"):
        bilateral_filter(plume, np.zeros((1, 48, 64)), sigma_xy_pixels=5, sigma_rgb_levels=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_can_filter(rng: np.random.Generator) -> None:
    features = rng.normal(size=(40000, 2)).astype(np.float32)
    gaussian_filter(features, features, threads=2)
    child = os.fork()
    if child == 0:
        gaussian_filter(features, features, threads=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
