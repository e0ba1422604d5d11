"""Make CAMs of a vision transformer from its attention alone, or from attention and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from weakseg.cam.attention import (
    AttentionTap,
    attention_modules,
    full_precision,
    reading_tokens,
)
from weakseg.cam.logits import smoke_logit
from weakseg.cam.rollout import attention_relevance, attention_rollout, class_attention
from weakseg.models import Classifier

ATTENTION_METHODS: Final = ("rollout", "class_attention", "attention_gradient")

_CLASS_BLOCKS_SHARE: Final = 4
"""The class token of the last quarter of the blocks knows what it looks for: 3 of 12."""


def attention_maps(
    method: str,
    model: Classifier,
    images: Tensor,
    *,
    layers: Sequence[str] = (),
    discard: float = 0.0,
) -> tuple[list[Tensor], Tensor]:
    """Make the maps of pictures by one of `ATTENTION_METHODS`, in one forward pass.

    "rollout" and "class_attention" say where the network looks, whatever it sees there: values are
    multiples of an even look, times the logit where it is positive, so that a picture taken for
    smoke-free gives an empty map. "attention_gradient" is specific to smoke by its gradients, in
    units of the logit.

    Args:
        method: Which.
        model: A classifier on a timm ViT, held in eval mode.
        images: (B, 3, H, W) float32 in [0, 1].
        layers: Blocks; empty takes all, or the last quarter for "class_attention".
        discard: Of "rollout", see `attention_rollout`.

    Returns:
        (B, h, w) float32 >= 0 each, one a block for "class_attention", else one; and the logits of
        smoke, (B,) float32.

    Raises:
        ValueError: If the network is no plain ViT, or a layer lies in none of its blocks.
    """
    if method == "attention_gradient":
        with AttentionTap(model, layers) as tap:
            logit = smoke_logit(model(images))
            gradients = tap.gradients(logit.sum())
            attentions = tap.attentions()
        readers = reading_tokens(model, attentions[0].shape[-1])
        with full_precision(images):
            found = [attention_relevance(attentions, gradients, readers)]
        return [_as_map(model, images, values) for values in found], logit.detach().float()
    if method == "class_attention":
        layers = layers or last_blocks(model)
    with torch.no_grad(), AttentionTap(model, layers, mean_heads=True) as tap:
        logit = smoke_logit(model(images)).float()
        attentions = tap.attentions()
    readers = reading_tokens(model, attentions[0].shape[-1])
    with full_precision(images):
        if method == "rollout":
            found = [attention_rollout(attentions, readers, discard=discard)]
        else:
            found = [class_attention(attention, readers) for attention in attentions]
    strength = logit.relu()[:, None, None]
    return [_as_map(model, images, values) * strength for values in found], logit


def last_blocks(model: Classifier) -> list[str]:
    """Name the last quarter of a ViT's blocks, at least one, shallow to deep."""
    depth = len(attention_modules(model))
    return [f"blocks.{i}" for i in range(depth - max(1, depth // _CLASS_BLOCKS_SHARE), depth)]


def _as_map(model: Classifier, images: Tensor, values: Tensor) -> Tensor:
    rows, columns = model.token_grid(*images.shape[-2:]) or (0, 0)
    return values[:, model.prefix_tokens :].reshape(-1, rows, columns)  # (B, N) -> (B, h, w)
