"""The loss of masks: its reductions, its gradient, what ignored pixels do, its refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from weakseg.labels import IGNORE
from weakseg.losses import masked_cross_entropy, segmentation_loss, soft_dice


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def mask() -> Tensor:
    mask = torch.randint(0, 2, (3, 5, 4), generator=torch.Generator().manual_seed(1))
    mask[0, :2] = IGNORE
    mask[2] = IGNORE  # a frame all ignored
    return mask


def test_without_dice_it_is_plain_cross_entropy(logits: Tensor, mask: Tensor) -> None:
    weights = [0.5, 2.0]
    plain = functional.cross_entropy(
        logits, mask, weight=torch.tensor(weights, dtype=logits.dtype), ignore_index=IGNORE
    )
    found = segmentation_loss(logits, mask, dice_weight=0.0, class_weights=weights)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(
        segmentation_loss(logits, mask, dice_weight=0.0),
        functional.cross_entropy(logits, mask, ignore_index=IGNORE),
    )


def test_the_parts_add_up(logits: Tensor, mask: Tensor) -> None:
    whole = segmentation_loss(logits, mask, dice_weight=0.7)
    parts = masked_cross_entropy(logits, mask) + 0.7 * soft_dice(logits, mask)
    torch.testing.assert_close(whole, parts)


def test_dice_agrees_with_its_definition(logits: Tensor, mask: Tensor) -> None:
    expected = []
    for one_logits, one_mask in zip(logits[:2], mask[:2], strict=True):
        keep = one_mask != IGNORE
        found = one_logits.softmax(0)[1][keep]
        truth = (one_mask[keep] == 1).to(found.dtype)
        expected.append(1 - (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1))
    torch.testing.assert_close(soft_dice(logits, mask), torch.stack(expected).mean())


def test_a_frame_all_ignored_changes_nothing(logits: Tensor, mask: Tensor) -> None:
    torch.testing.assert_close(
        segmentation_loss(logits, mask), segmentation_loss(logits[:2], mask[:2])
    )


def test_nothing_to_learn_from_is_zero_without_gradient(logits: Tensor) -> None:
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full((3, 5, 4), IGNORE), class_weights=[1.0, 3.0])
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_do_not_count(logits: Tensor, mask: Tensor) -> None:
    changed = torch.where((mask == IGNORE)[:, None], logits + 5 * torch.rand_like(logits), logits)
    torch.testing.assert_close(segmentation_loss(changed, mask), segmentation_loss(logits, mask))


def test_weights_of_one_change_nothing_and_doubt_makes_it_quieter(
    logits: Tensor, mask: Tensor
) -> None:
    ones = torch.ones(3, 5, 4, dtype=logits.dtype)
    torch.testing.assert_close(
        segmentation_loss(logits, mask, weight=ones), segmentation_loss(logits, mask)
    )
    plain = masked_cross_entropy(logits, mask)
    torch.testing.assert_close(masked_cross_entropy(logits, mask, weight=ones / 2), plain / 2)


def test_pixels_of_no_weight_do_not_move(logits: Tensor, mask: Tensor) -> None:
    logits.requires_grad_()
    weight = torch.ones(3, 5, 4)
    weight[1, 3] = 0
    segmentation_loss(logits, mask, weight=weight).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[1, :, 3], torch.zeros(2, 4, dtype=logits.dtype))
    assert (logits.grad[1, :, 2] != 0).all()


def test_the_gradient_is_exact(logits: Tensor, mask: Tensor) -> None:
    weight = torch.rand(3, 5, 4, dtype=logits.dtype)

    def loss(x: Tensor) -> Tensor:
        return segmentation_loss(x, mask, weight=weight, dice_weight=0.6, class_weights=[1.0, 2.0])

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


def test_a_perfect_answer_costs_next_to_nothing(mask: Tensor) -> None:
    sure = 40.0 * functional.one_hot(torch.where(mask == IGNORE, 0, mask), 2).movedim(-1, 1)
    assert float(segmentation_loss(sure, mask)) < 1e-6
    assert float(segmentation_loss(-sure, mask)) > 10
    clear = torch.zeros(1, 4, 4, dtype=torch.int64)
    nothing = torch.stack([torch.full((1, 4, 4), 40.0), torch.zeros(1, 4, 4)], dim=1)
    assert float(soft_dice(nothing, clear)) < 1e-6  # nothing found where nothing is


def test_more_classes_and_half_precision_work() -> None:
    mask = torch.tensor([[[0, 1, 2, IGNORE]]])
    loss = segmentation_loss(torch.zeros(1, 3, 1, 4, dtype=torch.bfloat16), mask)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_shapes_and_settings_are_checked(logits: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match="mask must have shape"):
        segmentation_loss(logits, mask[:, 1:])
    with pytest.raises(ValueError, match="weight must have shape"):
        segmentation_loss(logits, mask, weight=torch.ones(3, 5, 5))
    with pytest.raises(ValueError, match="classes must be at least 2"):
        segmentation_loss(logits[:, :1], mask)
    with pytest.raises(ValueError, match="dice_weight"):
        segmentation_loss(logits, mask, dice_weight=-1)
    with pytest.raises(ValueError, match="class_weights must have shape"):
        segmentation_loss(logits, mask, class_weights=[1.0])


@pytest.mark.parametrize("smoothing", [0.1, 0.6])
def test_smoothing_spreads_the_target_over_the_classes(
    logits: Tensor, mask: Tensor, smoothing: float
) -> None:
    logs = logits.log_softmax(1)
    each = []
    for n, y, x in (mask != IGNORE).nonzero().tolist():
        own = logs[n, mask[n, y, x], y, x]
        each.append(-(1 - smoothing) * own - smoothing * logs[n, :, y, x].mean())
    found = masked_cross_entropy(logits, mask, label_smoothing=smoothing)
    torch.testing.assert_close(found, torch.stack(each).mean())
    dice = 0.5 * soft_dice(logits, mask)
    whole = segmentation_loss(logits, mask, label_smoothing=smoothing)
    torch.testing.assert_close(whole, found + dice)


def test_smoothed_gradient_is_exact(logits: Tensor, mask: Tensor) -> None:
    logits.requires_grad_()
    weight = torch.rand(mask.shape, dtype=logits.dtype)
    assert torch.autograd.gradcheck(
        lambda x: segmentation_loss(x, mask, weight=weight, label_smoothing=0.2), (logits,)
    )


def test_impossible_smoothing_is_refused(logits: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match="label_smoothing must"):
        masked_cross_entropy(logits, mask, label_smoothing=1.5)
