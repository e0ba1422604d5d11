"""Focus on where smoke may be, separate it from what lies behind, and fuse both into a mask.

All parts take the four levels of a pyramid, strides 4, 8, 16 and 32 in this order, each brought
to D channels: (B, D, h, w). The focus is a logit for each cell of stride 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MID = 2
"""Index of the level of stride 16, where the focus is."""

_LEAST_KNOWN = 1e-4


class Focus(nn.Module):
    """Locate smoke from both ends of the pyramid towards its middle.

    The coarse end (stride 32 to 16) finds where smoke is, the fine end (4 to 8) how far it goes;
    each end's own answer gates what it passes on.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        """Build both cascades and what joins them."""
        super().__init__()
        self.fine = _Cascade(channels)
        self.coarse = _Cascade(channels)
        self.join = nn.Conv2d(2, 1, 1)
        # From the mean of both ends: drawn at random, it may start against one of them.
        nn.init.constant_(self.join.weight, 0.5)
        nn.init.zeros_(cast(Tensor, self.join.bias))

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the focus, (B, 1, h, w) logits of stride 16, and every answer on the way to it."""
        quarter, eighth, sixteenth, thirty_second = levels
        at_4, at_8 = self.fine(quarter, eighth)
        at_32, at_16 = self.coarse(thirty_second, sixteenth)
        focus = cast(Tensor, self.join(torch.cat([resized(at_8, at_16), at_16], dim=1)))
        sides = {"quarter": at_4, "eighth": at_8, "sixteenth": at_16, "thirty_second": at_32}
        return focus, {**sides, "focus": focus}


class _Cascade(nn.Module):
    """Let an outer level of the pyramid tell the next one inside where to look."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.outer = nn.Conv2d(channels, 1, 1)
        self.query = nn.Conv2d(channels, channels, 1)
        self.inner = nn.Conv2d(2 * channels, 1, 1)

    def forward(self, outer: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits of both levels, (B, 1, h, w) each."""
        logits = self.outer(outer)
        query = resized(self.query(gated(outer, logits)), inner)
        return logits, self.inner(torch.cat([query, inner], dim=1))


class Separation(nn.Module):
    """Part each level into a smoke-free background and the smoke in front of it.

    Outside the focus a level is its own background. Inside, the background of the deepest level
    is put together from cells outside, by likeness; that of the others from the level below. The
    foreground is the distance of a level from its background.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        """Build what looks for the background, and what carries it up the pyramid."""
        super().__init__()
        self.wanted = nn.Conv2d(channels, channels, 1)
        self.offered = nn.Conv2d(channels, channels, 1)
        self.carry = nn.ModuleList(_separable(channels) for _ in range(3))
        self.foreground = nn.Conv2d(channels, 1, 1)
        self.smoke = nn.Conv2d(channels, 1, 1)

    def forward(
        self, levels: Sequence[Tensor], focus: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Separate every level.

        Args:
            levels: Four, of (B, D, h, w).
            focus: (B, 1, h, w) logits.

        Returns:
            The foreground of each level, (B, D, h, w) >= 0, and the side logits (B, 1, h, w) of
            stride 16: of smoke in the foreground, in the level itself, and in the background as
            the same layer judges it.
        """
        known = [torch.sigmoid(-resized(focus, level)) for level in levels]
        fill = self._looked_up(levels[-1], known[-1])
        fills = [fill]
        for i in (2, 1, 0):
            below = torch.lerp(fills[0], levels[i + 1], known[i + 1])
            fills.insert(0, self.carry[i](resized(below, levels[i])))
        foregrounds = [
            (1 - seen) * (level - fill).abs()
            for level, fill, seen in zip(levels, fills, known, strict=True)
        ]
        # The judge learns from the level itself; the background must convince it as it is.
        background = torch.lerp(fills[MID], levels[MID].detach(), known[MID])
        judge = (self.smoke.weight.detach(), cast(Tensor, self.smoke.bias).detach())
        return foregrounds, {
            "foreground": self.foreground(foregrounds[MID]),
            "judge": self.smoke(levels[MID]),
            "background": F.conv2d(background, *judge),
        }

    def _looked_up(self, level: Tensor, known: Tensor) -> Tensor:
        """Fill each cell with a mean of the cells outside the focus that are most like it."""
        # One head, (B, 1, N, D): the form that exporters know.
        wanted, offered, seen = (
            part.flatten(2).transpose(1, 2)[:, None]
            for part in (self.wanted(level), self.offered(level), level)
        )
        # Clamp: in a frame that is in focus all over, every cell counts alike.
        bias = known.clamp(min=_LEAST_KNOWN).log().flatten(2)[:, :, None]  # (B, 1, 1, N)
        found = F.scaled_dot_product_attention(
            wanted, offered, seen, attn_mask=bias.to(wanted.dtype)
        )
        return found[:, 0].transpose(1, 2).reshape(level.shape)


class DomainFusion(nn.Module):
    """Bring what is in focus and what was separated together, from the deepest level upwards.

    Args:
        channels: D.
        dropout: Share of channels dropped before the last layer, in [0, 1).
    """

    def __init__(self, channels: int, dropout: float) -> None:
        """Build a layer a level, and the last one."""
        super().__init__()
        self.fuse = nn.ModuleList(pointwise(parts * channels, channels) for parts in (3, 3, 3, 2))
        self.last = nn.Sequential(
            pointwise(channels, channels), nn.Dropout2d(dropout), nn.Conv2d(channels, 1, 1)
        )

    def forward(
        self, levels: Sequence[Tensor], foregrounds: Sequence[Tensor], focus: Tensor
    ) -> Tensor:
        """Give the logits of smoke, (B, 1, h, w) of stride 4."""
        deepest = len(levels) - 1
        fused = self.fuse[deepest](_beside(levels[deepest], foregrounds[deepest], focus))
        for i in range(deepest - 1, -1, -1):
            beside = _beside(levels[i], foregrounds[i], focus)
            fused = self.fuse[i](torch.cat([beside, resized(fused, beside)], dim=1))
        return cast(Tensor, self.last(fused))


def _beside(level: Tensor, foreground: Tensor, focus: Tensor) -> Tensor:
    return torch.cat([gated(level, resized(focus, level)), foreground], dim=1)


def gated(features: Tensor, logits: Tensor) -> Tensor:
    """Raise features by up to twice where the logits, as probabilities, are high."""
    return features * (1 + torch.sigmoid(logits))


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Resize maps (B, D, h, w) to the grid of others."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """Build a 1 x 1 convolution, its norm, and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _separable(channels: int) -> nn.Sequential:
    spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(spatial, *pointwise(channels, channels))
