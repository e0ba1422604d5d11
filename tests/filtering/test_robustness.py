"""Whatever a lattice is given, it refuses in words or answers right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weakseg.arrays import FrameArray
from weakseg.filtering import (
    QUALITIES,
    Lattice,
    Quality,
    bilateral_features,
    bilateral_filter,
    position_features,
)

SIGMAS = {"sigma_xy_pixels": 8.0, "sigma_rgb_levels": 20.0}
BOTH = pytest.mark.parametrize("backend", ["native", "torch"])


@BOTH
@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf, -np.inf, 1e-60, 1e60, "3", None])
@pytest.mark.parametrize("name", ["sigma_xy_pixels", "sigma_rgb_levels"])
def test_sigma_out_of_range_is_refused(
    plume: FrameArray, name: str, bad: Any, backend: Any
) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        Lattice.from_image(plume, **{**SIGMAS, name: bad}, backend=backend)
    with pytest.raises(ValueError, match=f"{name} must"):
        bilateral_features(plume, **{**SIGMAS, name: bad})


@BOTH
@pytest.mark.parametrize("sigma", [1e-30, 1e-3, 1e3, 1e30])
def test_extreme_sigma_is_refused_or_right(sigma: float, backend: Any) -> None:
    black = np.zeros((3, 4, 3), np.uint8)
    sigmas = {"sigma_xy_pixels": sigma, "sigma_rgb_levels": sigma}
    if sigma < 1e-6:
        with pytest.raises(ValueError, match="1e6 standard deviations"):
            Lattice.from_image(black, **sigmas, backend=backend)
        return
    # A reach of a thousandth of a pixel joins nothing, one of a thousand pixels all.
    means = Lattice.from_image(black, **sigmas, backend=backend).filter(
        np.arange(12.0).reshape(1, 3, 4), normalisation="row"
    )
    expected = np.arange(12) if sigma < 1 else np.full(12, 5.5)
    np.testing.assert_allclose(means.ravel(), expected, rtol=1e-2, atol=1e-2)


@BOTH
@pytest.mark.parametrize(
    "shape", [(0, 4, 3), (4, 0, 3), (0, 4, 4, 3), (2, 0, 4, 3), (4, 4), (4, 4, 1), (1, 2, 4, 4, 3)]
)
def test_frame_of_another_shape_is_refused(shape: tuple[int, ...], backend: Any) -> None:
    with pytest.raises(ValueError, match="frame must"):
        Lattice.from_image(np.zeros(shape, np.uint8), **SIGMAS, backend=backend)
    with pytest.raises(ValueError, match=r"frame must .*shape"):
        Lattice.from_image(torch.zeros(shape), **SIGMAS, backend=backend)


@BOTH
@pytest.mark.parametrize("shape", [(0, 2), (4, 0), (0, 3, 2), (4,), (), (1, 1, 4, 2), (4, 17)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...], backend: Any) -> None:
    with pytest.raises(ValueError, match="features must"):
        Lattice(np.zeros(shape), backend=backend)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (1, 300), (2, 2)])
@BOTH
def test_thin_frames_are_filtered(
    size: tuple[int, int], backend: Any, rng: np.random.Generator
) -> None:
    frame = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    values = rng.random((2, *size), dtype=np.float32)
    features = bilateral_features(frame, **SIGMAS).astype(np.float64)
    weights = np.exp(-0.5 * ((features[:, None] - features) ** 2).sum(-1))
    exact = (weights @ values.reshape(2, -1).T / weights.sum(1, keepdims=True)).T
    lattice = Lattice.from_image(frame, **SIGMAS, backend=backend)
    means = lattice.filter(values, normalisation="row").reshape(2, -1)
    # Measured 4.5 % at most: a few scattered colours leave most of the lattice empty.
    assert np.linalg.norm(means - exact) < 0.06 * np.linalg.norm(exact)


@BOTH
def test_no_channels_give_none(plume: FrameArray, backend: Any) -> None:
    lattice = Lattice.from_image(plume, **SIGMAS, backend=backend)
    for shape in ((0, 48, 64), (48 * 64, 0)):
        for normalisation in ("none", "row", "symmetric"):
            assert lattice.filter(np.zeros(shape), normalisation=normalisation).shape == shape


@BOTH
@pytest.mark.parametrize(
    "shape", [(1, 64, 48), (48, 64), (3071, 1), (3072,), (), (1, 1, 48, 64), (1, 48, 63)]
)
def test_values_of_another_shape_are_refused(
    plume: FrameArray, shape: tuple[int, ...], backend: Any
) -> None:
    lattice = Lattice.from_image(plume, **SIGMAS, backend=backend)
    for values in (np.zeros(shape), torch.zeros(shape)):
        with pytest.raises(ValueError, match=r"values must have shape .*, got"):
            lattice.filter(values)


@BOTH
@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_another_length_are_refused(plume: FrameArray, batch: int, backend: Any) -> None:
    lattice = Lattice.from_image(np.stack([plume, plume]), **SIGMAS, backend=backend)
    for shape in ((batch, 1, 48, 64), (batch, 3072, 1)):
        with pytest.raises(ValueError, match=r"values must have shape \(2, .*, got"):
            lattice.filter(np.zeros(shape))


def test_mixed_devices_are_refused(plume: FrameArray) -> None:
    lattice = Lattice.from_image(plume, **SIGMAS)
    with pytest.raises(ValueError, match="values live on meta but the lattice on cpu"):
        lattice.filter(torch.zeros(1, 48, 64, device="meta"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [(np.nan, "finite"), (np.inf, "finite"), (-np.inf, "finite"), (1e30, "1e6 standard dev")],
)
def test_bad_level_is_refused_by_the_name_of_its_frame(
    plume: FrameArray, bad: float, words: str
) -> None:
    frames = np.stack([plume, plume, plume]).astype(np.float64)
    frames[2, 5, 6, 1] = bad
    with pytest.raises(ValueError, match=f"^frame 2 of the batch: .*{words}"):
        Lattice.from_image(frames, **SIGMAS)
    with pytest.raises(ValueError, match=f"^frame 2 of the batch: .*{words}"):
        Lattice.from_image(torch.from_numpy(frames).permute(0, 3, 1, 2), **SIGMAS)
    with pytest.raises(ValueError, match=words):
        Lattice.from_image(frames[2], **SIGMAS)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("normalisation", ["none", "row", "symmetric"])
def test_bad_value_stays_in_its_frame(
    plume: FrameArray, bad: float, normalisation: Any, backend: Any, rng: np.random.Generator
) -> None:
    lattice = Lattice.from_image(np.stack([plume, plume, plume]), **SIGMAS, backend=backend)
    values = rng.random((3, 2, 48, 64), dtype=np.float32)
    clean = lattice.filter(values, normalisation=normalisation)
    values[1, 0, 20, 30] = bad
    found = lattice.filter(values, normalisation=normalisation)
    np.testing.assert_array_equal(found[::2], clean[::2])
    assert not np.isfinite(found[1, 0, 20, 30])
    # Nor does it reach the other channel.
    np.testing.assert_array_equal(found[1, 1], clean[1, 1])


@BOTH
@pytest.mark.parametrize("levels", [-300.0, 1000.0, 1800.0])
def test_colours_beyond_bytes_are_right(
    plume: FrameArray, levels: float, backend: Any, rng: np.random.Generator
) -> None:
    values = rng.random((1, 48, 64), dtype=np.float32)
    wide = plume.astype(np.float32)
    base = Lattice.from_image(wide, **SIGMAS, backend=backend).filter(values, normalisation="row")
    wide += levels
    # A shift of all colours moves the lattice's grid under the points, and no more.
    found = Lattice.from_image(wide, **SIGMAS, backend=backend).filter(values, normalisation="row")
    assert np.linalg.norm(found - base) < 0.01 * np.linalg.norm(base)


@BOTH
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float16, ">f4", "f8"]
)
def test_any_real_type_is_the_same_frame(plume: FrameArray, dtype: Any, backend: Any) -> None:
    expected = Lattice.from_image(plume, **SIGMAS, backend=backend).degree
    found = Lattice.from_image(plume.astype(dtype), **SIGMAS, backend=backend).degree
    np.testing.assert_array_equal(found, expected)


@BOTH
@pytest.mark.parametrize(
    "bad", [np.zeros((4, 2), complex), np.full((4, 2), "a"), np.full((4, 2), None), [["a", "b"]]]
)
def test_other_types_are_refused(bad: Any, backend: Any) -> None:
    with pytest.raises(TypeError, match="features must hold real numbers"):
        Lattice(bad, backend=backend)
    with pytest.raises(TypeError, match="values must hold real numbers"):
        Lattice(np.zeros((4, 2)), backend=backend).filter(bad)


def test_complex_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match=r"features must hold real numbers, .* torch.complex64"):
        Lattice(torch.zeros(4, 2, dtype=torch.complex64))


@BOTH
def test_memory_of_any_order_is_read_right(
    plume: FrameArray, backend: Any, rng: np.random.Generator
) -> None:
    values = rng.random((2, 48, 64), dtype=np.float32)
    expected = Lattice.from_image(plume, **SIGMAS, backend=backend).filter(values)
    frozen, fixed = plume.copy(), values.copy()
    frozen.setflags(write=False)
    fixed.setflags(write=False)
    doubled = np.repeat(plume, 2, axis=1)
    for frame, given_values in (
        (np.asfortranarray(plume), np.asfortranarray(values)),
        (doubled[:, ::2], np.repeat(values, 2, axis=2)[..., ::2]),
        (plume[:, ::-1].copy()[:, ::-1], values[:, ::-1].copy()[:, ::-1]),
        (frozen, fixed),
    ):
        lattice = Lattice.from_image(frame, **SIGMAS, backend=backend)
        np.testing.assert_array_equal(lattice.filter(given_values), expected)
    planes = torch.from_numpy(plume).permute(2, 0, 1)
    turned = torch.from_numpy(values).permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not planes.is_contiguous()
    found = Lattice.from_image(planes, **SIGMAS, backend=backend).filter(turned)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("bad", "words"), [({"threads": -1}, "threads"), ({"backend": "cuda"}, "backend")]
)
def test_settings_out_of_range_are_refused(
    plume: FrameArray, bad: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=f"{words} must"):
        Lattice(np.zeros((4, 2)), **bad)
    with pytest.raises(ValueError, match=f"{words} must"):
        Lattice.from_image(plume, **SIGMAS, **bad)


def test_empty_frames_have_no_features() -> None:
    with pytest.raises(ValueError, match="height must be at least 1"):
        position_features(0, 3, sigma_xy_pixels=1)
    with pytest.raises(ValueError, match=r"frame must have shape"):
        bilateral_filter(np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4)), **SIGMAS)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 3),
    points=st.integers(1, 40),
    dims=st.integers(1, 16),
    channels=st.integers(0, 10),
    spread=st.sampled_from([0.0, 1e-4, 1.0, 1e3, 3e5]),
    symmetric=st.booleans(),
    quality=st.sampled_from(QUALITIES),
)
def test_both_backends_agree_on_anything(
    seed: int,
    batch: int,
    points: int,
    dims: int,
    channels: int,
    spread: float,
    symmetric: bool,
    quality: Quality,
) -> None:
    rng = np.random.default_rng(seed)
    features = (spread * rng.uniform(-1, 1, (batch, points, dims))).astype(np.float32)
    values = rng.normal(size=(batch, points, channels)).astype(np.float32)
    found = [
        Lattice(features, symmetric=symmetric, quality=quality, backend=backend).filter(
            values, normalisation="row"
        )
        for backend in ("native", "torch")
    ]
    bound = np.abs(values).max(axis=1, keepdims=True) if channels else 0
    for means in found:
        assert means.shape == values.shape
        assert np.all(np.abs(means) <= bound + 1e-4)
    if spread <= 1:
        np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)
