"""Hold a loss's settings, so that a configuration can name it."""

from __future__ import annotations

from torch import Tensor, nn

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.filtering.quality import Quality
from weakseg.labels import IGNORE, SMOKE
from weakseg.losses.classification import bce_with_balance
from weakseg.losses.energy import (
    NORMALISATIONS,
    DenseCrfLoss,
    EnergyNormalisation,
    Gate,
)
from weakseg.losses.segmentation import segmentation_loss

_LEVELS = 255.0


class ClassificationLoss(nn.Module):
    """Binary cross-entropy of frame labels; several answers to a frame each count.

    Args:
        balance: Whether training draws smoke and smoke-free frames equally often.
        label_smoothing: Moves the targets towards 0.5, in [0, 1]: citizens err.
    """

    def __init__(self, *, balance: bool = True, label_smoothing: float = 0.0) -> None:
        """Check the ranges."""
        super().__init__()
        check_in_unit(label_smoothing=label_smoothing)
        self.balance = balance
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the mean loss of (B, L) logits, L answers a frame, for (B,) labels."""
        every = labels[:, None].expand_as(logits)
        return bce_with_balance(
            logits.flatten(), every.flatten(), label_smoothing=self.label_smoothing
        )


class SegmentationLoss(nn.Module):
    """Cross-entropy, soft Dice and, if asked for, the DenseCRF energy of a segmenter's logits.

    Args:
        dice_weight: Of soft Dice beside the 1 of cross-entropy, >= 0.
        label_smoothing: Moves the targets of the cross-entropy towards all classes alike, in
            [0, 1]: masks err, at edges above all.
        energy_weight: Of the DenseCRF loss, >= 0. Normalised by "degree" it lies in [-1, 0], so 0.1
            to 1 are sane; by "none" it grows with the frames, and 1e-9 to 1e-7 are usual. 0 leaves
            it out and costs nothing.
        energy_normalisation: "degree", or "none" for the loss of the paper.
        sigma_rgb_levels: Of the energy, in levels of 0-255, > 0.
        sigma_xy_pixels: Of the energy, in pixels at full size, > 0.
        energy_scale: Side of the frames that the energy sees, in (0, 1] of their own.
        energy_gate: "none" takes all pixels alike; "fixed" and "through" let sure pixels be, see
            `weakseg.losses.energy`.
        energy_quality: "standard", or "high" for sums nearer to the formula in twice the time.
    """

    def __init__(
        self,
        *,
        dice_weight: float = 0.5,
        label_smoothing: float = 0.0,
        energy_weight: float = 0.0,
        energy_normalisation: EnergyNormalisation = "degree",
        sigma_rgb_levels: float = 15.0,
        sigma_xy_pixels: float = 100.0,
        energy_scale: float = 0.5,
        energy_gate: Gate = "none",
        energy_quality: Quality = "standard",
    ) -> None:
        """Check the ranges."""
        super().__init__()
        check_at_least(0, dice_weight=dice_weight, energy_weight=energy_weight)
        check_in_unit(energy_scale=energy_scale, label_smoothing=label_smoothing)
        check_positive(energy_scale=energy_scale)
        check_one_of(NORMALISATIONS, energy_normalisation=energy_normalisation)
        self.dice_weight = dice_weight
        self.label_smoothing = label_smoothing
        self.energy = (
            DenseCrfLoss(
                energy_weight,
                sigma_rgb_levels=sigma_rgb_levels,
                sigma_xy_pixels=sigma_xy_pixels,
                scale=energy_scale,
                normalisation=energy_normalisation,
                gate=energy_gate,
                quality=energy_quality,
            )
            if energy_weight > 0
            else None
        )

    def forward(
        self, logits: Tensor, mask: Tensor, *, weight: Tensor | None = None, images: Tensor
    ) -> dict[str, Tensor]:
        """Give the losses by name; "loss" is their sum.

        Args:
            logits: (B, K, H, W).
            mask: (B, H, W) int64 class ids; 255 is ignored.
            weight: (B, H, W) >= 0, how much each pixel counts.
            images: (B, 3, H, W) float32 in [0, 1], whose colours the energy follows.
        """
        learnt = segmentation_loss(
            logits,
            mask,
            weight=weight,
            dice_weight=self.dice_weight,
            label_smoothing=self.label_smoothing,
        )
        if self.energy is None:
            return {"loss": learnt}
        # Only where smoke may be: a smoke-free frame has nothing to agree about.
        smoky = (mask == SMOKE).flatten(1).any(dim=1) | (mask == IGNORE).flatten(1).any(dim=1)
        roi = smoky[:, None, None].expand_as(mask).float()
        energy = self.energy(logits.float().softmax(dim=1), images * _LEVELS, roi)
        return {"loss": learnt + energy, "supervised": learnt, "energy": energy}
