"""What is trimmed, put right and agreed with is what the formulas say, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weakseg.losses.noise import (
    agreement_loss,
    correct_masks,
    select_small_loss,
    smoke_overlap,
)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (3, 2, 7, 6) in float64, and a mask with all three ids; frame 2 has no smoke."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 2, 7, 6, generator=generator, dtype=torch.float64)
    mask = torch.tensor([0, 1, 255])[torch.randint(0, 3, (3, 7, 6), generator=generator)]
    mask[2] = torch.where(mask[2] == 1, 0, mask[2])
    return logits, mask


def trimmed_by_hand(logits: Tensor, mask: Tensor, share: float) -> np.ndarray:
    """Sort the losses of every class of every frame, and drop the last."""
    losses = -logits.float().log_softmax(1).numpy()
    found = mask.numpy().copy()
    for n in range(len(found)):
        for klass in (0, 1):
            places = np.argwhere(mask[n].numpy() == klass)
            order = sorted(places.tolist(), key=lambda yx: losses[n, klass, yx[0], yx[1]])
            for y, x in order[len(order) - int(share * len(order)) :]:
                found[n, y, x] = 255
    return found


@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 0.9])
def test_trimming_drops_the_largest_losses_of_each_class_and_frame(share: float) -> None:
    logits, mask = batch()
    found = select_small_loss(logits, mask, share=share)
    np.testing.assert_array_equal(found.numpy(), trimmed_by_hand(logits, mask, share))


@given(st.integers(0, 999), st.floats(0, 0.99))
def test_trimming_never_labels_and_never_empties_a_class(seed: int, share: float) -> None:
    logits, mask = batch(seed)
    found = select_small_loss(logits, mask, share=share)
    changed = found != mask
    assert (found[changed] == 255).all()
    for n in range(3):
        for klass in (0, 1):
            had, has = (mask[n] == klass).sum(), (found[n] == klass).sum()
            assert (had > 0) == (has > 0)


def test_equal_losses_are_kept() -> None:
    mask = torch.ones(1, 4, 4, dtype=torch.int64)
    assert torch.equal(select_small_loss(torch.zeros(1, 2, 4, 4), mask, share=0.5), mask)


def test_teacher_replaces_labels_it_is_sure_of() -> None:
    logits, mask = batch()
    probabilities = (3 * logits).softmax(1)
    found = correct_masks(mask, probabilities, confidence=0.8)
    for n, y, x in np.ndindex(*mask.shape):
        smoke = float(probabilities[n, 1, y, x])
        expected = int(mask[n, y, x])
        if expected != 255:
            expected = 1 if smoke >= 0.8 else 0 if smoke <= 0.2 else expected
        assert int(found[n, y, x]) == expected


def test_agreement_is_the_squared_distance_where_it_counts() -> None:
    logits, mask = batch()
    teacher = torch.randn(3, 2, 7, 6, dtype=torch.float64).softmax(1)
    where = mask == 255
    each = (logits.softmax(1) - teacher).numpy() ** 2
    expected = each.transpose(0, 2, 3, 1)[where.numpy()].mean()
    assert float(agreement_loss(logits, teacher, where)) == pytest.approx(expected)
    assert float(agreement_loss(logits, logits.softmax(1), where)) == 0


def test_agreement_gradient_is_exact() -> None:
    logits, mask = batch()
    teacher = torch.randn(3, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: agreement_loss(x, teacher.softmax(1), mask == 255), (logits,)
    )
    agreement_loss(logits, teacher.softmax(1), mask == 255).backward()
    assert teacher.grad is None
    assert logits.grad is not None
    assert (logits.grad.movedim(1, -1)[mask != 255] == 0).all()


def test_nothing_to_agree_about_costs_nothing() -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = agreement_loss(logits, logits.softmax(1), torch.zeros(1, 3, 3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_overlap_counts_what_both_and_either_call_smoke() -> None:
    logits, mask = batch()
    found = (logits[:, 1] > logits[:, 0]).numpy()
    given, known = mask.numpy() == 1, mask.numpy() != 255
    expected = [(found & given).sum(), ((found & known) | given).sum()]
    assert smoke_overlap(logits, mask).tolist() == expected


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_impossible_shares_are_refused(share: float) -> None:
    logits, mask = batch()
    with pytest.raises(ValueError, match="share must"):
        select_small_loss(logits, mask, share=share)


def test_sizes_that_differ_are_refused() -> None:
    logits, mask = batch()
    with pytest.raises(ValueError, match="mask must"):
        select_small_loss(logits, mask[:, :3], share=0.1)
    with pytest.raises(ValueError, match="mask must"):
        correct_masks(mask[:2], logits, confidence=0.9)
    with pytest.raises(ValueError, match="probabilities must"):
        agreement_loss(logits, logits[:1], mask == 1)
