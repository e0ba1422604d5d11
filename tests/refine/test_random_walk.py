"""The walk equals powers of the dense matrix, keeps its bounds, and does not see its tiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weakseg.refine.random_walk import RandomWalk, transitions


def random_grid(height: int, width: int, *, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = rng.random((height, width), dtype=np.float32)
    embedding = torch.from_numpy(rng.normal(0, 0.2, (4, height, width)).astype(np.float32))
    return scores, embedding


def dense_affinities(embedding: torch.Tensor, radius: int, beta: float) -> np.ndarray:
    """Build A_ij = a_ij^beta cell by cell: (h*w, h*w) float64."""
    channels, height, width = embedding.shape
    flat = embedding.reshape(channels, -1).double().numpy()
    found = np.eye(height * width)
    for i in range(height * width):
        for j in range(height * width):
            apart = math.hypot(i // width - j // width, i % width - j % width)
            if i != j and apart < radius:
                found[i, j] = math.exp(-np.abs(flat[:, i] - flat[:, j]).mean()) ** beta
    return found


@pytest.mark.parametrize(
    ("radius", "beta", "steps"), [(2, 16, 7), (3, 8, 1), (5, 4, 20), (5, 4, 0)]
)
def test_the_walk_is_the_power_of_the_dense_matrix(radius: int, beta: float, steps: int) -> None:
    scores, embedding = random_grid(6, 7)
    dense = dense_affinities(embedding, radius, beta)
    matrix = np.linalg.matrix_power(dense / dense.sum(axis=1, keepdims=True), steps)
    walked = RandomWalk(radius=radius, beta=beta, steps=steps)(scores, embedding)
    # Float32 differs by 2e-7 here.
    np.testing.assert_allclose(walked.ravel(), matrix @ scores.ravel().astype(float), atol=2e-6)


def test_rows_of_the_matrix_sum_to_one() -> None:
    ways = transitions(random_grid(9, 4)[1], radius=5, beta=16)
    assert ways.shape == (69, 9, 4)
    assert torch.all(ways >= 0)
    torch.testing.assert_close(ways.sum(dim=0), torch.ones(9, 4))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(2, 4), st.integers(0, 30), st.integers(0, 9)
)
def test_no_score_leaves_the_range_of_the_scores(
    height: int, width: int, radius: int, steps: int, seed: int
) -> None:
    scores, embedding = random_grid(height, width, seed=seed)
    walked = RandomWalk(radius=radius, steps=steps)(scores, embedding)
    assert walked.min() >= scores.min()
    assert walked.max() <= scores.max()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_stays(value: float) -> None:
    _, embedding = random_grid(12, 10)
    scores = np.full((12, 10), value, np.float32)
    np.testing.assert_array_equal(RandomWalk()(scores, embedding), scores)


def test_the_sum_weighted_by_degrees_is_kept_and_the_plain_one_is_not() -> None:
    scores, embedding = random_grid(8, 8)
    degrees = dense_affinities(embedding, 4, 16).sum(axis=1).reshape(8, 8)
    walked = RandomWalk(radius=4, steps=50)(scores, embedding)
    np.testing.assert_allclose((degrees * walked).sum(), (degrees * scores).sum(), rtol=1e-5)
    assert abs(walked.sum() - scores.sum()) > 0.01 * scores.sum()


def test_a_border_of_the_embedding_is_not_crossed() -> None:
    embedding = torch.zeros(2, 10, 12)
    embedding[:, :, 6:] = 2.0
    scores = np.zeros((10, 12), np.float32)
    scores[2:4, 1:3] = 0.8
    walked = RandomWalk()(scores, embedding)
    assert walked[:, :6].min() > 0.03
    assert walked[:, 6:].max() < 1e-6


@pytest.mark.parametrize("tile", [4, 7, 30])
def test_tiles_whose_halo_covers_the_walk_change_nothing(tile: int) -> None:
    scores, embedding = random_grid(19, 23)
    whole = RandomWalk(radius=3, steps=4)(scores, embedding)
    tiled = RandomWalk(radius=3, steps=4, tile_cells=tile, halo_cells=9)(scores, embedding)
    # The same numbers are added in the same order: measured 0, left room for other CPUs.
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


@pytest.mark.parametrize("halo", [3, 6, 10])
def test_a_smaller_halo_errs_within_its_bound(halo: int) -> None:
    height, width, tile, radius, steps = 8, 40, 20, 3, 25
    scores, embedding = random_grid(height, width)
    walks = {"radius": radius, "steps": steps, "beta": 4.0}
    whole = RandomWalk(**walks)(scores, embedding)
    tiled = RandomWalk(**walks, tile_cells=tile, halo_cells=halo)(scores, embedding)
    dense = dense_affinities(embedding, radius, 4.0)
    matrix = dense / dense.sum(axis=1, keepdims=True)
    columns = np.tile(np.arange(width), height)
    for core, is_near in (
        (slice(0, tile), columns >= tile + halo - (radius - 1)),
        (slice(tile, width), columns < tile - halo + (radius - 1)),
    ):
        reached = is_near.astype(float)  # The probability of having come near the outer border.
        for _ in range(steps):
            reached = np.where(is_near, 1.0, matrix @ reached)
        bound = reached.reshape(height, width)[:, core] * (scores.max() - scores.min())
        error = np.abs(tiled - whole)[:, core]
        assert error.max() > 0
        assert np.all(error <= bound + 1e-6)


@pytest.mark.parametrize(
    "wrong", [{"radius": 1}, {"beta": 0}, {"steps": -1}, {"tile_cells": 0}, {"halo_cells": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RandomWalk(**wrong)


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores must have shape \(3, 4\)"):
        RandomWalk()(np.zeros((4, 3), np.float32), torch.zeros(2, 3, 4))
