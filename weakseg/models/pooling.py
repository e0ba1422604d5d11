"""Pool a feature map to one answer: alternatives to the plain average that suit small objects."""

from __future__ import annotations

import math

from torch import Tensor

GEM_POWER = 3.0
TOPK_SHARE = 0.1


def gem(features: Tensor, *, power: float = GEM_POWER) -> Tensor:
    """Generalised mean over positions, (B, D, h, w) -> (B, D): between average (1) and max (inf).

    References:
        Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018.
        The power is fixed here, not learnt.
    """
    return features.clamp(min=1e-6).pow(power).mean(dim=(2, 3)).pow(1 / power)


def topk_mean(values: Tensor, *, share: float = TOPK_SHARE) -> Tensor:
    """Mean of the highest `share` of positions, (B, N, C) -> (B, C): at least one counts."""
    count = max(1, math.ceil(share * values.shape[1]))
    return values.topk(count, dim=1).values.mean(dim=1)
