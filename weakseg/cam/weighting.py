"""Weigh activations by gradients: one pure function per CAM variant.

All take activations (B, D, h, w) and the gradients of the logit with respect to them, times h*w,
and give (B, h, w) float32 maps >= 0 in units of the logit, never normalised. The factor
h*w (`LayerTap` applies it) undoes the 1/(h*w) of average pooling, so that values do not depend
on the resolution: behind an average pool and a linear head they equal the head's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from torch import Tensor

from weakseg.checks import check_shape

Weighting: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def cam(activations: Tensor, weights: Tensor, bias: float | Tensor = 0.0) -> Tensor:
    """Weigh the last feature map by the linear head: each position's own logit, where positive.

    Args:
        activations: (B, D, h, w) float32, what the head pools.
        weights: (D,) float32, the head's weights of the class.
        bias: The head's bias. With it the mean of the map, before it is cut at zero, is the logit.

    Returns:
        (B, h, w) float32, >= 0.

    References:
        Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. We add
        the bias, so that zero is the classifier's own border between smoke and none.
    """
    check_shape((None, weights.shape[0], None, None), activations=activations)
    return ((activations * weights[:, None, None]).sum(1) + bias).float().relu()


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weigh channels by their mean gradient.

    References:
        Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    _check_pair(activations, gradients)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, D, 1, 1)
    return (weights * activations).sum(1).float().relu()


def grad_cam_pp(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weigh channels by their positive gradients, evened out between large and small regions.

    With G = h*w times the gradient the paper's weight of a position, g^2 / (2 g^2 + sum(A) g^3),
    is 1 / (2 + mean(A) G): the same at every resolution.

    References:
        Chattopadhyay et al., "Grad-CAM++", WACV 2018. The paper assumes activations >= 0; we clamp
        mean(A) at 0 where they are not, so that no denominator gets near zero.
    """
    _check_pair(activations, gradients)
    positive = gradients.relu()
    share = 1 / (2 + activations.mean(dim=(2, 3), keepdim=True).relu() * positive)
    weights = (share * positive).mean(dim=(2, 3), keepdim=True)  # (B, D, 1, 1)
    return (weights * activations).sum(1).float().relu()


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weigh every position of every channel by its own positive gradient.

    References:
        Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        TIP 2021. Without its per-map tanh scaling.
    """
    _check_pair(activations, gradients)
    return (gradients.relu() * activations).sum(1).float().relu()


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weigh every position of every channel by its own gradient, of either sign.

    References:
        Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
        convolutional neural networks", 2020.
    """
    _check_pair(activations, gradients)
    return (gradients * activations).sum(1).float().relu()


GRADIENT_METHODS: Final[dict[str, Weighting]] = {
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
}


def _check_pair(activations: Tensor, gradients: Tensor) -> None:
    check_shape((None, None, None, None), activations=activations)
    check_shape(tuple(activations.shape), gradients=gradients)
