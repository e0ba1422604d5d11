"""A Segment Anything Model small enough for a test, with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn


class TinyEncoder(nn.Module):
    """Embed pictures of 64 pixels by one convolution, and count how often."""

    img_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 32, 16, stride=16)
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.convolution(images)


def tiny_sam() -> Any:
    """Build a real Sam with random weights, small enough for a test."""
    parts = pytest.importorskip("segment_anything").modeling
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return parts.Sam(
            image_encoder=TinyEncoder(),
            prompt_encoder=parts.PromptEncoder(
                embed_dim=32,
                image_embedding_size=(4, 4),
                input_image_size=(64, 64),
                mask_in_chans=4,
            ),
            mask_decoder=parts.MaskDecoder(
                transformer_dim=32,
                transformer=parts.TwoWayTransformer(
                    depth=1, embedding_dim=32, mlp_dim=32, num_heads=2
                ),
            ),
        ).eval()
