"""Mean field: against a brute force that sums over all pairs, and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from weakseg import _core
from weakseg.arrays import FrameArray
from weakseg.mean_field import (
    KERNEL_NORMALISATIONS,
    Spread,
    feature_kernel,
    frame_kernel,
    mean_field,
    position_kernel,
)

Floats = npt.NDArray[Any]


def gaussian(features: Floats) -> Floats:
    gaps = features[:, None].astype(float) - features
    return np.asarray(np.exp(-0.5 * (gaps**2).sum(-1)))


def normalised(weights: Floats, normalisation: str) -> Floats:
    degree = weights.sum(1)
    if normalisation == "before":
        return weights / degree
    if normalisation == "after":
        return weights / degree[:, None]
    if normalisation == "symmetric":
        return weights / np.sqrt(degree[:, None] * degree)
    return weights


def softmax(energies: Floats) -> Floats:
    powers = np.exp(energies - energies.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def brute_force(
    unary: Floats, kernels: list[Floats], mus: list[Floats], start: Floats | None, iterations: int
) -> Floats:
    q = softmax(-unary) if start is None else start
    for _ in range(iterations):
        energy = unary.astype(float)
        for kernel, mu in zip(kernels, mus, strict=True):
            energy = energy + kernel @ q @ mu.T
        q = softmax(-energy)
    return q


@pytest.fixture
def places(rng: np.random.Generator) -> Floats:
    """(300, 2): points that fill a square of 6 standard deviations."""
    return rng.uniform(0, 6, (300, 2)).astype(np.float32)


@pytest.mark.parametrize("normalisation", KERNEL_NORMALISATIONS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_it_matches_brute_force(
    places: Floats, rng: np.random.Generator, normalisation: Any, symmetric: bool
) -> None:
    unary = rng.exponential(1, (300, 3)).astype(np.float32)
    # Neither symmetric nor with an empty diagonal: rows and columns must not be mixed up.
    mu = rng.normal(size=(3, 3)) * (0.02 if normalisation == "none" else 1)
    exact = brute_force(unary, [normalised(gaussian(places), normalisation)], [mu], None, 4)
    found = mean_field(
        unary,
        [feature_kernel(places)],
        [normalisation],
        [mu],
        iterations=4,
        symmetric=symmetric,
    )
    assert np.abs(exact - softmax(-unary)).max() > 0.1
    # The lattice only approximates the Gaussian: measured 0.011 at most.
    np.testing.assert_allclose(found, exact, atol=0.03)


def test_kernels_add_up(places: Floats, rng: np.random.Generator) -> None:
    unary = rng.exponential(1, (300, 2)).astype(np.float32)
    mus = [-2 * np.eye(2), np.array([[0.0, 1.0], [3.0, 0.0]])]
    wide = places / np.float32(2)
    exact = brute_force(
        unary,
        [normalised(gaussian(places), "symmetric"), normalised(gaussian(wide), "after")],
        mus,
        None,
        3,
    )
    kernels = [feature_kernel(places), feature_kernel(wide)]
    found = mean_field(unary, kernels, ["symmetric", "after"], mus, iterations=3)
    # Measured 0.008 at most.
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_without_iterations_or_kernels_energies_alone_count(rng: np.random.Generator) -> None:
    unary = rng.normal(size=(7, 3)).astype(np.float32)
    expected = np.exp(-unary) / np.exp(-unary).sum(1, keepdims=True)
    np.testing.assert_allclose(mean_field(unary, [], [], [], iterations=3), expected, atol=1e-6)
    kernel = feature_kernel(np.zeros((7, 2)))
    still = mean_field(unary, [kernel], ["none"], [np.eye(3)], iterations=0)
    np.testing.assert_allclose(still, expected, atol=1e-6)


def test_iterations_can_be_done_one_by_one(places: Floats, rng: np.random.Generator) -> None:
    unary = rng.exponential(1, (300, 3)).astype(np.float32)
    how: dict[str, Any] = {
        "kernels": [feature_kernel(places)],
        "normalisations": ["symmetric"],
        "compatibilities": [-3 * np.eye(3)],
    }
    q = None
    for _ in range(3):
        q = mean_field(unary, **how, start=q, iterations=1)
    assert q is not None
    np.testing.assert_allclose(q, mean_field(unary, **how, iterations=3), atol=1e-6)


def test_huge_energies_stay_probabilities(places: Floats) -> None:
    unary = np.zeros((300, 2), np.float32)
    unary[::2, 0] = 1e30
    unary[1::2] = -1e30
    kernel = feature_kernel(places)
    found = mean_field(unary, [kernel], ["symmetric"], [-np.eye(2)], iterations=2)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[::2, 0], 0)


@pytest.mark.parametrize("size", [1e31, 3e38, -3e38])
@pytest.mark.parametrize("classes", [2, 3, 5, 21])
def test_energies_all_huge_stay_probabilities(
    places: Floats, rng: np.random.Generator, classes: int, size: float
) -> None:
    unary = (size * rng.uniform(0, 1, (300, classes))).astype(np.float32)
    kernel = feature_kernel(places)
    found = mean_field(unary, [kernel], ["symmetric"], [-np.eye(classes)], iterations=2)
    # Energies are so far apart that the least decides.
    np.testing.assert_allclose(found, np.eye(classes)[unary.argmin(1)], rtol=0, atol=1e-7)


@pytest.fixture
def two_tiles(plume: FrameArray) -> FrameArray:
    """(48, 128, 3): wider than one tile of the core."""
    return np.concatenate([plume, plume[:, ::-1]], axis=1)


def frame_model(frame: FrameArray, classes: int, normalisation: Any) -> dict[str, Any]:
    height, width, _ = frame.shape
    weight = 0.02 if normalisation == "none" else 2
    return {
        "kernels": [
            position_kernel(height, width, sigma_x_pixels=3, sigma_y_pixels=3),
            frame_kernel(frame, sigma_xy_pixels=20, sigma_rgb_levels=13),
        ],
        "normalisations": [normalisation] * 2,
        "compatibilities": [-weight * np.eye(classes)] * 2,
    }


@pytest.mark.parametrize("has_start", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5, 21, 25])
def test_planes_are_rows(
    two_tiles: FrameArray, rng: np.random.Generator, classes: int, has_start: bool
) -> None:
    pixel, label = np.mgrid[: two_tiles[..., 0].size, :classes]
    # Waves of each class's own, which the kernels do not smooth away as they do noise.
    waves = 2 * np.sin(0.004 * pixel + 1.7 * label)
    unary = (waves + rng.exponential(1, waves.shape)).astype(np.float32)
    start = softmax(rng.normal(size=unary.shape)).astype(np.float32) if has_start else None
    model = frame_model(two_tiles, classes, "symmetric")
    rows = mean_field(unary, **model, start=start, iterations=2)
    planes = mean_field(
        unary.T, **model, start=None if start is None else start.T, iterations=2, planes=True
    )
    assert planes.shape == (classes, len(unary))
    np.testing.assert_allclose(planes.T, rows, atol=1e-6)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    # Measured 0.02, of 25 classes, to 0.4.
    assert np.abs(rows - softmax(-unary)).max() > 0.01


def test_planes_are_rows_of_any_kernel(places: Floats, rng: np.random.Generator) -> None:
    unary = rng.exponential(1, (300, 3)).astype(np.float32)
    mu = rng.normal(size=(3, 3))  # not Potts
    model: dict[str, Any] = {
        "kernels": [feature_kernel(places)],
        "normalisations": ["after"],
        "compatibilities": [mu],
        "iterations": 3,
    }
    planes = mean_field(unary.T, **model, planes=True)
    np.testing.assert_allclose(planes.T, mean_field(unary, **model), atol=1e-6)


@pytest.mark.parametrize("normalisation", KERNEL_NORMALISATIONS)
def test_a_start_is_the_first_q(
    two_tiles: FrameArray, rng: np.random.Generator, normalisation: Any
) -> None:
    unary = rng.exponential(1, (two_tiles[..., 0].size, 3)).astype(np.float32)
    start = softmax(rng.normal(size=unary.shape)).astype(np.float32)
    model = frame_model(two_tiles, 3, normalisation)
    energy = unary.astype(float)
    terms = zip(model["kernels"], model["compatibilities"], strict=True)
    for kernel, mu in terms:
        energy = energy + Spread(kernel, normalisation)(start) @ mu.T
    found = mean_field(unary, **model, start=start, iterations=1)
    np.testing.assert_allclose(found, softmax(-energy), atol=1e-5)


@pytest.mark.parametrize("normalisation", KERNEL_NORMALISATIONS)
@pytest.mark.parametrize("classes", [2, 5])
def test_threads_change_nothing_on_large_frames(
    plume: FrameArray, rng: np.random.Generator, classes: int, normalisation: Any
) -> None:
    frame = np.tile(plume, (4, 4, 1))  # 49152 pixels are worth three threads
    noisy = frame ^ rng.integers(0, 8, frame.shape, dtype=np.uint8)
    unary = rng.exponential(1, (noisy[..., 0].size, classes)).astype(np.float32)
    model = frame_model(noisy, classes, normalisation)
    serial = mean_field(unary, **model, iterations=2, threads=1)
    np.testing.assert_array_equal(mean_field(unary, **model, iterations=2, threads=3), serial)


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_change_nothing(places: Floats, rng: np.random.Generator, threads: int) -> None:
    unary = np.tile(rng.exponential(1, (300, 3)), (20, 1)).astype(np.float32)
    features = np.tile(places, (20, 1)) + rng.normal(0, 0.1, (6000, 2)).astype(np.float32)

    def run(threads: int) -> Floats:
        kernel = feature_kernel(features, threads=threads)
        mu = -3 * np.eye(3)
        return mean_field(unary, [kernel], ["symmetric"], [mu], iterations=3, threads=threads)

    np.testing.assert_array_equal(run(threads), run(1))


def test_kernels_of_frames_are_gaussians_of_their_features(plume: FrameArray) -> None:
    frame = np.ascontiguousarray(plume[::4, ::4])  # (12, 16, 3)
    y, x = np.mgrid[:12, :16].reshape(2, -1)
    place = np.stack([x / 3, y / 2], 1)
    colour = np.concatenate(
        [np.stack([x, y], 1) / 4, frame.reshape(-1, 3) / 25], axis=1, dtype=np.float64
    )
    # Measured 0.060 and 0.062 of what the filter changes, 0.28 with the axes swapped.
    values = np.stack([x**2 / 60, (y % 6) ** 2 / 12, x * y / 99], axis=1).astype(np.float32)
    narrow = position_kernel(12, 16, sigma_x_pixels=3, sigma_y_pixels=2)
    wide = frame_kernel(frame, sigma_xy_pixels=4, sigma_rgb_levels=25)
    for kernel, features in ((narrow, place), (wide, colour)):
        exact = normalised(gaussian(features), "after") @ values
        error = np.linalg.norm(Spread(kernel, "after")(values) - exact)
        assert error < 0.15 * np.linalg.norm(exact - values)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"unary": np.zeros(9)}, "unary must have shape"),
        ({"unary": np.zeros((9, 0))}, "unary must have at least 1 class"),
        ({"unary": np.full((9, 2), np.nan)}, "unary must be finite"),
        ({"unary": np.full((9, 2), np.inf)}, "unary must be finite"),
        ({"unary": np.zeros((8, 2))}, "9 points"),
        ({"normalisations": []}, "as many normalisations"),
        ({"compatibilities": []}, "as many normalisations and compatibilities"),
        ({"normalisations": ["row"]}, "normalisation must be one of"),
        ({"compatibilities": [np.eye(3)]}, "compatibility 0 must have shape"),
        ({"compatibilities": [np.full((2, 2), np.inf)]}, "compatibility 0 must be finite"),
        ({"start": np.zeros((9, 3))}, "start must have shape"),
        ({"start": np.full((9, 2), np.nan)}, "start must be finite"),
        ({"iterations": -1}, "iterations must be at least 0"),
        ({"threads": -1}, "threads must be at least 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(bad: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "unary": np.zeros((9, 2)),
        "kernels": [feature_kernel(np.zeros((9, 2)))],
        "normalisations": ["symmetric"],
        "compatibilities": [-np.eye(2)],
        "iterations": 1,
    }
    with pytest.raises(ValueError, match=words):
        mean_field(**good | bad)


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((5, 0)), np.zeros((5, 17)), [[np.nan]]])
def test_features_that_are_none_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="features"):
        feature_kernel(bad)


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"sigma_x_pixels": 0}, "sigma_x_pixels"),
        ({"sigma_y_pixels": -1}, "sigma_y_pixels"),
        ({"sigma_x_pixels": np.nan}, "sigma_x_pixels"),
        ({"height": 0}, "height"),
        ({"width": -1}, "width"),
    ],
)
def test_position_kernels_of_no_frame_are_refused(
    bad: dict[str, Any], words: str, compatible: bool
) -> None:
    good: dict[str, Any] = {"height": 4, "width": 5, "sigma_x_pixels": 3, "sigma_y_pixels": 3}
    with pytest.raises(ValueError, match=words):
        position_kernel(**good | bad, compatible=compatible)


def test_frames_of_more_pixels_than_can_be_counted_are_refused() -> None:
    for height, width in ((2**32, 2**32), (2**16, 2**15), (1, 2**31)):
        with pytest.raises(ValueError, match="too large"):
            position_kernel(height, width, sigma_x_pixels=1, sigma_y_pixels=1)


def test_kernels_that_are_none_are_refused() -> None:
    unary = np.zeros((9, 2), np.float32)
    nothing: Any = None
    with pytest.raises(TypeError, match="kernels must be Lattice or PositionKernel"):
        _core.mean_field(unary, [nothing], ["none"], [np.eye(2, dtype=np.float32)], iterations=1)
