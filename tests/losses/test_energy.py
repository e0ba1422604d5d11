"""The DenseCRF loss: its formula, its gradient, its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from watch import READS_A_NUMBER, READS_A_SIZE, Watch

from weakseg.arrays import FrameArray, Mask
from weakseg.filtering import Lattice, lattice
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
    probabilities: Tensor,
    frames: Tensor,
    roi: Tensor,
    *,
    sxy: float,
    srgb: float,
    degree: bool,
    gate: Tensor | None = None,
) -> float:
    total = 0.0
    height, width = frames.shape[-2:]
    y, x = np.mgrid[:height, :width]
    gate = torch.ones_like(roi) if gate is None else gate
    for scores, frame, region, opening in zip(probabilities, frames, roi, gate, strict=True):
        f = np.concatenate(
            [np.stack([x, y]).reshape(2, -1) / sxy, frame.reshape(3, -1).numpy() / srgb]
        ).T
        a = np.exp(-0.5 * ((f[:, None] - f) ** 2).sum(-1))
        r = region.flatten().numpy()
        s = scores.flatten(1).numpy() * r
        if degree:
            root = 1 / np.sqrt(a @ r)
            a = root[:, None] * a * root / r.sum()
        total -= sum((opening.flatten().numpy() * row) @ a @ row for row in s)
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


def tiny_batch(*, roi: bool, ignore: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """(2, 3, 6, 5) float64 frames, and which of their pixels count."""
    maps = {"roi": draw(2, 6, 5, seed=2).sigmoid(), "ignore": draw(2, 6, 5, seed=3) > 1}
    chosen = {name: maps[name] for name, wanted in (("roi", roi), ("ignore", ignore)) if wanted}
    return 128 + 40 * draw(2, 3, 6, 5, seed=1), chosen


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("normalisation", ["none", "degree"])
@pytest.mark.parametrize("gate", ["none", "through"])
@pytest.mark.parametrize(("roi", "ignore"), [(False, False), (True, False), (True, True)])
def test_gradient_is_exact(
    normalisation: Any, scale: float, gate: Any, roi: bool, ignore: bool
) -> None:
    logits = draw(2, 2, 6, 5).requires_grad_()
    frames, maps = tiny_batch(roi=roi, ignore=ignore)
    if gate != "none":
        maps["unlabelled"] = draw(2, 6, 5, seed=4) > 0

    def loss(x: Tensor) -> Tensor:
        return dense_crf_loss(
            x.softmax(1),
            frames,
            **maps,
            scale=scale,
            normalisation=normalisation,
            gate=gate,
            sigma_rgb_levels=60,
        )

    assert torch.autograd.gradcheck(loss, (logits,))


@pytest.mark.parametrize("normalisation", ["none", "degree"])
@pytest.mark.parametrize("gate", ["fixed", "through"])
def test_gated_loss_is_its_formula(normalisation: Any, gate: Any) -> None:
    probabilities = draw(2, 3, 6, 5).softmax(1)
    frames, maps = tiny_batch(roi=True, ignore=False)
    unlabelled = draw(2, 6, 5, seed=4) > 0
    opening = (maps["roi"] - probabilities.amax(1)).clamp(min=0)
    opening[unlabelled] = 1
    settings: dict[str, Any] = {"scale": 1, "normalisation": normalisation, "gate": gate}
    found = dense_crf_loss(probabilities, frames, **maps, unlabelled=unlabelled, **settings)
    exact = exact_energy(
        probabilities,
        frames,
        maps["roi"],
        sxy=100,
        srgb=15,
        degree=normalisation == "degree",
        gate=opening,
    )
    assert found.item() == pytest.approx(exact, rel=1e-9)


def test_fixed_gate_has_the_gradient_of_a_constant_gate() -> None:
    probabilities = draw(1, 2, 6, 5).softmax(1).requires_grad_()
    frames = 128 + 40 * draw(1, 3, 6, 5, seed=1)
    settings: dict[str, Any] = {"scale": 1, "normalisation": "none", "sigma_rgb_levels": 60}
    loss = dense_crf_loss(probabilities, frames, gate="fixed", **settings)
    (found,) = torch.autograd.grad(loss, probabilities)

    y, x = torch.meshgrid(torch.arange(6), torch.arange(5), indexing="ij")
    features = torch.cat([torch.stack([x, y]).flatten(1) / 100, frames[0].flatten(1) / 60]).T
    weights = torch.exp(-0.5 * ((features[:, None] - features) ** 2).sum(-1))
    rows = probabilities[0].flatten(1)
    opening = (1 - rows.amax(0)).detach()
    (exact,) = torch.autograd.grad(-((opening * rows) * (rows @ weights)).sum(), probabilities)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=0)
    # The gradient in common use is another one: 2 g A S instead of g A S + A (g S).
    usual = -2 * (opening * (rows @ weights)).reshape(found.shape)
    assert (usual - exact).norm() > 0.05 * exact.norm()


def test_open_gate_is_no_gate(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    everywhere = torch.ones(1, 48, 64, dtype=torch.bool)
    gated = dense_crf_loss(probabilities, frames, unlabelled=everywhere, gate="fixed")
    assert gated.item() == pytest.approx(dense_crf_loss(probabilities, frames).item(), rel=1e-6)


def test_sure_pixels_close_the_gate(frames: Tensor, plume_mask: Mask) -> None:
    assert dense_crf_loss(one_hot(plume_mask), frames, scale=1, gate="fixed").item() == 0


@pytest.mark.parametrize(
    ("gate", "calls"), [("none", [2, 2]), ("fixed", [2, 3]), ("through", [2, 3])]
)
def test_one_filter_call_serves_value_and_gradient(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch, gate: Any, calls: list[int]
) -> None:
    made = []
    filter_once = Lattice.filter
    monkeypatch.setattr(Lattice, "filter", lambda *args: made.append(1) or filter_once(*args))
    both = torch.cat([frames, frames.flip(3)])
    probabilities = draw(2, 2, 48, 64).softmax(1).float().requires_grad_()
    # The degree takes one; a gate takes another, but only for the gradient.
    loss = dense_crf_loss(probabilities, both, gate=gate)
    before = len(made)
    loss.backward()
    assert [before, len(made)] == calls


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


@pytest.mark.parametrize("gate", ["none", "fixed"])
def test_ignored_pixels_are_outside_the_roi(frames: Tensor, gate: Any) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    ignore = draw(1, 48, 64, seed=5) > 0.5
    roi = draw(1, 48, 64, seed=6).sigmoid().float()
    found = dense_crf_loss(probabilities, frames, roi, ignore=ignore, gate=gate)
    outside = dense_crf_loss(probabilities, frames, roi * ~ignore, gate=gate)
    assert torch.equal(found, outside)
    assert found.item() != dense_crf_loss(probabilities, frames, roi, gate=gate).item()


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


def test_bytes_are_frames_too(frames: Tensor) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    found = dense_crf_loss(probabilities, frames.byte())
    assert found.item() == dense_crf_loss(probabilities, frames).item()


def test_frame_that_is_not_finite_is_named(frames: Tensor) -> None:
    both = torch.cat([frames, frames])
    both[1, 0, 2, 4] = torch.nan
    with pytest.raises(ValueError, match=r"frame 1 of the batch: .* finite"):
        dense_crf_loss(torch.ones(2, 1, 48, 64), both, scale=1)


@pytest.mark.parametrize("gate", ["none", "fixed", "through"])
@pytest.mark.parametrize("normalisation", ["none", "degree"])
def test_loss_stays_on_its_device(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch, normalisation: Any, gate: Any
) -> None:
    settings: dict[str, Any] = {"normalisation": normalisation, "gate": gate}
    probabilities = draw(1, 2, 48, 64).softmax(1).float().requires_grad_()
    native = dense_crf_loss(probabilities, frames, **settings)
    (gradient,) = torch.autograd.grad(native, probabilities)
    # What a CUDA tensor would take.
    monkeypatch.setattr(lattice, "_is_native", lambda *_: False)
    roi, ignore = torch.ones(1, 48, 64), torch.zeros(1, 48, 64, dtype=torch.bool)
    with Watch() as watch:
        loss = dense_crf_loss(probabilities, frames, roi, ignore=ignore, **settings)
        (found,) = torch.autograd.grad(loss, probabilities)
    assert not watch.names & READS_A_NUMBER
    assert watch.names & READS_A_SIZE == {"aten::unique_consecutive"}
    assert watch.targets == {None}
    # Measured: 1e-6; 5e-6 where the native lattice keeps weights in more than 16 bits.
    assert loss.item() == pytest.approx(native.item(), rel=1e-5)
    assert (found - gradient).norm() < 1e-5 * gradient.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("gate", ["none", "fixed", "through"])
def test_cuda_tensors_give_the_same_loss_and_gradient(frames: Tensor, gate: Any) -> None:
    probabilities = draw(1, 2, 48, 64).softmax(1).float()
    there = probabilities.cuda().requires_grad_()
    here = probabilities.requires_grad_()
    losses = [
        dense_crf_loss(given, frames.to(given.device), gate=gate, scale=1)
        for given in (here, there)
    ]
    sum(loss.to("cpu") for loss in losses).backward()
    assert losses[1].device.type == "cuda"
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    assert here.grad is not None
    assert there.grad is not None
    assert (there.grad.cpu() - here.grad).norm() < 1e-5 * here.grad.norm()


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": 0},
        {"scale": 2},
        {"sigma_xy_pixels": 0},
        {"sigma_rgb_levels": float("nan")},
        {"normalisation": "row"},
        {"gate": "open"},
    ],
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


def test_maps_of_another_kind_are_refused(frames: Tensor) -> None:
    probabilities = torch.ones(1, 2, 48, 64)
    with pytest.raises(TypeError, match=r"ignore must be bool, got torch.float32"):
        dense_crf_loss(probabilities, frames, ignore=torch.ones(1, 48, 64))
    with pytest.raises(ValueError, match="unlabelled must have shape"):
        dense_crf_loss(probabilities, frames, unlabelled=torch.ones(1, 48, 60, dtype=torch.bool))
    with pytest.raises(ValueError, match="gate is none"):
        dense_crf_loss(probabilities, frames, unlabelled=torch.ones(1, 48, 64, dtype=torch.bool))


def test_high_quality_is_nearer_to_the_formula(frames: Tensor, plume_mask: Mask) -> None:
    """On this plume: standard 5.0 % off, high 2.2 %."""
    settings: dict[str, Any] = {"sigma_xy_pixels": 20, "scale": 1, "normalisation": "none"}
    soft = 0.1 + 0.8 * one_hot(plume_mask)
    exact = dense_crf_loss(soft.double(), frames, **settings).item()
    standard, high = (
        DenseCrfLoss(quality=quality, **settings)(soft, frames).item()
        for quality in ("standard", "high")
    )

    assert abs(high - exact) < abs(standard - exact) < 0.1 * abs(exact)
