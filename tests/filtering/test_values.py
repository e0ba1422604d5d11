"""What a lattice takes and gives: frames and points, one or a batch, NumPy or torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from weakseg.arrays import FrameArray
from weakseg.filtering import BACKENDS, QUALITIES, Lattice, Quality, bilateral_features
from weakseg.filtering.exact import exact_filter

SIGMAS = {"sigma_xy_pixels": 8.0, "sigma_rgb_levels": 20.0}
NORMALISATIONS = ["none", "row", "symmetric"]


@pytest.fixture
def frames(plume: FrameArray) -> FrameArray:
    """(2, 48, 64, 3) uint8."""
    return np.stack([plume, plume[:, ::-1]])


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    """(2, 3, 48, 64) float32."""
    return rng.random((2, 3, 48, 64), dtype=np.float32)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def opponent_features(frame: FrameArray) -> np.ndarray:
    """`bilateral_features` in another basis of the colours, as long and as far from each other."""
    x, y, *colours = bilateral_features(frame, **SIGMAS).T
    r, g, b = colours
    c, d, grey = (r - b) / 2**0.5, (r - 2 * g + b) / 6**0.5, (r + g + b) / 3**0.5
    return np.stack([x, y, c, d, grey], axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_image_lattice_is_that_of_its_opponent_features(
    plume: FrameArray, values: np.ndarray, normalisation: Any, backend: Any, quality: Quality
) -> None:
    planes = values[0]
    rows = planes.reshape(3, -1).T
    image = Lattice.from_image(plume, **SIGMAS, quality=quality, backend=backend)
    points = Lattice(opponent_features(plume), quality=quality, backend=backend)
    assert image.points == points.points == 48 * 64
    # Rounding puts some points on the other side of a border: that may use another vertex.
    # Measured: 1 of 683 vertices, and sums off by 0.07 %.
    assert image.vertices == pytest.approx(points.vertices, rel=0.01)
    assert relative_error(image.degree, points.degree) < 3e-3
    by_planes = image.filter(planes, normalisation=normalisation)
    by_rows = points.filter(rows, normalisation=normalisation)
    assert by_planes.shape == planes.shape
    assert by_planes.dtype == np.float32
    assert relative_error(by_planes.reshape(3, -1).T, by_rows) < 3e-3
    np.testing.assert_array_equal(
        image.filter(rows, normalisation=normalisation), by_planes.reshape(3, -1).T
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_batch_of_frames_is_its_frames(
    frames: FrameArray, values: np.ndarray, normalisation: Any, backend: Any
) -> None:
    batch = Lattice.from_image(frames, **SIGMAS, backend=backend)
    each = [Lattice.from_image(frame, **SIGMAS, backend=backend) for frame in frames]
    assert batch.vertices == sum(one.vertices for one in each)
    assert batch.degree.shape == (2, 48 * 64)
    found = batch.filter(values, normalisation=normalisation)
    for one, planes, sums in zip(each, values, found, strict=True):
        np.testing.assert_allclose(
            sums, one.filter(planes, normalisation=normalisation), rtol=1e-5, atol=1e-6
        )
    rows = np.moveaxis(values.reshape(2, 3, -1), 1, 2)
    by_rows = batch.filter(rows, normalisation=normalisation)
    np.testing.assert_array_equal(np.moveaxis(by_rows, 2, 1).reshape(values.shape), found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_of_points_is_its_sets(rng: np.random.Generator, backend: Any) -> None:
    features = rng.normal(size=(3, 70, 4)).astype(np.float32)
    values = rng.random((3, 70, 2), dtype=np.float32)
    found = Lattice(features, backend=backend).filter(values)
    each = [
        Lattice(points, backend=backend).filter(rows)
        for points, rows in zip(features, values, strict=True)
    ]
    np.testing.assert_allclose(found, np.stack(each), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_tensors_give_tensors(
    frames: FrameArray, values: np.ndarray, normalisation: Any, backend: Any
) -> None:
    arrays = Lattice.from_image(frames, **SIGMAS, backend=backend)
    tensors = Lattice.from_image(
        torch.from_numpy(frames).permute(0, 3, 1, 2), **SIGMAS, backend=backend
    )
    expected = arrays.filter(values, normalisation=normalisation)
    found = tensors.filter(torch.from_numpy(values), normalisation=normalisation)
    assert isinstance(found, Tensor)
    assert isinstance(tensors.degree, Tensor)
    # Equal but for the rounding of 1 / sqrt(degree).
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    # Each kind of values by a lattice of the other kind.
    across = tensors.filter(values, normalisation=normalisation)
    assert isinstance(across, np.ndarray)
    np.testing.assert_allclose(across, expected, rtol=1e-5)
    assert isinstance(arrays.filter(torch.from_numpy(values)), Tensor)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.bool],
)
def test_floating_type_comes_back(dtype: torch.dtype, backend: Any) -> None:
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    values = torch.arange(100).reshape(50, 2).to(dtype)
    found = Lattice(features, backend=backend).filter(values, normalisation="row")
    exact = Lattice(features, backend=backend).filter(values.float(), normalisation="row")
    assert found.dtype == (dtype if dtype.is_floating_point else torch.float32)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float64 else {}
    torch.testing.assert_close(found, exact.to(found.dtype), **tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(
    ("quality", "symmetric"), [("standard", True), ("standard", False), ("high", True)]
)
def test_gradient_is_the_transpose(
    normalisation: Any, quality: Quality, symmetric: bool, backend: Any
) -> None:
    generator = torch.Generator().manual_seed(0)
    features = 2 * torch.randn(2, 40, 3, generator=generator)
    made = Lattice(features, quality=quality, symmetric=symmetric, backend=backend)
    x = torch.randn(2, 40, 2, generator=generator, requires_grad=True)
    y = torch.randn(2, 40, 2, generator=generator, requires_grad=True)
    sums = made.filter(x, normalisation=normalisation)
    (transposed,) = torch.autograd.grad((sums * y).sum(), x, create_graph=True)
    # x' (A' y) is (A x)' y, and A' is linear too.
    assert (x * transposed).sum().item() == pytest.approx((sums * y).sum().item(), rel=1e-4)
    (again,) = torch.autograd.grad((transposed * x.detach()).sum(), y)
    torch.testing.assert_close(again, sums, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(
    ("quality", "symmetric"), [("standard", True), ("standard", False), ("high", False)]
)
def test_gradient_of_the_torch_lattice_is_exact(
    normalisation: Any, quality: Quality, symmetric: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 8, 2, generator=generator)
    made = Lattice(features, quality=quality, symmetric=symmetric, backend="torch")
    values = torch.randn(1, 8, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def filter_once(x: Tensor) -> Tensor:
        return made.filter(x, normalisation=normalisation)

    assert torch.autograd.gradcheck(filter_once, (values,))
    assert torch.autograd.gradgradcheck(filter_once, (values,))


def test_exact_filter_is_the_sum_over_pairs(rng: np.random.Generator) -> None:
    features, values = rng.normal(size=(2, 30, 3)), rng.random((2, 30, 2))
    found = exact_filter(torch.from_numpy(values), torch.from_numpy(features)).numpy()
    weights = np.exp(-0.5 * ((features[:, :, None] - features[:, None]) ** 2).sum(-1))
    np.testing.assert_allclose(found, weights @ values, rtol=1e-12)


def test_exact_filter_goes_in_parts(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, values = (torch.from_numpy(rng.normal(size=(1, 30, 3))) for _ in range(2))
    whole = exact_filter(values, features)
    monkeypatch.setattr("weakseg.filtering.exact._PAIRS_AT_ONCE", 100)
    torch.testing.assert_close(exact_filter(values, features), whole, rtol=1e-12, atol=0)
