"""The side losses of FoSp: their definitions pixel by pixel, what ignored pixels do, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from weakseg.labels import IGNORE, SMOKE
from weakseg.losses.fosp import binary_cross_entropy, fosp_side_loss, soft_iou


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def mask() -> Tensor:
    mask = torch.randint(0, 2, (3, 5, 4), generator=torch.Generator().manual_seed(1))
    mask[0, :2] = IGNORE
    mask[2] = IGNORE  # a frame all ignored
    return mask


@pytest.fixture
def weight() -> Tensor:
    return torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def brute_cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor) -> float:
    """Sum -log of the probability of the truth, pixel by pixel; the divisor counts pixels."""
    total, pixels = 0.0, 0
    for logit, label, heaviness in zip(
        logits.flatten().tolist(), truth.flatten().tolist(), weight.flatten().tolist(), strict=True
    ):
        if label != IGNORE:
            smoke = 1 / (1 + math.exp(-logit))
            total -= heaviness * math.log(smoke if label == SMOKE else 1 - smoke)
            pixels += 1
    return total / pixels


def brute_iou_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> float:
    losses = []
    for frame in range(len(logits)):
        shared = covered = 1.0
        for y in range(logits.shape[1]):
            for x in range(logits.shape[2]):
                if truth[frame, y, x] == IGNORE:
                    continue
                found = 1 / (1 + math.exp(-float(logits[frame, y, x])))
                true = float(truth[frame, y, x] == SMOKE)
                shared += float(weight[frame, y, x]) * found * true
                covered += float(weight[frame, y, x]) * (found + true - found * true)
        if (truth[frame] != IGNORE).any():
            losses.append(1 - shared / covered)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", ["focus", "quarter", "foreground", "judge"])
def test_sides_are_held_against_the_mask(
    name: str, logits: Tensor, mask: Tensor, weight: Tensor
) -> None:
    found = fosp_side_loss({name: logits}, mask, weight=weight, iou_weight=0.7)
    expected = brute_cross_entropy(logits, mask, weight) + 0.7 * brute_iou_loss(
        logits, mask, weight
    )
    assert found.keys() == {name}
    assert float(found[name]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("iou_weight", [0.0, 0.7])
def test_the_background_may_show_no_smoke_anywhere(
    iou_weight: float, logits: Tensor, mask: Tensor, weight: Tensor
) -> None:
    found = fosp_side_loss({"background": logits}, mask, weight=weight, iou_weight=iou_weight)
    smoke_free = torch.where(mask == IGNORE, IGNORE, 0)
    expected = brute_cross_entropy(logits, smoke_free, weight)
    assert float(found["background"]) == pytest.approx(expected, rel=1e-12)


def test_without_weights_every_pixel_counts_one(logits: Tensor, mask: Tensor) -> None:
    ones = torch.ones_like(logits)
    torch.testing.assert_close(
        binary_cross_entropy(logits, mask), binary_cross_entropy(logits, mask, weight=ones)
    )
    torch.testing.assert_close(soft_iou(logits, mask), soft_iou(logits, mask, weight=ones))


def test_cross_entropy_is_that_of_torch(logits: Tensor, mask: Tensor) -> None:
    keep = mask != IGNORE
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[keep], mask[keep].to(logits.dtype)
    )
    torch.testing.assert_close(binary_cross_entropy(logits, mask), expected)


def test_iou_of_a_sure_and_right_answer_costs_nothing(mask: Tensor) -> None:
    sure = torch.where(mask == SMOKE, 100.0, -100.0)
    assert float(soft_iou(sure, mask)) == pytest.approx(0.0, abs=1e-6)
    assert float(soft_iou(-sure, mask)) > 0.5


def test_nothing_found_where_nothing_is_costs_nothing() -> None:
    nothing = torch.full((2, 3, 3), -100.0)
    assert float(soft_iou(nothing, torch.zeros(2, 3, 3, dtype=torch.int64))) < 1e-6


def test_all_ignored_costs_nothing_and_pulls_nowhere(logits: Tensor) -> None:
    logits.requires_grad_()
    ignored = torch.full((3, 5, 4), IGNORE)
    sides = {"focus": logits, "background": logits}
    whole = torch.stack(list(fosp_side_loss(sides, ignored, iou_weight=1.0).values())).sum()
    whole.backward()
    assert float(whole.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", ["focus", "background"])
def test_gradients_are_exact(name: str, logits: Tensor, mask: Tensor, weight: Tensor) -> None:
    def loss(values: Tensor) -> Tensor:
        return fosp_side_loss({name: values}, mask, weight=weight, iou_weight=0.5)[name]

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


def test_half_precision_is_summed_in_full(mask: Tensor, logits: Tensor) -> None:
    half = logits.bfloat16()
    found = fosp_side_loss({"focus": half}, mask, iou_weight=1.0)["focus"]
    assert found.dtype == torch.float32
    expected = fosp_side_loss({"focus": half.double()}, mask, iou_weight=1.0)["focus"]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sides", "settings", "words"),
    [
        ({"focus": torch.zeros(3, 1, 5, 4)}, {}, "logits must have shape"),
        ({"focus": torch.zeros(3, 5, 5)}, {}, "mask must have shape"),
        ({"focus": torch.zeros(3, 5, 4)}, {"iou_weight": -1.0}, "iou_weight must be at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    sides: dict[str, Tensor], settings: dict[str, float], words: str, mask: Tensor
) -> None:
    with pytest.raises(ValueError, match=words):
        fosp_side_loss(sides, mask, **settings)
