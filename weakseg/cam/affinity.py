"""Let a ViT's own attention complete its CAMs: a random walk between patches that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weakseg.cam.attention import attention_modules
from weakseg.checks import check_at_least, check_positive, check_shape
from weakseg.models import Classifier

_BALANCE_ROUNDS = 20
_LEAST = 1e-12


def token_transitions(
    attentions: Sequence[Tensor], *, prefix_tokens: int, power: float = 1.0
) -> Tensor:
    """Make the transition matrix of a walk between patches from attention maps.

    The mean attention of patches to patches is made symmetric, S = (A + A') / 2, raised to `power`
    entry by entry, and balanced: D S D with a diagonal D for which rows and columns sum to 1.
    Without balance, the few patches that every other one looks at would spread over the frame.

    Args:
        attentions: (B, N, N) each, the mean over heads, rows summing to 1.
        prefix_tokens: How many tokens stand before the patches; their attention is left out.
        power: Above 1 keeps the walk to strong affinities, > 0.

    Returns:
        (B, P, P) float32 >= 0 of the P patches, rows summing to 1; columns to about 1.

    References:
        Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation",
        CVPR 2022 (patch affinity is the mean attention of blocks); Ru et al., "Learning Affinity
        from Attention", CVPR 2022 (made symmetric); Lin et al., "CLIP is Also an Efficient
        Segmenter", CVPR 2023 (of the later blocks, balanced by Sinkhorn's rule). Nothing is learnt
        here, and no box masks the walk.
    """
    check_positive(power=power)
    mean = torch.stack(list(attentions)).mean(dim=0)
    check_shape((None, mean.shape[-1], mean.shape[-1]), attention=mean)
    patches = mean[:, prefix_tokens:, prefix_tokens:].float()
    affinity = (patches + patches.transpose(1, 2)) / 2
    highest = affinity.amax(dim=-1).clamp(min=_LEAST).sqrt()
    # At most 1 afterwards, so that no power overflows; the floor keeps every row's sum above 0.
    affinity = affinity / (highest[:, :, None] * highest[:, None, :])
    affinity = affinity.pow(power).clamp(min=_LEAST)
    scale = affinity.sum(dim=-1).rsqrt()  # (B, P): the diagonal of D
    for _ in range(_BALANCE_ROUNDS):
        reached = (affinity @ scale[:, :, None])[:, :, 0]
        scale = (scale / reached).sqrt()
    balanced = scale[:, :, None] * affinity * scale[:, None, :]
    return balanced / balanced.sum(dim=-1, keepdim=True)


def middle_blocks(model: Classifier) -> list[str]:
    """Name the third of a ViT's blocks that follows its first quarter: 3 to 6 of 12.

    Early blocks look at neighbours, whatever they show, and late ones at whatever sums up the
    frame; in between, patches look at others of their kind.
    """
    depth = len(attention_modules(model))
    first = depth // 4
    return [f"blocks.{index}" for index in range(first, first + max(1, depth // 3))]


def walk(maps: Tensor, transitions: Tensor, *, steps: int) -> Tensor:
    """Take maps `steps` times through the transitions: every patch becomes a mean of its kin.

    Args:
        maps: (B, h, w) float32, absolute.
        transitions: (B, h*w, h*w), rows summing to 1.
        steps: At least 0; 0 gives the maps as they are.

    Returns:
        (B, h, w) in the maps' own unit. Values stay within each map's least and highest: nothing
        rises above what was there, and a constant map stays as it is.
    """
    check_at_least(0, steps=steps)
    b, h, w = maps.shape
    check_shape((b, h * w, h * w), transitions=transitions)
    values = maps.reshape(b, h * w, 1)
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    for _ in range(steps):
        # A row's sum is 1 but for rounding.
        values = (transitions @ values).maximum(low).minimum(high)
    return values.reshape(b, h, w)
