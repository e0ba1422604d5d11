"""Mean-field inference: by hand, against pydensecrf, and its refusals."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from weakseg.arrays import FrameArray, Mask, Scores
from weakseg.errors import MissingExtraError
from weakseg.refine.crf import DenseCrf


@pytest.fixture
def blurred(plume_mask: Mask, rng: np.random.Generator) -> Scores:
    """(2, 48, 64): the plume's mask, blown up, uncertain and noisy, as a CAM would say it."""
    rows, columns = np.nonzero(plume_mask)
    y, x = np.mgrid[:48, :64]
    spread = ((y - rows.mean()) / 18) ** 2 + ((x - columns.mean()) / 12) ** 2
    smoke = 0.85 * np.exp(-0.5 * spread) + 0.05 * rng.random((48, 64))
    return np.stack([1 - smoke, smoke]).astype(np.float32)


def iou(scores: Scores, mask: Mask) -> float:
    found = scores[1] > 0.5
    return float((found & (mask == 1)).sum() / (found | (mask == 1)).sum())


def brute_force(frame: FrameArray, scores: Scores, crf: DenseCrf) -> Scores:
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    place = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    colour = frame.reshape(-1, 3) / crf.sigma_rgb_levels
    wide = np.concatenate([place / crf.sigma_xy_pixels, colour], 1)
    total = 0.0
    for weight, f in (
        (crf.gaussian_weight, place / crf.gaussian_sigma_xy_pixels),
        (crf.bilateral_weight, wide),
    ):
        kernel = np.exp(-0.5 * ((f[:, None] - f) ** 2).sum(-1))
        root = 1 / np.sqrt(kernel.sum(1))
        total = total + weight * root[:, None] * kernel * root
    unary = -np.log(np.clip(scores.reshape(2, -1).T, crf.unary_floor, 1))
    q = np.exp(-unary)
    for _ in range(crf.iterations):
        q = np.exp(-unary + total @ (q / q.sum(1, keepdims=True)))
    return (q / q.sum(1, keepdims=True)).T.reshape(scores.shape).astype(np.float32)


def test_crf_matches_brute_force(plume: FrameArray, blurred: Scores) -> None:
    frame, scores = plume[8:40, 8:48], blurred[:, 8:40, 8:48]
    crf = DenseCrf(gaussian_weight=1, bilateral_weight=2, sigma_xy_pixels=12, sigma_rgb_levels=20)
    exact = brute_force(frame, scores, crf)
    assert np.abs(exact - scores).mean() > 0.05
    # The lattice only approximates the kernels, and mean field amplifies that where classes meet:
    # measured 0.005 on average and 0.053 at most.
    error = np.abs(crf(frame, scores) - exact)
    assert error.mean() < 0.01
    assert error.max() < 0.1


def test_crf_draws_scores_to_the_plume(
    plume: FrameArray, plume_mask: Mask, blurred: Scores
) -> None:
    crf = DenseCrf(bilateral_weight=5, sigma_xy_pixels=20, sigma_rgb_levels=15)
    assert iou(crf(plume, blurred), plume_mask) > iou(blurred, plume_mask) + 0.05


@pytest.mark.parametrize("sigma_rgb_levels", [5.0, 15.0])
@pytest.mark.parametrize("symmetric", [False, True])
def test_native_and_pydensecrf_label_alike(
    plume: FrameArray, blurred: Scores, sigma_rgb_levels: float, symmetric: bool
) -> None:
    pytest.importorskip("pydensecrf.densecrf")
    settings: dict[str, Any] = {"sigma_rgb_levels": sigma_rgb_levels, "sigma_xy_pixels": 30}
    native = DenseCrf(**settings, symmetric=symmetric)(plume, blurred)
    reference = DenseCrf(**settings, backend="pydensecrf")(plume, blurred)
    same = (native.argmax(0) == reference.argmax(0)).mean()
    assert same >= 0.99
    assert 0.02 < reference.argmax(0).mean() < 0.98


@pytest.mark.parametrize("backend", ["native", "pydensecrf"])
def test_scores_stay_probabilities(plume: FrameArray, blurred: Scores, backend: Any) -> None:
    if backend == "pydensecrf":
        pytest.importorskip("pydensecrf.densecrf")
    refined = DenseCrf(backend=backend)(plume, blurred)
    assert refined.shape == blurred.shape
    assert refined.dtype == np.float32
    assert refined.flags.c_contiguous
    assert refined.min() >= 0
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)


def test_without_pairwise_terms_scores_stay(plume: FrameArray, blurred: Scores) -> None:
    refined = DenseCrf(gaussian_weight=0, bilateral_weight=0)(plume, blurred)
    np.testing.assert_allclose(refined, blurred, atol=1e-5)


def test_certain_scores_stay_finite(plume: FrameArray, plume_mask: Mask) -> None:
    scores = np.stack([plume_mask == 0, plume_mask == 1]).astype(np.float32)
    assert np.isfinite(DenseCrf()(plume, scores)).all()


def test_inputs_are_left_alone(plume: FrameArray, blurred: Scores) -> None:
    frame, scores = plume.copy(), blurred.copy()
    DenseCrf()(frame, scores)
    np.testing.assert_array_equal(frame, plume)
    np.testing.assert_array_equal(scores, blurred)


def test_threads_change_neither_result_nor_settings(plume: FrameArray, blurred: Scores) -> None:
    one, three = DenseCrf(threads=1), DenseCrf(threads=3)
    big = np.tile(plume, (4, 4, 1)), np.tile(blurred, (1, 4, 4))
    np.testing.assert_array_equal(one(*big), three(*big))
    assert one.settings() == three.settings()
    assert one.settings() != DenseCrf(iterations=4).settings()


def test_more_than_two_classes_work(plume: FrameArray, rng: np.random.Generator) -> None:
    scores = rng.dirichlet(np.ones(5), size=(48, 64)).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(DenseCrf()(plume, scores).sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, 0.7, -0.5])
def test_scores_that_are_no_probabilities_are_refused(
    plume: FrameArray, blurred: Scores, bad: float
) -> None:
    blurred[0, 3, 4] = blurred[1, 3, 4] = bad
    with pytest.raises(ValueError, match="sum to 1"):
        DenseCrf()(plume, blurred)


def test_other_sizes_and_types_are_refused(plume: FrameArray, blurred: Scores) -> None:
    with pytest.raises(ValueError, match="scores must have shape"):
        DenseCrf()(plume[:-1], blurred)
    with pytest.raises(ValueError, match="uint8"):
        DenseCrf()(plume.astype(np.float32), blurred)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"iterations": 0},
        {"bilateral_weight": -1},
        {"gaussian_weight": float("nan")},
        {"sigma_xy_pixels": 0},
        {"sigma_rgb_levels": float("inf")},
        {"unary_floor": 0},
        {"unary_floor": 2},
        {"threads": -1},
        {"backend": "gpu"},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DenseCrf(**bad)


def test_missing_extra_is_named(
    plume: FrameArray, blurred: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pydensecrf"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"weakseg\[crf\]"):
        DenseCrf(backend="pydensecrf")(plume, blurred)
