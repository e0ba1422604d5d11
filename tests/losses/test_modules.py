"""A configured loss is the plain function with its settings, and reduces to simpler ones."""

import pytest
import torch

from weakseg.losses import (
    ClassificationLoss,
    SegmentationLoss,
    bce_with_balance,
    dense_crf_loss,
    segmentation_loss,
)


def test_every_answer_to_a_frame_counts_the_same() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0.0, 1.0, 1.0, 0.0])
    each = [bce_with_balance(logits[:, i], labels, label_smoothing=0.1) for i in range(3)]
    found = ClassificationLoss(label_smoothing=0.1)(logits, labels)
    torch.testing.assert_close(found, torch.stack(each).mean())


def segmentation_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 16, 20, generator=generator)
    mask = torch.randint(0, 2, (2, 16, 20), generator=generator)
    mask[1] = 0
    return logits, mask, torch.rand(2, 3, 16, 20, generator=generator)


def test_without_energy_the_loss_is_cross_entropy_and_dice() -> None:
    logits, mask, images = segmentation_batch()
    found = SegmentationLoss(dice_weight=0.5)(logits, mask, images=images)
    assert set(found) == {"loss"}
    torch.testing.assert_close(found["loss"], segmentation_loss(logits, mask, dice_weight=0.5))


def test_energy_scales_with_its_weight_and_adds_to_the_rest() -> None:
    logits, mask, images = segmentation_batch()
    settings = {"sigma_xy_pixels": 5.0, "energy_scale": 1.0}
    one = SegmentationLoss(energy_weight=0.1, **settings)(logits, mask, images=images)
    three = SegmentationLoss(energy_weight=0.3, **settings)(logits, mask, images=images)
    torch.testing.assert_close(three["energy"], 3 * one["energy"])
    torch.testing.assert_close(one["loss"], one["supervised"] + one["energy"])
    assert float(one["energy"]) < 0


def test_smoke_free_frames_have_no_energy() -> None:
    logits, mask, images = segmentation_batch()
    loss = SegmentationLoss(energy_weight=0.1, sigma_xy_pixels=5.0, energy_scale=1.0)
    logits.requires_grad_()
    loss(logits, mask, images=images)["energy"].backward()
    assert logits.grad is not None
    assert float(logits.grad[0].abs().sum()) > 0
    assert float(logits.grad[1].abs().sum()) == 0


def test_gate_lets_sure_pixels_be() -> None:
    logits, mask, images = segmentation_batch()
    settings = {"energy_weight": 0.1, "sigma_xy_pixels": 5.0, "energy_scale": 1.0}
    gated = SegmentationLoss(energy_gate="fixed", **settings)
    sure = 100 * torch.cat([logits[:, :1].sign(), -logits[:, :1].sign()], dim=1)
    assert float(gated(sure, mask, images=images)["energy"]) == 0
    assert float(gated(logits, mask, images=images)["energy"]) < 0


def test_smoothing_and_normalisation_reach_the_losses() -> None:
    logits, mask, images = segmentation_batch()
    found = SegmentationLoss(label_smoothing=0.3)(logits, mask, images=images)["loss"]
    torch.testing.assert_close(found, segmentation_loss(logits, mask, label_smoothing=0.3))
    settings = {"energy_weight": 1e-6, "sigma_xy_pixels": 5.0, "energy_scale": 1.0}
    paper = SegmentationLoss(energy_normalisation="none", **settings)(logits, mask, images=images)
    roi = torch.tensor([1.0, 0.0])[:, None, None].expand(2, 16, 20)
    expected = dense_crf_loss(
        logits.softmax(1),
        255 * images,
        roi,
        sigma_xy_pixels=5.0,
        scale=1.0,
        normalisation="none",
    )
    torch.testing.assert_close(paper["energy"], 1e-6 * expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"dice_weight": -1.0},
        {"label_smoothing": 1.5},
        {"energy_normalisation": "both"},
        {"energy_weight": -0.1},
        {"energy_scale": 0.0},
        {"energy_weight": 1, "energy_gate": "ajar"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        SegmentationLoss(**settings)
