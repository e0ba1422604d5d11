"""Follow attention from the answer back to the patches: pure functions of attention maps.

All take attentions from shallow to deep, rows summing to 1, and `readers`, the numbers of the
tokens that the answer is read from (`weakseg.cam.attention.reading_tokens`), and give (B, N)
float32 values >= 0, one a token. They are times N, so that they do not depend on the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weakseg.checks import check_shape


def class_attention(attention: Tensor, readers: Sequence[int]) -> Tensor:
    """Give how much the reading tokens look at each token: 1 is an even look at all.

    Args:
        attention: (B, N, N), one block's, the mean over heads.
        readers: Numbers of the reading tokens; their rows are averaged.

    References:
        Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object
        Localization", ICCV 2021; Xu et al., "Multi-class Token Transformer for Weakly Supervised
        Semantic Segmentation", CVPR 2022.
    """
    check_shape((None, attention.shape[-1], attention.shape[-1]), attention=attention)
    return attention[:, list(readers)].mean(dim=1) * attention.shape[-1]


def attention_rollout(
    attentions: Sequence[Tensor], readers: Sequence[int], *, discard: float = 0.0
) -> Tensor:
    """Give how much of each token arrives at the reading tokens: 1 is an even share of all.

    Every block passes on half of a token itself (the residual) and half of what it reads. Only the
    readers' rows of the matrix product are needed: vectors are rolled through the blocks.

    It starts at the last block given, as if the answer were read there alone. A `LocalClassifier`
    reads it at several depths: what its shallower heads look at is told only as far as the last
    block looks through them. End with one of its levels to follow that one.

    Args:
        attentions: (B, N, N) each, the mean over heads.
        readers: Numbers of the reading tokens; their rows are averaged.
        discard: Share of the weights in every row, the lowest, that counts as noise and is dropped
            before the row is made to sum to 1 again, in [0, 1).

    References:
        Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. Dropping low
        weights is a common addition, elsewhere done over the whole matrix and without the new sum.
    """
    size = attentions[0].shape[-1]
    share = _start(attentions[0], readers) / len(readers)
    for attention in reversed(attentions):
        check_shape((None, size, size), attention=attention)
        share = (share + share @ _without_lowest(attention, discard)) / 2
    return share[:, 0] * size


def attention_relevance(
    attentions: Sequence[Tensor], gradients: Sequence[Tensor], readers: Sequence[int]
) -> Tensor:
    """Give how much looking at each token raised the logit, in units of the logit a head.

    A block's relevance is the mean over heads of attention times gradient, where positive: to
    first order, what each look adds to the logit. Relevance R starts as the identity and takes
    R + relevance R at every block; the readers' rows of it, summed and without the identity, are
    the answer. Unlike the other two, it is specific to smoke.

    Args:
        attentions: (B, heads, N, N) each.
        gradients: Of the logit with respect to each, same shape.
        readers: Numbers of the reading tokens.

    References:
        Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers", ICCV 2021, equations 5 and 6. The factor N is ours.
    """
    start = _start(attentions[0], readers)
    flow = start
    for attention, gradient in zip(reversed(attentions), reversed(gradients), strict=True):
        check_shape(tuple(attention.shape), gradient=gradient)
        relevance = (attention * gradient).relu().mean(dim=1)  # (B, heads, N, N) -> (B, N, N)
        flow = flow + flow @ relevance
    return (flow - start)[:, 0] * attentions[0].shape[-1]


def _start(attention: Tensor, readers: Sequence[int]) -> Tensor:
    """Give (B, 1, N) with 1 at the readers."""
    start = attention.new_zeros(attention.shape[0], 1, attention.shape[-1])
    start[:, :, list(readers)] = 1
    return start


def _without_lowest(attention: Tensor, discard: float) -> Tensor:
    dropped = int(discard * attention.shape[-1])
    if dropped == 0:
        return attention
    kept = attention.topk(attention.shape[-1] - dropped, dim=-1)
    sparse = torch.zeros_like(attention).scatter(-1, kept.indices, kept.values)
    return sparse / sparse.sum(dim=-1, keepdim=True)
