"""The loss of labels: its reductions, its gradient, its refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from weakseg.losses import bce_with_balance, positive_weight_of


def test_without_balance_and_smoothing_it_is_plain_cross_entropy() -> None:
    logits, labels = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0.0, 1.0, 1.0])
    plain = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(bce_with_balance(logits, labels), plain)


def test_a_positive_weight_scales_smoke_only() -> None:
    logits = torch.zeros(1)
    smoke, clear = torch.ones(1), torch.zeros(1)
    assert math.isclose(
        float(bce_with_balance(logits, smoke, positive_weight=3)), 3 * math.log(2), rel_tol=1e-6
    )
    assert math.isclose(
        float(bce_with_balance(logits, clear, positive_weight=3)), math.log(2), rel_tol=1e-6
    )


def test_smoothed_labels_are_best_met_short_of_certainty() -> None:
    logits = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    losses = torch.stack(
        [bce_with_balance(x[None], torch.ones(1), label_smoothing=0.1) for x in logits]
    )
    best = float(torch.sigmoid(logits[losses.argmin()]))
    assert math.isclose(best, 0.95, abs_tol=1e-3)


def test_the_gradient_is_exact() -> None:
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0, 1])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return bce_with_balance(x, labels, positive_weight=2.5, label_smoothing=0.1)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_balanced_labels_have_an_equal_say() -> None:
    labels = [1, 0, 0, 0]
    weight = positive_weight_of(labels)
    assert weight == 3
    logits = torch.zeros(4, requires_grad=True)
    bce_with_balance(logits, torch.tensor(labels), positive_weight=weight).backward()
    assert logits.grad is not None
    assert math.isclose(float(logits.grad.sum()), 0.0, abs_tol=1e-7)


def test_half_precision_is_widened() -> None:
    loss = bce_with_balance(torch.zeros(3, dtype=torch.bfloat16), torch.ones(3))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], []])
def test_one_kind_alone_has_no_balance(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both smoke and no smoke"):
        positive_weight_of(labels)


def test_shapes_and_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="labels must have shape"):
        bce_with_balance(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="logits must have shape"):
        bce_with_balance(torch.zeros(3, 1), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="positive_weight"):
        bce_with_balance(torch.zeros(3), torch.zeros(3), positive_weight=0)
    with pytest.raises(ValueError, match="label_smoothing"):
        bce_with_balance(torch.zeros(3), torch.zeros(3), label_smoothing=1.5)
