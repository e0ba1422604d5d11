"""CAM formulas agree with loops over channels and positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weakseg.cam.weighting import GRADIENT_METHODS, cam, grad_cam, grad_cam_pp

A = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
G = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def by_hand(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """One picture's map from (D, h, w) activations and gradients, as the papers write it."""
    total = np.zeros(a.shape[1:])
    for k in range(len(a)):
        plain = g[k] / g[k].size  # the gradient without the factor h*w
        alpha = plain**2 / (2 * plain**2 + max(a[k].sum(), 0) * plain**3)
        weight = {
            "grad_cam": plain.sum(),
            "grad_cam_pp": (alpha * np.maximum(plain, 0)).sum(),
            "layer_cam": np.maximum(g[k], 0),
            "hires_cam": g[k],
        }[method]
        total += weight * a[k]
    return np.maximum(total, 0)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_maps_match_the_papers_formulas(method: str) -> None:
    found = GRADIENT_METHODS[method](A, G)
    expected = np.stack([by_hand(method, a.numpy(), g.numpy()) for a, g in zip(A, G, strict=True)])
    assert found.dtype == torch.float32
    # Float32 rounding of the result.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert expected.max() > 0.1


def test_cam_is_each_positions_own_logit_where_positive() -> None:
    weights, bias = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.25
    expected = np.maximum(np.einsum("bdhw,d->bhw", A.numpy(), weights.numpy()) + bias, 0)
    np.testing.assert_allclose(cam(A, weights, bias), expected, rtol=1e-6, atol=1e-7)


def test_grad_cam_equals_cam_behind_an_average_pool() -> None:
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    constant = weights.view(1, 3, 1, 1).expand_as(A)
    torch.testing.assert_close(grad_cam(A, constant), cam(A, weights))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_values_do_not_depend_on_the_resolution(method: str) -> None:
    twice = [t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (A, G)]
    small = GRADIENT_METHODS[method](A, G)
    large = GRADIENT_METHODS[method](*twice)
    torch.testing.assert_close(large[:, ::2, ::2], small)


def test_negative_activations_do_not_blow_up_grad_cam_pp() -> None:
    # Without the clamp the denominator 2 + mean(A) G is zero here.
    a, g = torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 2.0)
    assert grad_cam_pp(a, g).isfinite().all()


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="gradients must have shape"):
        grad_cam(A, G[..., :-1])
