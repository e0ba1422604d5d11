"""Penalise cutting like pixels apart: the DenseCRF loss, with its exact gradient.

For frame n with class probabilities S_k (times the region of interest) and the Gaussian weights
A_ij = exp(-|p_i - p_j|^2 / 2 (sxy scale)^2 - |I_i - I_j|^2 / 2 srgb^2):

* normalisation "none" is the loss of the paper, E = -(1/B) sum_n sum_k S_k' A S_k. It grows with
  the number of pixels times their neighbours, so useful weights are about 1e-9 to 1e-7 and depend
  on the size of the frames.
* normalisation "degree" is E = -(1/B) sum_n (1/R_n) sum_k S_k' D^-1/2 A D^-1/2 S_k, with D the
  row sums of A within the region of interest and R_n its pixels. It lies in [-1, 0]: near -1 where
  the classes never part like pixels, -1/K where all K classes are equally likely everywhere. So
  the same weight, about 0.1 to 1, serves frames and class numbers of any size.

Both are the relaxed Potts energy less its constant first term: negative values are normal.

References:
    Tang, Perazzi, Djelouah, Ben Ayed, Schroers and Boykov, "On Regularized Losses for
    Weakly-supervised CNN Segmentation", ECCV 2018. We take the mean over both orders of the
    lattice's blur, which makes A symmetric and the gradient exact; the usual lattice takes one
    order. Its sums are 0.71 times ours (measured on pydensecrf's), which are nearer to the
    formula.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive, check_shape
from weakseg.filtering import Lattice

log = logging.getLogger(__name__)

EnergyNormalisation: TypeAlias = Literal["degree", "none"]
NORMALISATIONS: Final = ("degree", "none")
Kernel: TypeAlias = Callable[[Tensor], Tensor]
"""(P, C) values -> (P, C) sums A @ values of one frame's P pixels."""


def dense_crf_loss(
    probabilities: Tensor,
    frames: Tensor,
    roi: Tensor | None = None,
    *,
    sigma_rgb_levels: float = 15.0,
    sigma_xy_pixels: float = 100.0,
    scale: float = 0.5,
    normalisation: EnergyNormalisation = "degree",
) -> Tensor:
    """Compute the DenseCRF loss of a batch; it differentiates by `probabilities` only, once.

    Float64 probabilities take the exact sums, in time quadratic in the pixels: for checks.

    Args:
        probabilities: (B, K, H, W) floats, in [0, 1], summing to 1 over classes.
        frames: (B, 3, H, W) floats, RGB in levels 0..255.
        roi: (B, H, W) in [0, 1], the pixels that count; None for all.
        sigma_rgb_levels: Reach in colour, in levels of 0-255, > 0.
        sigma_xy_pixels: Reach in the frame at full size, in pixels, > 0.
        scale: The loss is computed on frames shrunk by this, in (0, 1].
        normalisation: "degree" or "none", as the module tells.

    Returns:
        Scalar <= 0, float32 (float64 for float64 probabilities).

    Raises:
        ValueError: If the sizes differ or a setting is out of range.
    """
    batch, _, height, width = _checked_sizes(probabilities, frames, roi)
    check_positive(sigma_rgb_levels=sigma_rgb_levels, sigma_xy_pixels=sigma_xy_pixels, scale=scale)
    check_in_unit(scale=scale)
    check_one_of(NORMALISATIONS, normalisation=normalisation)
    if roi is None:
        roi = probabilities.new_ones((batch, height, width))

    exact = probabilities.dtype == torch.float64
    with torch.autocast(probabilities.device.type, enabled=False):
        wide = probabilities if exact else probabilities.float()
        small = _shrink(wide, scale, "bilinear")
        region = _shrink(roi[:, None].to(wide), scale, "nearest").detach()
        features = _features(
            _shrink(frames.to(wide), scale, "nearest").detach(),
            sigma_xy_pixels=sigma_xy_pixels * scale,
            sigma_rgb_levels=sigma_rgb_levels,
        )
        kernels = [_make_kernel(points, exact=exact) for points in features]
        # (B, K, h, w) -> (B, P, K); (B, 1, h, w) -> (B, P, 1)
        masked = (small * region).flatten(2).transpose(1, 2)
        if normalisation == "degree":
            masked = masked * _root_weights(kernels, region.flatten(2).transpose(1, 2))
        energy: Tensor = _PairwiseSum.apply(masked, kernels)
        return -energy / batch


class DenseCrfLoss(nn.Module):
    """Weigh `dense_crf_loss` and hold its settings.

    Args:
        weight: Factor of the loss, >= 0; at 0 nothing is computed.
        sigma_rgb_levels: Reach in colour, in levels of 0-255, > 0.
        sigma_xy_pixels: Reach in the frame at full size, in pixels, > 0.
        scale: The loss is computed on frames shrunk by this, in (0, 1].
        normalisation: "degree", or "none" for the loss of the paper.
    """

    def __init__(
        self,
        weight: float = 1.0,
        *,
        sigma_rgb_levels: float = 15.0,
        sigma_xy_pixels: float = 100.0,
        scale: float = 0.5,
        normalisation: EnergyNormalisation = "degree",
    ) -> None:
        super().__init__()
        check_at_least(0, weight=weight)
        check_positive(
            sigma_rgb_levels=sigma_rgb_levels, sigma_xy_pixels=sigma_xy_pixels, scale=scale
        )
        check_in_unit(scale=scale)
        check_one_of(NORMALISATIONS, normalisation=normalisation)
        self.weight = weight
        self.sigma_rgb_levels = sigma_rgb_levels
        self.sigma_xy_pixels = sigma_xy_pixels
        self.scale = scale
        self.normalisation: EnergyNormalisation = normalisation

    def forward(self, probabilities: Tensor, frames: Tensor, roi: Tensor | None = None) -> Tensor:
        """Compute weight times the loss: see `dense_crf_loss` for shapes."""
        if self.weight == 0:
            # Keeps the graph whole for a caller who calls backward on it alone.
            return probabilities.sum() * 0
        return self.weight * dense_crf_loss(
            probabilities,
            frames,
            roi,
            sigma_rgb_levels=self.sigma_rgb_levels,
            sigma_xy_pixels=self.sigma_xy_pixels,
            scale=self.scale,
            normalisation=self.normalisation,
        )


class _PairwiseSum(torch.autograd.Function):
    """Compute sum_n sum_k S_k' A_n S_k of (B, P, K): one filter call serves value and gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kernels: list[Kernel]) -> Tensor:
        filtered = torch.stack([kernel(rows) for kernel, rows in zip(kernels, values, strict=True)])
        ctx.save_for_backward(filtered)
        return (values * filtered).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (filtered,) = ctx.saved_tensors
        # A is symmetric: d(S' A S) = 2 A S.
        return 2 * grad_output * filtered, None


def _checked_sizes(
    probabilities: Tensor, frames: Tensor, roi: Tensor | None
) -> tuple[int, int, int, int]:
    """Return B, K, H, W, or raise ValueError where the inputs do not fit each other."""
    check_shape((None, None, None, None), probabilities=probabilities)
    batch, classes, height, width = probabilities.shape
    if probabilities.numel() == 0:
        raise ValueError(f"probabilities must not be empty, got {tuple(probabilities.shape)}")
    check_shape((batch, 3, height, width), frames=frames)
    if roi is not None:
        check_shape((batch, height, width), roi=roi)
    return batch, classes, height, width


def _shrink(images: Tensor, scale: float, mode: str) -> Tensor:
    """Resize (B, C, H, W) by `scale`, as the original does: colours and roi by the nearest."""
    if scale == 1:
        return images
    size = [max(1, int(side * scale)) for side in images.shape[-2:]]
    corners = False if mode == "bilinear" else None
    return functional.interpolate(images, size=size, mode=mode, align_corners=corners)


def _features(frames: Tensor, *, sigma_xy_pixels: float, sigma_rgb_levels: float) -> Tensor:
    """Give every pixel of (B, 3, h, w) its place and colour in sigmas: (B, P, 5)."""
    batch, _, height, width = frames.shape
    y = torch.arange(height, device=frames.device, dtype=frames.dtype) / sigma_xy_pixels
    x = torch.arange(width, device=frames.device, dtype=frames.dtype) / sigma_xy_pixels
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"))  # (2, h, w)
    parts = [places.expand(batch, 2, height, width), frames / sigma_rgb_levels]
    return torch.cat(parts, dim=1).flatten(2).transpose(1, 2)


def _make_kernel(features: Tensor, *, exact: bool) -> Kernel:
    """Return the Gaussian sums over one frame's (P, 5) features, exact or by the lattice."""
    if exact:
        gaps = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        weights = torch.exp(-0.5 * gaps**2)
        return lambda values: weights @ values
    if features.device.type != "cpu":
        log.debug("DenseCRF loss: the lattice runs on the CPU, copying from %s", features.device)
    lattice = Lattice(features.cpu().numpy())

    def filter_on_cpu(values: Tensor) -> Tensor:
        return torch.from_numpy(lattice.filter(values.detach().cpu().numpy())).to(values.device)

    return filter_on_cpu


def _root_weights(kernels: list[Kernel], region: Tensor) -> Tensor:
    """Return 1 / sqrt(degree * region's pixels) for every pixel of (B, P, 1) regions."""
    degree = torch.stack([kernel(rows) for kernel, rows in zip(kernels, region, strict=True)])
    pixels = region.sum(dim=1, keepdim=True)
    # Clamp: far outside the region a degree is 0, and so are the values it scales.
    return (degree.clamp(min=1e-6) * pixels.clamp(min=1e-6)).rsqrt()
