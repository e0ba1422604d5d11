"""Embed the cells of a frame so that near ones share a class: any timm pyramid, three 1x1 heads."""

from __future__ import annotations

import difflib
import math
from typing import Any, cast

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from weakseg.checks import check_at_least, check_one_of, check_shape
from weakseg.models import hub
from weakseg.models.encoders import load_encoder, weights_path
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.weights import sha256_of_weights

WEIGHTS_KEY = "the affinity step's weights"
STRIDES = (4, 8, 16)


class AffinityNet(nn.Module):
    """An embedding whose distances say whether two cells of a frame share a class.

    Takes pictures in [0, 1] of any size, normalises them itself and pads them by repeating the
    border. The affinity of two cells is exp(-mean |f_i - f_j|) over the channels.

    Args:
        encoder: A timm name with a feature pyramid, as `tf_efficientnet_lite0` or `resnet50`.
        weights: "hub" for the encoder's pretrained weights by name, None or "none" for random
            ones, a safetensors file (timm's, or a `Classifier`'s), or `run:FOLDER` for the best
            weights of a finished stage 1 run with the same network.
        stride_in_1x1: For weights of ResNet v1, as in `Classifier`.
        stride: Side of a cell in pixels: 4, 8 or 16.
        levels: How many levels of the pyramid, the deepest ones, are looked at; at least 1.
        level_channels: Channels each level is brought to, at least 1.
        embedding_channels: D, at least 1.
        freeze_norm: Keep the statistics of pretrained batch norms in training, which small batches
            would spoil. Random weights learn them anyway.

    Raises:
        ValueError: If timm has no such encoder, or it has no pyramid of so many levels.
        WeightsError: If the weights cannot be had, or are another network's.

    References:
        Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
        Weakly Supervised Semantic Segmentation", CVPR 2018. Ours takes any encoder, resizes deep
        levels where theirs is dilated to stride 8, and ends without an activation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: str = "tf_efficientnet_lite0",
        *,
        weights: str | None = "hub",
        stride_in_1x1: bool = False,
        stride: int = 8,
        levels: int = 3,
        level_channels: int = 64,
        embedding_channels: int = 64,
        freeze_norm: bool = True,
    ) -> None:
        """Build the network and fill its encoder; the class says how."""
        super().__init__()
        check_one_of(STRIDES, stride=stride)
        check_at_least(
            1, levels=levels, level_channels=level_channels, embedding_channels=embedding_channels
        )
        self._settings: dict[str, Any] = {
            "encoder": encoder,
            "weights": None,
            "stride_in_1x1": stride_in_1x1,
            "stride": stride,
            "levels": levels,
            "level_channels": level_channels,
            "embedding_channels": embedding_channels,
            "freeze_norm": freeze_norm,
        }
        self.stride = stride
        self.encoder, self._channels, reduction = _pyramid(encoder, levels)
        self._size_unit = math.lcm(reduction, stride)
        if stride_in_1x1 and move_stride_to_1x1(self.encoder) == 0:
            raise ValueError(f"stride_in_1x1 needs a ResNet with bottleneck blocks, not {encoder}")
        self.weights_sha256: str | None = None
        if weights not in {None, "none", ""}:
            path = weights_of(encoder, str(weights))
            load_encoder(self.encoder, path)
            self.weights_sha256 = sha256_of_weights(path)
        self._freezes = freeze_norm and self.weights_sha256 is not None
        self.heads = nn.ModuleList(nn.Conv2d(c, level_channels, 1) for c in self._channels)
        self.last = nn.Conv2d(levels * level_channels, embedding_channels, 1)
        config = timm.get_pretrained_cfg(encoder)
        mean = IMAGENET_DEFAULT_MEAN if config is None else config.mean
        std = IMAGENET_DEFAULT_STD if config is None else config.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].

        Returns:
            (B, D, ceil(H / stride), ceil(W / stride)) float32.
        """
        check_shape((None, 3, None, None), images=images)
        height, width = images.shape[-2:]
        padding = (0, -width % self._size_unit, 0, -height % self._size_unit)
        padded = F.pad(images, padding, mode="replicate") if any(padding) else images
        grid = [side // self.stride for side in padded.shape[-2:]]
        levels = self.encoder((padded - self.mean) / self.std)
        brought = []
        for level, head, channels in zip(levels, self.heads, self._channels, strict=True):
            # Some pyramids (Swin's) give (B, h, w, D).
            first = level if level.shape[1] == channels else level.permute(0, 3, 1, 2)
            brought.append(F.interpolate(F.elu(head(first)), size=grid, mode="bilinear"))
        embedding = cast(Tensor, self.last(torch.cat(brought, dim=1)))
        return embedding[..., : -(-height // self.stride), : -(-width // self.stride)]

    def train(self, mode: bool = True) -> AffinityNet:
        """Switch between training and evaluation; frozen batch norms stay in evaluation."""
        super().train(mode)
        if self._freezes:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters outside the encoder, which start at random whatever the weights."""
        return [*self.heads.parameters(), *self.last.parameters()]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights."""
        return dict(self._settings)


def weights_of(encoder: str, weights: str) -> Any:
    """Give the file that `weights` means for `encoder`, from the hub if it says so.

    Raises:
        WeightsError: If they cannot be had.
    """
    if weights == "hub":
        return hub.fetch_timm_weights(encoder, key=WEIGHTS_KEY)
    return weights_path(weights)


def _pyramid(name: str, levels: int) -> tuple[nn.Module, list[int], int]:
    """Build an encoder of the deepest levels; give their channels and the deepest stride."""
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        close = difflib.get_close_matches(name, timm.list_models(), n=4)
        hint = f": did you mean {' or '.join(close)}?" if close else ": see timm.list_models()"
        raise ValueError(f"encoder: timm does not know {name!r}{hint}")
    options: dict[str, Any] = {"features_only": True, "pretrained": False}
    options["out_indices"] = tuple(range(-levels, 0))
    # Only vision transformers know the first option; the others refuse it at once.
    for sizes in ({"dynamic_img_size": True}, {}):
        try:
            encoder = timm.create_model(name, **cast(Any, {**options, **sizes}))
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            refusal = str(error)
        except (RuntimeError, AssertionError, IndexError, ValueError) as error:
            refusal = str(error)
        else:
            info = cast(Any, encoder).feature_info
            return encoder, list(info.channels()), max(map(int, info.reduction()))
    raise ValueError(f"encoder {name} has no pyramid of {levels} levels ({refusal})")
