"""Ask a classifier to see the same smoke in a smaller, mirrored copy of a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.losses.modules import ClassificationLoss

STRENGTHS: Final = ("logistic", "max")
"""How logits become strengths in [0, 1]: on one scale for all frames, or by each one's maximum."""

_SIDE_UNIT = 32
_SMALLEST = 1e-5


class Maps(Protocol):
    """What the loss reads of a model's answer."""

    @property
    def logits(self) -> Tensor:
        """(B, 1), of smoke."""
        ...

    @property
    def cams(self) -> Tensor:
        """(B, 1, h, w), in logits of either sign."""
        ...

    @property
    def refined(self) -> Tensor:
        """(B, 1, h', w') >= 0, in logits."""
        ...


class EquivarianceLoss(ClassificationLoss):
    """Classification, and activations that move with the frame, as SEAM trains them.

    A second, smaller view of every frame is looked at too. With A(.) what was done to the frame,
    P and R the plain and the refined strengths of the frame, P' and R' those of the second view:

    * classification: the mean of both views' losses of the frame label;
    * er: |A(P) - P'|, mean over positions;
    * ecr: |A(R) - P'| + |A(P) - R'|, each a mean over the hardest positions only. Crossing keeps
      the refinement from making everything alike: it must agree with the other view's activations.

    Both terms count frames labelled smoke only. Strengths lie in [0, 1], so er does too, and ecr
    lies in [0, 2]. Plain activations learn by er only and the pixel-correlation module by ecr only,
    in which P and P' are held fixed. BatchNorm sees both views, so its averages are of both sizes.

    Args:
        balance: Whether training draws smoke and smoke-free frames equally often.
        label_smoothing: Moves the targets towards 0.5, in [0, 1].
        er_weight: Of er beside the 1 of classification, >= 0.
        ecr_weight: Of ecr, >= 0. With both at 0 there is no second view, and no cost.
        hard_share: Share of the positions, the hardest, that ecr counts, in (0, 1].
        scales: (lowest, highest) side of the second view, in (0, 1] of the frame's own; drawn
            evenly anew for each batch, and brought to a multiple of 32 pixels.
        mirror: Whether the second view is mirrored, too.
        strength: "logistic", 2 sigmoid(max(0, cam)) - 1: one scale for all frames, 0 at the
            classifier's border; or "max", max(0, cam) by its own maximum, as the paper has it,
            which also makes faint evidence full.

    References:
        Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised
        Semantic Segmentation", CVPR 2020: weights 1, scale 0.3 of 448 pixels, the 20 % hardest.
        The logistic strength and the drawn scale are ours; the loss of the refined maps' lowest
        activations, which the authors' program adds to classification, is left out.
    """

    def __init__(
        self,
        *,
        balance: bool = True,
        label_smoothing: float = 0.0,
        er_weight: float = 1.0,
        ecr_weight: float = 1.0,
        hard_share: float = 0.2,
        scales: Sequence[float] = (0.3, 0.7),
        mirror: bool = False,
        strength: str = "logistic",
    ) -> None:
        """Check the ranges."""
        super().__init__(balance=balance, label_smoothing=label_smoothing)
        check_at_least(0, er_weight=er_weight, ecr_weight=ecr_weight)
        check_in_unit(hard_share=hard_share)
        check_positive(hard_share=hard_share)
        check_one_of(STRENGTHS, strength=strength)
        low, high = scales_of(scales)
        self.er_weight, self.ecr_weight = er_weight, ecr_weight
        self.hard_share, self.scales = hard_share, (low, high)
        self.mirror, self.strength = mirror, strength

    def of_model(
        self,
        model: Callable[..., Any],
        images: Tensor,
        labels: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Give the losses of a batch by name; "loss" is what to minimise.

        Args:
            model: Gives `Maps` for (images, with_maps=True): a `PcmClassifier`.
            images: (B, 3, H, W) float32 in [0, 1].
            labels: (B,) 0 or 1.
            generator: Draws the second view's size; None takes torch's own stream, as dropout does.
        """
        first: Maps = model(images, with_maps=True)
        if self.er_weight == self.ecr_weight == 0:
            return {"loss": self(first.logits, labels)}
        scale = self.scales[0] + (self.scales[1] - self.scales[0]) * float(
            torch.rand((), generator=generator)
        )
        second: Maps = model(second_view(images, scale=scale, mirror=self.mirror), with_maps=True)
        learnt = (self(first.logits, labels) + self(second.logits, labels)) / 2
        er, ecr = self.terms(first, second, labels)
        total = learnt + self.er_weight * er + self.ecr_weight * ecr
        return {"loss": total, "classification": learnt, "er": er, "ecr": ecr}

    def terms(self, first: Maps, second: Maps, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give er and ecr, () each, of a frame's maps and of its second view's."""
        size = second.cams.shape[-2:]

        def strengths(maps: Maps, *, moved: bool) -> tuple[Tensor, Tensor]:
            pair = (to_strength(maps.cams, self.strength), to_strength(maps.refined, self.strength))
            plain, refined = (_on_grid(m, (size[0], size[1])) for m in pair)
            mirrored = moved and self.mirror
            return (plain.flip(-1), refined.flip(-1)) if mirrored else (plain, refined)

        plain, refined = strengths(first, moved=True)
        other_plain, other_refined = strengths(second, moved=False)
        er = (plain - other_plain).abs().flatten(1).mean(dim=1)
        crossed = [
            (refined - other_plain.detach()).abs(),
            (plain.detach() - other_refined).abs(),
        ]
        ecr = sum((hardest(one, self.hard_share) for one in crossed), torch.zeros_like(er))
        return over_smoke(er, labels), over_smoke(ecr, labels)


def second_view(images: Tensor, *, scale: float, mirror: bool) -> Tensor:
    """Give a smaller copy of pictures, (B, 3, H, W), its sides multiples of 32 pixels."""
    height, width = (
        max(_SIDE_UNIT, round(side * scale / _SIDE_UNIT) * _SIDE_UNIT) for side in images.shape[-2:]
    )
    small = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    return small.flip(-1) if mirror else small


def to_strength(cams: Tensor, how: str) -> Tensor:
    """Turn logits (B, C, h, w) into strengths in [0, 1]; what is negative becomes 0.

    Args:
        cams: Floating, of either sign.
        how: One of `STRENGTHS`.
    """
    positive = cams.relu()
    if how == "logistic":
        return (positive / 2).tanh()  # = 2 sigmoid(positive) - 1
    return positive / positive.amax(dim=(2, 3), keepdim=True).clamp(min=_SMALLEST)


def hardest(differences: Tensor, share: float) -> Tensor:
    """Average the largest `share` of each frame's differences, (B, ...) -> (B,); at least one."""
    flat = differences.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    return flat.topk(count, dim=1).values.mean(dim=1)


def over_smoke(losses: Tensor, labels: Tensor) -> Tensor:
    """Average (B,) losses over the frames labelled smoke; 0 where there is none."""
    check_shape(tuple(losses.shape), labels=labels)
    smoky = labels.to(losses.dtype)
    return (losses * smoky).sum() / smoky.sum().clamp(min=1)


def scales_of(scales: Sequence[float]) -> tuple[float, float]:
    """Check the range that the second view's size is drawn from.

    Raises:
        ValueError: If it is no rising pair in (0, 1].
    """
    if len(scales) != 2 or not 0 < scales[0] <= scales[1] <= 1:
        raise ValueError(f"scales must be [lowest, highest] in (0, 1], got {list(scales)}")
    return float(scales[0]), float(scales[1])


def _on_grid(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize strengths, averaging where the grid is coarser: never above their maximum."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", antialias=True)
