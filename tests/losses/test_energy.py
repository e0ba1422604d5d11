"""The DenseCRF loss: its formula, its gradient, its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from weakseg.arrays import FrameArray, Mask
from weakseg.losses.energy import DenseCrfLoss, dense_crf_loss


@pytest.fixture
def frames(plume: FrameArray) -> Tensor:
    """(1, 3, 48, 64) levels."""
    return torch.from_numpy(plume.astype(np.float32).transpose(2, 0, 1))[None]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def one_hot(mask: Mask) -> Tensor:
    return torch.from_numpy(np.stack([mask == 0, mask == 1])[None].astype(np.float32))


def exact_energy(
    probabilities: Tensor, frames: Tensor, roi: Tensor, *, sxy: float, srgb: float, degree: bool
) -> float:
    total = 0.0
    height, width = frames.shape[-2:]
    y, x = np.mgrid[:height, :width]
    for scores, frame, region in zip(probabilities, frames, roi, strict=True):
        f = np.concatenate(
            [np.stack([x, y]).reshape(2, -1) / sxy, frame.reshape(3, -1).numpy() / srgb]
        ).T
        a = np.exp(-0.5 * ((f[:, None] - f) ** 2).sum(-1))
        r = region.flatten().numpy()
        s = scores.flatten(1).numpy() * r
        if degree:
            root = 1 / np.sqrt(a @ r)
            a = root[:, None] * a * root / r.sum()
        total -= sum(row @ a @ row for row in s)
    return total / len(probabilities)


@pytest.mark.parametrize("normalisation", ["none", "degree"])
def test_float64_loss_is_the_formula(normalisation: Any) -> None:
    probabilities = draw(2, 3, 6, 7).softmax(1)
    frames = 128 + 40 * draw(2, 3, 6, 7, seed=1)
    roi = (draw(2, 6, 7, seed=2) > -0.5).double()
    found = dense_crf_loss(
        probabilities,
        frames,
        roi,
        sigma_rgb_levels=50,
        sigma_xy_pixels=4,
        scale=1,
        normalisation=normalisation,
    )
    exact = exact_energy(
        probabilities, frames, roi, sxy=4, srgb=50, degree=normalisation == "degree"
    )
    assert found.item() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("normalisation", ["none", "degree"])
def test_gradient_is_exact(normalisation: Any, scale: float) -> None:
    logits = draw(2, 2, 6, 5).requires_grad_()
    frames = 128 + 40 * draw(2, 3, 6, 5, seed=1)
    roi = (draw(2, 6, 5, seed=2) > -0.5).double()

    def loss(x: Tensor) -> Tensor:
        return dense_crf_loss(
            x.softmax(1), frames, roi, scale=scale, normalisation=normalisation, sigma_rgb_levels=60
        )

    assert torch.autograd.gradcheck(loss, (logits,))


@pytest.mark.parametrize("normalisation", ["none", "degree"])
def test_lattice_gradient_is_that_of_its_value(frames: Tensor, normalisation: Any) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float().requires_grad_()
    step = 0.5 * draw(1, 2, 48, 64, seed=3).float()

    def loss(x: Tensor) -> Tensor:
        return dense_crf_loss(x, frames, scale=1, normalisation=normalisation)

    (gradient,) = torch.autograd.grad(loss(probabilities), probabilities)
    # Central differences are exact for a quadratic; float32 sums leave some 1e-4.
    with torch.no_grad():
        slope = (loss(probabilities + step) - loss(probabilities - step)) / 2
    assert (gradient * step).sum().item() == pytest.approx(slope.item(), rel=5e-3)


def test_lattice_loss_is_near_the_exact_one(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1)
    found = dense_crf_loss(probabilities.float(), frames)
    exact = dense_crf_loss(probabilities, frames.double())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=0.01)


def test_energy_is_lowest_where_classes_follow_the_plume(frames: Tensor, plume_mask: Mask) -> None:
    right = one_hot(plume_mask)
    shifted = one_hot(np.roll(plume_mask, 20, axis=1))
    assert dense_crf_loss(right, frames) < dense_crf_loss(shifted, frames) - 0.02


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("size", [(16, 16), (48, 64)])
def test_degree_normalised_loss_does_not_grow_with_size_or_classes(
    frames: Tensor, classes: int, size: tuple[int, int]
) -> None:
    frame = torch.nn.functional.interpolate(frames, size)
    certain = torch.zeros(1, classes, *size)
    certain[:, 0] = 1
    even = torch.full((1, classes, *size), 1 / classes)
    top = dense_crf_loss(certain, frame).item()
    assert -1 - 1e-5 <= top < -0.9
    assert dense_crf_loss(even, frame).item() == pytest.approx(top / classes, rel=1e-4)


def test_batch_is_the_mean_of_its_frames(frames: Tensor) -> None:
    both = torch.cat([frames, frames.flip(3)])
    probabilities = draw(2, 2, 48, 64).softmax(1).float()
    apart = [dense_crf_loss(probabilities[i : i + 1], both[i : i + 1]) for i in range(2)]
    assert dense_crf_loss(probabilities, both).item() == pytest.approx(
        torch.stack(apart).mean().item(), rel=1e-5
    )


def test_pixels_outside_the_roi_do_not_count(frames: Tensor) -> None:
    roi = torch.ones(1, 48, 64)
    roi[:, :, 32:] = 0
    first = draw(1, 2, 48, 64).softmax(1).float()
    second = first.clone()
    second[..., 40:] = second[..., 40:].flip(1)
    assert torch.equal(dense_crf_loss(first, frames, roi), dense_crf_loss(second, frames, roi))
    first.requires_grad_()
    dense_crf_loss(first, frames, roi).backward()
    assert first.grad is not None
    assert first.grad[..., 33:].abs().max() == 0
    assert first.grad[..., :31].abs().max() > 0


def test_empty_roi_costs_nothing(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float().requires_grad_()
    loss = dense_crf_loss(probabilities, frames, torch.zeros(1, 48, 64))
    loss.backward()
    assert loss.item() == 0
    assert probabilities.grad is not None
    assert probabilities.grad.abs().max() == 0


def test_module_weighs_the_function(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    plain = dense_crf_loss(probabilities, frames, sigma_xy_pixels=30)
    weighted = DenseCrfLoss(weight=0.25, sigma_xy_pixels=30)(probabilities, frames)
    assert weighted.item() == pytest.approx(0.25 * plain.item())


def test_weight_zero_adds_nothing(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float().requires_grad_()
    loss = DenseCrfLoss(weight=0)(probabilities, frames)
    loss.backward()
    assert loss.item() == 0
    assert probabilities.grad is not None
    assert not probabilities.grad.any()


def test_half_precision_is_widened(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dense_crf_loss(probabilities, frames)
    loss.backward()
    assert loss.dtype == torch.float32
    assert probabilities.grad is not None
    assert probabilities.grad.dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_give_the_same_loss(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    loss = dense_crf_loss(probabilities.cuda(), frames.cuda())
    assert loss.device.type == "cuda"
    assert loss.item() == pytest.approx(dense_crf_loss(probabilities, frames).item(), rel=1e-5)


@pytest.mark.parametrize(
    "bad", [{"scale": 0}, {"scale": 2}, {"sigma_xy_pixels": 0}, {"normalisation": "row"}]
)
def test_settings_out_of_range_are_refused(frames: Tensor, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        dense_crf_loss(torch.ones(1, 1, 48, 64), frames, **bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        DenseCrfLoss(**bad)


def test_sizes_that_differ_are_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError, match="frames must have shape"):
        dense_crf_loss(torch.ones(1, 2, 48, 60), frames)
    with pytest.raises(ValueError, match="roi must have shape"):
        dense_crf_loss(torch.ones(1, 2, 48, 64), frames, torch.ones(1, 24, 32))
