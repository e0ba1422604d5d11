"""Segment frames with a network of segmentation_models_pytorch on any timm encoder."""

from __future__ import annotations

from typing import Any, Final, cast

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from weakseg.checks import check_at_least, check_one_of
from weakseg.models.encoders import (
    check_encoder,
    encoder_options,
    normalisation,
    padded,
    start_encoder,
)
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.segmentation import SegmentationModel

ARCHITECTURES: Final = {
    "deeplabv3plus": "DeepLabV3Plus",
    "unet": "Unet",
    "fpn": "FPN",
    "segformer": "Segformer",
    "upernet": "UPerNet",
}


class Segmenter(SegmentationModel):
    """A network that gives a logit per class and pixel.

    Takes pictures in [0, 1] of any size from 32 x 32 on, normalises them itself, pads them to
    a multiple of 32 by repeating the border, and gives logits at their own size.

    DeepLabV3+ and UPerNet normalise a 1 x 1 map in their pooling branch: in training they need 2
    or more pictures in a batch (drop the last batch when it may hold one).

    Args:
        architecture: "deeplabv3plus", "unet", "fpn", "segformer" or "upernet".
        encoder: `tu-` and a timm name, or an encoder of segmentation_models_pytorch. Hierarchical
            transformers go with all but DeepLabV3+, which needs an encoder that can be dilated.
        encoder_weights: "hub" for the encoder's pretrained weights by name, None or "none" for
            random ones, a safetensors file (timm's, or a `Classifier`'s), or `run:FOLDER` for the
            best weights of a finished stage 1 run with the same network.
        output_stride: 16 or 8, of DeepLabV3+; the others have their own.
        classes: Logits per pixel, background included.
        stride_in_1x1: For weights of ResNet v1, as in `Classifier`.

    Raises:
        ValueError: If there is no such architecture or encoder, or they do not go together.
        WeightsError: If the weights cannot be had, or are another network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str = "deeplabv3plus",
        *,
        encoder: str = "tu-tf_efficientnet_lite0",
        encoder_weights: str | None = "hub",
        output_stride: int = 16,
        classes: int = 2,
        stride_in_1x1: bool = False,
    ) -> None:
        """Build the network and fill its encoder; the class says how."""
        super().__init__()
        check_one_of(ARCHITECTURES, architecture=architecture)
        check_one_of((8, 16), output_stride=output_stride)
        check_at_least(1, classes=classes)
        self._settings: dict[str, Any] = {
            "architecture": architecture,
            "encoder": encoder,
            "encoder_weights": None,
            "output_stride": output_stride,
            "classes": classes,
            "stride_in_1x1": stride_in_1x1,
        }
        self.classes = classes
        self.network = _build(architecture, encoder, output_stride=output_stride, classes=classes)
        if stride_in_1x1 and move_stride_to_1x1(self._encoder) == 0:
            raise ValueError(f"stride_in_1x1 needs a ResNet with bottleneck blocks, not {encoder}")
        started = start_encoder(self._encoder, encoder, encoder_weights)
        self.matched, self.weights_sha256 = started.matched, started.sha256
        mean, std = normalisation(encoder)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, (B, classes, H, W), for pictures of (B, 3, H, W) float32 in [0, 1]."""
        whole = padded(images)
        logits = cast(Tensor, self.network((whole - self.mean) / self.std))
        return logits[..., : images.shape[-2], : images.shape[-1]]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights."""
        return dict(self._settings)

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters outside the encoder."""
        encoder = {id(parameter) for parameter in self._encoder.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    @property
    def _encoder(self) -> nn.Module:
        return cast(nn.Module, self.network.encoder)


def _build(architecture: str, encoder: str, *, output_stride: int, classes: int) -> nn.Module:
    check_encoder(encoder)
    extras = encoder_options(encoder)
    if architecture == "deeplabv3plus":
        extras["encoder_output_stride"] = output_stride
    build = getattr(smp, ARCHITECTURES[architecture])
    try:
        network = build(encoder_name=encoder, encoder_weights=None, classes=classes, **extras)
    except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{architecture} does not go with encoder {encoder} ({reason}): segmenter=segformer "
            "and segmenter=upernet go with every encoder that has a pyramid"
        ) from error
    return cast(nn.Module, network)
