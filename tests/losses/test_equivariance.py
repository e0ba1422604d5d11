"""Activations should move with the frame; the terms are what the paper's formulas say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weakseg.losses import ClassificationLoss, EquivarianceLoss
from weakseg.losses.equivariance import hardest, over_smoke, second_view, to_strength
from weakseg.models import ActivationMaps, PcmClassifier

LABELS = torch.tensor([1.0, 0.0, 1.0])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def maps(cams: Tensor, refined: Tensor) -> ActivationMaps:
    return ActivationMaps(cams.mean(dim=(2, 3)), cams, refined)


class Brightness(nn.Module):
    """Its activations are the frame's own brightness: equivariant to mirrors, and to scale."""

    def forward(self, images: Tensor, *, with_maps: bool) -> ActivationMaps:
        cams = nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 8)
        return maps(cams, cams)


class Places(nn.Module):
    """Its activations know where in the frame they are, and not what is there."""

    def forward(self, images: Tensor, *, with_maps: bool) -> ActivationMaps:
        cams = torch.linspace(0, 5, images.shape[-1] // 8).expand(len(images), 1, 4, -1)
        return maps(cams, cams)


def test_terms_equal_the_formulas_by_hand() -> None:
    first = maps(drawn(3, 1, 4, 5), drawn(3, 1, 4, 5, seed=1).relu())
    second = maps(drawn(3, 1, 4, 5, seed=2), drawn(3, 1, 4, 5, seed=3).relu())
    er, ecr = EquivarianceLoss(hard_share=0.2).terms(first, second, LABELS)

    def strength(x: float) -> float:
        return 2 / (1 + math.exp(-max(0.0, x))) - 1

    expected_er, expected_ecr = [], []
    for frame in (0, 2):
        p, r, q, s = (
            [strength(x) for x in tensor[frame].flatten().tolist()]
            for tensor in (first.cams, first.refined, second.cams, second.refined)
        )
        expected_er.append(sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 20)
        crossed = 0.0
        for one, other in ((r, q), (p, s)):
            worst = sorted((abs(a - b) for a, b in zip(one, other, strict=True)), reverse=True)
            crossed += sum(worst[:4]) / 4  # 20 % of 20 positions
        expected_ecr.append(crossed)
    assert float(er) == pytest.approx(sum(expected_er) / 2)
    assert float(ecr) == pytest.approx(sum(expected_ecr) / 2)


@pytest.mark.parametrize("strength", ["logistic", "max"])
@pytest.mark.parametrize("mirror", [False, True])
def test_gradients_are_exact(strength: str, mirror: bool) -> None:
    loss = EquivarianceLoss(strength=strength, mirror=mirror)
    tensors = [
        drawn(3, 1, 6, 6).requires_grad_(),
        drawn(3, 1, 6, 6, seed=1).abs().requires_grad_(),
        drawn(3, 1, 3, 3, seed=2).requires_grad_(),
        drawn(3, 1, 6, 6, seed=3).abs().requires_grad_(),
    ]

    a, b, c, d = tensors

    def er(plain: Tensor, other: Tensor) -> Tensor:
        return loss.terms(maps(plain, b), maps(other, d), LABELS)[0]

    def ecr(refined: Tensor, other: Tensor) -> Tensor:
        return loss.terms(maps(a, refined), maps(c, other), LABELS)[1]

    assert torch.autograd.gradcheck(er, (a, c))
    assert torch.autograd.gradcheck(ecr, (b, d))


def test_each_term_teaches_its_own_maps_only() -> None:
    tensors = [drawn(3, 1, 4, 4, seed=seed).requires_grad_() for seed in range(4)]
    a, b, c, d = tensors
    first, second = maps(a, b.abs()), maps(c, d.abs())
    for term, learners in zip(
        EquivarianceLoss().terms(first, second, LABELS), ((a, c), (b, d)), strict=True
    ):
        found = torch.autograd.grad(term, tensors, allow_unused=True)
        for tensor, gradient in zip(tensors, found, strict=True):
            reached = gradient is not None and bool(gradient.any())
            assert reached is any(tensor is learner for learner in learners)


@pytest.mark.parametrize("strength", ["logistic", "max"])
@pytest.mark.parametrize("seed", range(5))
def test_terms_are_bounded(strength: str, seed: int) -> None:
    loss = EquivarianceLoss(strength=strength)
    first, second = (
        maps(30 * drawn(3, 1, 8, 8, seed=s), 30 * drawn(3, 1, 8, 8, seed=s + 9).relu())
        for s in (seed, seed + 50)
    )
    er, ecr = loss.terms(first, second, LABELS)
    assert 0 <= er <= 1
    assert 0 <= ecr <= 2


def test_smoke_free_frames_do_not_count() -> None:
    first, second = (maps(drawn(3, 1, 4, 4, seed=s), drawn(3, 1, 4, 4).abs()) for s in (0, 1))
    loss = EquivarianceLoss()
    every = loss.terms(first, second, LABELS)
    changed = maps(first.cams.clone(), first.refined.clone())
    changed.cams[1] += 9
    torch.testing.assert_close(loss.terms(changed, second, LABELS), every)
    assert [float(x) for x in loss.terms(first, second, torch.zeros(3))] == [0, 0]


def test_equal_views_cost_nothing_and_different_ones_do() -> None:
    images = torch.zeros(3, 3, 64, 64)
    images[:, :, 16:40, 8:32] = 1
    loss = EquivarianceLoss(scales=(0.5, 0.5), mirror=True)
    seen = loss.of_model(Brightness(), images, LABELS)
    # What is left is the blur of an antialiased copy: 0.037 and 0.14 here, doubled for safety.
    assert seen["er"] < 0.08
    blind = loss.of_model(Places(), images, LABELS)
    assert blind["er"] > 3 * seen["er"]
    assert blind["ecr"] > 2 * seen["ecr"]


def test_total_is_the_weighted_sum(rng: Any) -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss = EquivarianceLoss(er_weight=0.5, ecr_weight=3.0)
    found = loss.of_model(Places(), images, LABELS)
    expected = found["classification"] + 0.5 * found["er"] + 3 * found["ecr"]
    torch.testing.assert_close(found["loss"], expected)
    assert set(found) == {"loss", "classification", "er", "ecr"}


def test_without_weights_it_is_plain_classification() -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss = EquivarianceLoss(er_weight=0, ecr_weight=0, label_smoothing=0.1)
    found = loss.of_model(Brightness(), images, LABELS)
    logits = Brightness()(images, with_maps=True).logits
    expected = ClassificationLoss(label_smoothing=0.1)(logits, LABELS)
    assert set(found) == {"loss"}
    torch.testing.assert_close(found["loss"], expected)


def test_second_view_is_small_mirrored_and_fits_the_strides() -> None:
    images = torch.zeros(1, 3, 128, 224)
    images[..., :112] = 1
    small = second_view(images, scale=0.5, mirror=True)
    assert small.shape == (1, 3, 64, 128)  # 112 is no multiple of 32
    assert float(small[..., :50].max()) == 0
    assert float(small[..., -50:].min()) == pytest.approx(1)
    assert second_view(images, scale=0.01, mirror=False).shape[-2:] == (32, 32)


def test_size_of_the_second_view_is_drawn_from_the_generator() -> None:
    sides: list[int] = []

    def model(images: Tensor, *, with_maps: bool) -> ActivationMaps:
        sides.append(images.shape[-1])
        return maps(torch.zeros(len(images), 1, 2, 2), torch.zeros(len(images), 1, 2, 2))

    images, loss = torch.zeros(1, 3, 320, 320), EquivarianceLoss(scales=(0.3, 0.9))
    for seed in (0, 0, *range(20)):
        generator = torch.Generator().manual_seed(seed)
        loss.of_model(model, images, torch.ones(1), generator=generator)
    drawn_sides = sides[1::2]
    assert drawn_sides[0] == drawn_sides[1]
    assert len(set(drawn_sides)) > 2
    assert 96 <= min(drawn_sides) <= max(drawn_sides) <= 288


def test_strength_is_zero_at_the_border_and_saturates() -> None:
    cams = torch.tensor([-5.0, 0.0, math.log(3), 50.0]).view(1, 1, 2, 2)
    assert to_strength(cams, "logistic").flatten().tolist() == pytest.approx([0, 0, 0.5, 1])
    assert to_strength(cams, "max").flatten()[-1] == 1
    # One scale for all frames: faint evidence stays faint, but not by its own maximum.
    assert float(to_strength(0.01 * cams.clamp(max=1), "logistic").max()) < 0.01
    assert float(to_strength(0.01 * cams.clamp(max=1), "max").max()) == 1


def test_hardest_takes_at_least_one() -> None:
    differences = torch.tensor([[0.1, 0.9, 0.5, 0.3]])
    assert hardest(differences, 0.5).tolist() == pytest.approx([0.7])
    assert hardest(differences, 0.01).tolist() == pytest.approx([0.9])
    assert hardest(differences, 1.0).tolist() == pytest.approx([0.45])
    assert over_smoke(torch.tensor([1.0, 5.0, 3.0]), LABELS) == 2


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"scales": [0.5]}, "scales must be"),
        ({"scales": [0.7, 0.3]}, "scales must be"),
        ({"scales": [0.0, 0.3]}, "scales must be"),
        ({"hard_share": 0}, "hard_share"),
        ({"er_weight": -1}, "er_weight"),
        ({"strength": "softmax"}, "strength must be one of logistic, max"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EquivarianceLoss(**given)


def test_every_part_of_the_classifier_learns() -> None:
    torch.manual_seed(0)
    model = PcmClassifier("test_resnet", weights=None)
    with torch.no_grad():
        model.activation.weight.mul_(30)
    images = torch.rand(3, 3, 64, 64)
    found = EquivarianceLoss().of_model(model, images, LABELS)
    assert found["er"] > 0
    assert found["ecr"] > 0
    found["loss"].backward()
    new = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name in new if not name.startswith("backbone")} == {
        *("activation.weight", "activation.bias", "correlation.embed.weight"),
        *("correlation.reduce_shallow.weight", "correlation.reduce_deep.weight"),
    }
    assert "backbone.conv1.0.weight" in new


def test_training_by_it_lowers_its_terms() -> None:
    torch.manual_seed(0)
    model = PcmClassifier("test_resnet", weights=None)
    with torch.no_grad():
        model.activation.weight.mul_(30)
    images, loss = torch.rand(3, 3, 64, 64), EquivarianceLoss(scales=(0.5, 0.5))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    told = []
    for _ in range(12):
        losses = loss.of_model(model, images, LABELS)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        told.append(losses["loss"].item())
    assert told[-1] < 0.7 * told[0]
