"""Segment frames with a network of segmentation_models_pytorch on any timm encoder."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path
from typing import Any, Final, cast

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_one_of, check_shape
from weakseg.models import hub
from weakseg.models.encoders import Matched, load_encoder, weights_path
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.segmentation import SegmentationModel
from weakseg.models.weights import sha256_of_weights

log = logging.getLogger(__name__)

ARCHITECTURES: Final = {
    "deeplabv3plus": "DeepLabV3Plus",
    "unet": "Unet",
    "fpn": "FPN",
    "segformer": "Segformer",
}
_TIMM_PREFIX = "tu-"
_SIZE_UNIT = 32
_KEY = "segmenter.encoder_weights"


class Segmenter(SegmentationModel):
    """A network that gives a logit per class and pixel.

    Takes pictures in [0, 1] of any size from 32 x 32 on, normalises them itself, pads them to
    a multiple of 32 by repeating the border, and gives logits at their own size.

    DeepLabV3+ normalises a 1 x 1 map in its pooling branch: in training it needs 2 or more
    pictures in a batch (drop the last batch when it may hold one).

    Args:
        architecture: "deeplabv3plus", "unet", "fpn" or "segformer".
        encoder: `tu-` and a timm name, or an encoder of segmentation_models_pytorch.
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
        self.weights_sha256: str | None = None
        self.matched: Matched | None = None
        if encoder_weights not in {None, "none", ""}:
            self._fill(encoder, str(encoder_weights))
        mean, std = _normalisation(encoder)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, (B, classes, H, W), for pictures of (B, 3, H, W) float32 in [0, 1]."""
        check_shape((None, 3, None, None), images=images)
        height, width = images.shape[-2:]
        check_at_least(_SIZE_UNIT, height=height, width=width)
        padding = (0, -width % _SIZE_UNIT, 0, -height % _SIZE_UNIT)
        padded = F.pad(images, padding, mode="replicate") if any(padding) else images
        logits = cast(Tensor, self.network((padded - self.mean) / self.std))
        return logits[..., :height, :width]

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

    def _fill(self, encoder: str, weights: str) -> None:
        path = _hub_file(encoder) if weights == "hub" else weights_path(weights)
        self.matched = load_encoder(self._encoder, path)
        self.weights_sha256 = sha256_of_weights(path)


def _build(architecture: str, encoder: str, *, output_stride: int, classes: int) -> nn.Module:
    _check_encoder(encoder)
    extras = {"encoder_output_stride": output_stride} if architecture == "deeplabv3plus" else {}
    build = getattr(smp, ARCHITECTURES[architecture])
    try:
        network = build(encoder_name=encoder, encoder_weights=None, classes=classes, **extras)
    except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{architecture} does not go with encoder {encoder}: {error}") from error
    return cast(nn.Module, network)


def _check_encoder(encoder: str) -> None:
    known = smp.encoders.get_encoder_names()
    if encoder.startswith(_TIMM_PREFIX):
        if timm.is_model(encoder.removeprefix(_TIMM_PREFIX).split(".", maxsplit=1)[0]):
            return
        known = [f"{_TIMM_PREFIX}{name}" for name in timm.list_models()]
    elif encoder in known:
        return
    close = difflib.get_close_matches(encoder, known, n=4)
    hint = f"did you mean {' or '.join(close)}?" if close else "write tu- and a timm name"
    raise ValueError(f"segmenter.encoder: there is no encoder {encoder!r}: {hint}")


def _hub_file(encoder: str) -> Path:
    if encoder.startswith(_TIMM_PREFIX):
        return hub.fetch_timm_weights(encoder.removeprefix(_TIMM_PREFIX), key=_KEY)
    settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
    return hub.fetch(settings["repo_id"], what=encoder, key=_KEY, revision=settings["revision"])


def _normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    config = None
    if encoder.startswith(_TIMM_PREFIX):
        config = timm.get_pretrained_cfg(encoder.removeprefix(_TIMM_PREFIX))
    if config is None:
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return tuple(config.mean), tuple(config.std)
