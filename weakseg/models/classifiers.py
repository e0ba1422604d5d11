"""Classify frames with any timm network: normalisation inside, layers known by name for CAMs."""

from __future__ import annotations

import difflib
import logging
from typing import Any, cast

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_shape
from weakseg.models import hub
from weakseg.models.layers import find_layer, has_layer
from weakseg.models.pooling import gem, topk_mean
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.weights import load_pretrained, sha256_of_weights

log = logging.getLogger(__name__)

POOLINGS = ("avg", "gem", "topk")
_FULL_STRIDE = 32


class Classifier(nn.Module):
    """A timm network that says how likely a frame shows smoke.

    Takes pictures in [0, 1] and normalises them itself, so that every caller sees the same
    network. Vision transformers take any size: sides that are no multiple of the patch are
    resized (bilinearly) to the nearest one. Gives logits.

    Args:
        name: A timm name, as `vit_small_patch16_224`, `resnet50`, `tf_efficientnet_lite0`.
        weights: "hub" for the network's own pretrained weights by name, None or "none" for random
            ones, else the path of a safetensors file (of timm, or of another `Classifier`).
        stride_in_1x1: For weights of ResNet v1: the stride is in the 1x1 convolution of each stage.
        output_stride: 32, or 16 or 8 for finer features by dilation where timm supports it.
        image_size: Side in pixels of the square pictures it is to be trained on; forward takes any.
        drop_rate: Dropout before the head, in [0, 1].
        drop_path_rate: Stochastic depth, in [0, 1].
        pooling: How positions become one answer. "avg": the network's own way. For CNNs also "gem",
            the generalised mean, and "topk", the mean of the tenth of positions with the highest
            logits (small objects are not averaged away; plain `cam` stays exact).
        classes: Logits, 1 for smoke or not.

    Raises:
        ValueError: If timm does not know the name, or the network cannot do what is asked.
        WeightsError: If the weights cannot be had or do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "vit_small_patch16_224",
        *,
        weights: str | None = "hub",
        stride_in_1x1: bool = False,
        output_stride: int = _FULL_STRIDE,
        image_size: int = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pooling: str = "avg",
        classes: int = 1,
    ) -> None:
        """Build the network and fill it; the class says how."""
        super().__init__()
        check_one_of((8, 16, 32), output_stride=output_stride)
        check_at_least(32, image_size=image_size)
        check_at_least(1, classes=classes)
        check_in_unit(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_one_of(POOLINGS, pooling=pooling)
        self._settings: dict[str, Any] = {
            "name": name,
            "weights": None,
            "stride_in_1x1": stride_in_1x1,
            "output_stride": output_stride,
            "image_size": image_size,
            "drop_rate": drop_rate,
            "drop_path_rate": drop_path_rate,
            "pooling": pooling,
            "classes": classes,
        }
        self.name, self.image_size, self.pooling, self.classes = name, image_size, pooling, classes
        extras: dict[str, Any] = {"num_classes": classes}
        if output_stride != _FULL_STRIDE:
            extras["output_stride"] = output_stride
        if drop_rate > 0:
            extras["drop_rate"] = drop_rate
        if drop_path_rate > 0:
            extras["drop_path_rate"] = drop_path_rate
        weights = None if weights in {None, "none", ""} else weights
        self.weights_sha256: str | None = None
        if weights == "hub":
            path = hub.fetch_timm_weights(_checked_name(name))
            self.backbone = _create(name, extras, file=str(path))
            self.weights_sha256 = sha256_of_weights(path)
        else:
            self.backbone = _create(name, extras)
        if stride_in_1x1 and move_stride_to_1x1(self.backbone) == 0:
            raise ValueError(f"stride_in_1x1 needs a ResNet with bottleneck blocks, not {name}")
        if pooling != "avg" and self.patch_size is not None:
            raise ValueError(f"pooling={pooling} is for CNNs: {name} takes pooling=avg only")
        if weights is not None and weights != "hub":
            load_pretrained(self.backbone, weights, head=self.head_names())
            self.weights_sha256 = sha256_of_weights(weights)
        mean, std = self.normalisation()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, (B, classes), for pictures of (B, 3, H, W) float32 in [0, 1]."""
        check_shape((None, 3, None, None), images=images)
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Give timm's `forward_features`: (B, D, h, w) of CNNs, (B, tokens, D) of ViTs."""
        images = (self._fitted(images) - self.mean) / self.std
        return cast(Tensor, cast(Any, self.backbone).forward_features(images))

    def head(self, features: Tensor) -> Tensor:
        """Give the logits, (B, classes), of `features`."""
        if self.pooling == "gem":
            return self._own_head(gem(features)[:, :, None, None])
        if self.pooling == "topk":
            return topk_mean(self.position_logits(features))
        return self._own_head(features)

    def position_logits(self, features: Tensor) -> Tensor:
        """Give the logits every position would have alone: (B, D, h, w) -> (B, h*w, classes)."""
        b, d, h, w = features.shape
        alone = features.permute(0, 2, 3, 1).reshape(b * h * w, d, 1, 1)
        return self._own_head(alone).view(b, h * w, -1)

    def _own_head(self, features: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.backbone).forward_head(features))

    def _fitted(self, images: Tensor) -> Tensor:
        patch = self.patch_size
        if patch is None:
            return images
        size = [max(patch, round(side / patch) * patch) for side in images.shape[-2:]]
        if size == list(images.shape[-2:]):
            return images
        return F.interpolate(images, size=size, mode="bilinear", antialias=True)

    @property
    def patch_size(self) -> int | None:
        """Side in pixels of a ViT's patch; None for networks with feature maps."""
        if not has_layer(self.backbone, "patch_embed") or not has_layer(self.backbone, "blocks"):
            return None
        size = getattr(cast(Any, self.backbone).patch_embed, "patch_size", None)
        if size is None:
            return None
        return int(size) if isinstance(size, int) else int(size[0])

    @property
    def prefix_tokens(self) -> int:
        """How many tokens (class, registers) stand before a ViT's patches."""
        return int(getattr(self.backbone, "num_prefix_tokens", 0))

    @property
    def size_unit(self) -> int:
        """Sides that are multiples of this many pixels are not cut or resized on the way."""
        return self.patch_size or _FULL_STRIDE

    def token_grid(self, height: int, width: int) -> tuple[int, int] | None:
        """Rows and columns of patches of a ViT for a picture of this size; None for CNNs."""
        patch = self.patch_size
        return (
            None if patch is None else (max(1, round(height / patch)), max(1, round(width / patch)))
        )

    def layers(self) -> list[str]:
        """Names of the layers that CAMs are usually taken from, shallow to deep."""
        if self.patch_size is not None:
            count = len(list(cast(Any, self.backbone).blocks))
            return [f"blocks.{i}.norm1" for i in range(count)]
        return [stage["module"] for stage in self._stages()]

    def default_layers(self) -> list[str]:
        """The last two resolutions of a CNN; of a ViT what its answer is read from.

        Where the head reads the class token, patch tokens no longer reach the class score after
        the last attention: that is the last block's first norm. Where it pools the patches they
        do, and mostly along the residual path, which the norm is not part of: the last block. Of
        a CNN the last stage says what and the one before says where: their product is much
        sharper than the last stage alone (`layer4` of a ResNet), which is the usual choice
        elsewhere.
        """
        if self.patch_size is None:
            return self.layers()[-2:]
        reads_token = getattr(self.backbone, "global_pool", "token") == "token"
        return ["blocks.-1.norm1"] if reads_token else ["blocks.-1"]

    def new_parameters(self) -> list[nn.Parameter]:
        """Give the parameters of the head, which start at random whatever the weights."""
        modules = [find_layer(self.backbone, name) for name in self.head_names()]
        return [parameter for module in modules for parameter in module.parameters()]

    def head_names(self) -> tuple[str, ...]:
        """Names of the modules that hold the last, class-specific weights."""
        names = self._config().get("classifier") or ()
        return (names,) if isinstance(names, str) else tuple(names)

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the colours that the network was pretrained with."""
        config = self._config()
        return (
            tuple(config.get("mean") or IMAGENET_DEFAULT_MEAN),
            tuple(config.get("std") or IMAGENET_DEFAULT_STD),
        )

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights."""
        return dict(self._settings)

    def _config(self) -> dict[str, Any]:
        return dict(cast(Any, self.backbone).pretrained_cfg)

    def _stages(self) -> list[dict[str, Any]]:
        info = getattr(self.backbone, "feature_info", None)
        stages = [dict(stage) for stage in (getattr(info, "info", info) or [])]
        known = [stage for stage in stages if has_layer(self.backbone, str(stage["module"]))]
        if not known:
            raise ValueError(
                f"timm does not say where {self.name} has its features: name the layers"
            )
        return known


def _checked_name(name: str) -> str:
    architecture = name.split(".", maxsplit=1)[0]
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=4)
        hint = f": did you mean {' or '.join(close)}?" if close else ": see timm.list_models()"
        raise ValueError(f"classifier.name: timm does not know {name!r}{hint}")
    return name


def _create(name: str, extras: dict[str, Any], *, file: str | None = None) -> nn.Module:
    options = {**extras, "pretrained": file is not None}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": file, "custom_load": False}
    # Vision transformers know the first option, networks of windows the second; all others refuse
    # both at once.
    for sizes in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            return timm.create_model(_checked_name(name), **cast(Any, {**options, **sizes}))
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            refusal = str(error)
        except (AssertionError, NotImplementedError) as error:
            refusal = str(error)
    asked = ", ".join(f"{k}={v}" for k, v in extras.items() if k != "num_classes")
    raise ValueError(f"{name} does not support {asked or 'being a classifier here'} ({refusal})")
