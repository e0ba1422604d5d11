"""Mask R-CNN: find each plume by a box, then draw its mask within the box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_shape
from weakseg.models.encoders import Matched
from weakseg.models.instances import FoundInstances
from weakseg.models.instances_targets import targets_of_batch
from weakseg.models.maskrcnn_parts import (
    as_target,
    build_backbone,
    build_roi_heads,
    build_rpn,
    checked_anchors,
    freeze_norms,
)
from weakseg.models.maskrcnn_weights import COCO, COCO_V1_EPSILON, fill, find_weights
from weakseg.models.resnet import move_stride_to_1x1
from weakseg.models.segmentation import SegmentationModel
from weakseg.models.weights import sha256_of_weights

HEADS: Final = ("v1", "v2")
_LAYERS: Final = 5
_SIZE_UNIT: Final = 32
_NORM_EPSILON: Final = 1e-5
_FAINTEST: Final = 1e-6
_RANDOM: Final = (None, "none", "")
_RPN_LOSSES: Final = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposal_box"}


class MaskRcnn(SegmentationModel):
    """Mask R-CNN on a ResNet with a feature pyramid, for one class: smoke.

    In training it learns instances: the connected parts of the masks, or those that `instances`
    tells apart. Ignored pixels teach nothing, smoke-free pictures teach what to leave alone. In
    evaluation it gives logits like every segmenter: at each pixel the log-odds of the highest
    score x mask of any instance; `instances` gives the instances themselves.

    Args:
        backbone: A timm ResNet: `resnet50`, `resnet101`, ...
        weights: "coco" for all of torchvision's network (`resnet50` only), "hub" for the
            backbone's own by name, None or "none" for random ones; or a file, safetensors or
            a pickle of nothing but tensors, of a Mask R-CNN or of the backbone alone; or
            `run:FOLDER` of a finished run.
        heads: "v1" as in the paper, or "v2" with deeper, normalised heads.
        channels: Width of the pyramid and the heads, at least 1; weights of all of it have 256.
        stride_in_1x1: For weights of ResNet v1, as in `Classifier`.
        trainable_layers: How many of layer4, layer3, layer2, layer1 and the stem learn, in 0-5;
            None takes 3 with weights and 5 without.
        frozen_norms: Keep the batch norms as the weights have them; None does so with weights.
        norm_epsilon: Added to their variance, >= 0; None takes what the weights were trained
            with.
        min_size: Shorter side in pixels to which pictures are brought, at least 32; None leaves
            them as they are.
        max_size: Longest side in pixels that this may lead to.
        anchor_sizes: Side in pixels of the anchors of the five levels, rising. Half of
            the paper's: smoke is small.
        proposals: Boxes that are judged in a picture, at least 1.
        samples: Of those, how many are learnt from, a quarter of them on smoke, at least 1.
        max_instances: Instances that are kept of a picture, at least 1.
        score_floor: Lowest score of an instance, in [0, 1].
        nms_iou: Overlap from which the less sure of two boxes is dropped, in [0, 1].
        min_instance_area: Fewest pixels of an instance to learn from, at the size that
            the network reads, at least 1; smaller ones are ignored.

    Raises:
        ValueError: If a setting is out of range, or the backbone is no ResNet.
        WeightsError: If the weights cannot be had, or are another network's.

    References:
        He, Gkioxari, Dollár and Girshick, "Mask R-CNN", ICCV 2017. Masks are learnt only where
        the pixels are known, and are drawn at fractions of a pixel.
    """

    learns_itself = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        weights: str | None = COCO,
        heads: str = "v1",
        channels: int = 256,
        stride_in_1x1: bool = False,
        trainable_layers: int | None = None,
        frozen_norms: bool | None = None,
        norm_epsilon: float | None = None,
        min_size: int | None = 512,
        max_size: int = 1333,
        anchor_sizes: Sequence[float] = (16, 32, 64, 128, 256),
        proposals: int = 1000,
        samples: int = 512,
        max_instances: int = 50,
        score_floor: float = 0.05,
        nms_iou: float = 0.5,
        min_instance_area: int = 16,
    ) -> None:
        """Build the network and fill it; the class says how."""
        super().__init__()
        is_filled = weights not in _RANDOM
        if trainable_layers is None:
            trainable_layers = 3 if is_filled else _LAYERS
        if frozen_norms is None:
            frozen_norms = is_filled
        if norm_epsilon is None:
            is_first = weights == COCO and heads == "v1"
            norm_epsilon = COCO_V1_EPSILON if is_first else _NORM_EPSILON
        check_one_of(HEADS, heads=heads)
        check_at_least(0, trainable_layers=trainable_layers, norm_epsilon=norm_epsilon)
        check_at_least(1, channels=channels, proposals=proposals, samples=samples)
        check_at_least(1, max_instances=max_instances, min_instance_area=min_instance_area)
        check_in_unit(score_floor=score_floor, nms_iou=nms_iou)
        if trainable_layers > _LAYERS:
            raise ValueError(f"trainable_layers must lie in 0-5, got {trainable_layers}")
        if min_size is not None:
            check_at_least(_SIZE_UNIT, min_size=min_size)
            check_at_least(min_size, max_size=max_size)
        self._settings: dict[str, Any] = {
            "backbone": backbone.removeprefix("tu-"),
            "weights": None,
            "heads": heads,
            "channels": channels,
            "stride_in_1x1": stride_in_1x1,
            "trainable_layers": trainable_layers,
            "frozen_norms": frozen_norms,
            "norm_epsilon": norm_epsilon,
            "min_size": min_size,
            "max_size": max_size,
            "anchor_sizes": checked_anchors(anchor_sizes),
            "proposals": proposals,
            "samples": samples,
            "max_instances": max_instances,
            "score_floor": score_floor,
            "nms_iou": nms_iou,
            "min_instance_area": min_instance_area,
        }
        self.classes = 2
        self._build()
        self.weights_sha256: str | None = None
        self.matched: Matched | None = None
        if is_filled:
            self._fill(str(weights))
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_DEFAULT_MEAN).view(shape), False)
        self.register_buffer("std", torch.tensor(IMAGENET_DEFAULT_STD).view(shape), False)

    def forward(
        self,
        images: Tensor,
        mask: Tensor | None = None,
        weight: Tensor | None = None,
        instances: Tensor | None = None,
    ) -> Tensor | dict[str, Tensor]:
        """Give logits in evaluation, losses in training.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            mask: For training: (B, H, W) int64 class ids 0, 1, 255 (ignore).
            weight: (B, H, W) in [0, 1], how much each pixel is believed; None believes all.
            instances: (B, H, W) integers, the instance of each smoke pixel, 0 for unknown;
                None takes connected parts.

        Returns:
            In evaluation (B, 2, H, W) logits, of which the second less the first is the log-odds
            of smoke. In training the losses, each of shape (): "objectness" and "proposal_box" of
            the proposals, "classifier", "box" and "mask" of the instances, and "loss", their sum.

        Raises:
            ValueError: If `mask` is missing in training, or shapes do not agree.
        """
        check_shape((None, 3, None, None), images=images)
        if self.training:
            if mask is None:
                raise ValueError("Mask R-CNN learns from masks: give mask=, or call eval() first")
            return self._losses(images, mask, weight, instances)
        soft = torch.stack([found.soft_map() for found in self.instances(images)])
        odds = torch.logit(soft.float(), eps=_FAINTEST)
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    def instances(self, images: Tensor) -> list[FoundInstances]:
        """Find the instances in pictures of (B, 3, H, W) float32 in [0, 1], in evaluation mode.

        Returns:
            Each picture's boxes, scores and masks, in its own pixels; the surest first.
        """
        check_shape((None, 3, None, None), images=images)
        if self.training:
            raise ValueError("instances are found in evaluation mode: call eval() first")
        prepared, features = self._read(images)
        proposals, _ = self.rpn(prepared, features)
        found, _ = self.roi_heads(features, proposals, prepared.image_sizes)
        height, width = images.shape[-2:]
        read_height, read_width = prepared.image_sizes[0]
        return [
            FoundInstances(
                one["boxes"].float(),
                one["scores"].float(),
                one["masks"][:, 0].float(),
                read_height,
                read_width,
            ).resized(height, width)
            for one in found
        ]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build the same network, without its weights."""
        return {**self._settings, "anchor_sizes": list(self._settings["anchor_sizes"])}

    def new_parameters(self) -> list[nn.Parameter]:
        """Give what no weights filled: all but the backbone, or the predictors by class."""
        body = {f"backbone.body.{name}" for name, _ in self.backbone.body.named_parameters()}
        old = body
        if self.matched is not None and self.matched.total == len(self.state_dict()):
            old = {name for name, _ in self.named_parameters()} - set(self.matched.missing)
        return [parameter for name, parameter in self.named_parameters() if name not in old]

    def _build(self) -> None:
        settings = self._settings
        shape = {"heads": settings["heads"], "channels": settings["channels"]}
        self.backbone = build_backbone(
            settings["backbone"], trainable_layers=settings["trainable_layers"], **shape
        )
        if settings["stride_in_1x1"] and move_stride_to_1x1(self.backbone.body) == 0:
            raise ValueError(
                f"stride_in_1x1 needs a ResNet with bottleneck blocks, not {settings['backbone']}"
            )
        self.rpn = build_rpn(
            anchor_sizes=settings["anchor_sizes"], proposals=settings["proposals"], **shape
        )
        found = {
            key: settings[key] for key in ("samples", "score_floor", "nms_iou", "max_instances")
        }
        self.roi_heads = build_roi_heads(classes=self.classes, **shape, **found)
        if settings["frozen_norms"]:
            freeze_norms(self, epsilon=settings["norm_epsilon"])

    def _fill(self, weights: str) -> None:
        settings = self._settings
        path = find_weights(weights, backbone=settings["backbone"], heads=settings["heads"])
        self.matched = fill(self, path, body=self.backbone.body)
        self.weights_sha256 = sha256_of_weights(path)

    def _losses(
        self,
        images: Tensor,
        mask: Tensor,
        weight: Tensor | None,
        instances: Tensor | None,
    ) -> dict[str, Tensor]:
        shape = (images.shape[0], *images.shape[-2:])
        for name, given in {"mask": mask, "weight": weight, "instances": instances}.items():
            if given is not None:
                check_shape(shape, **{name: given})
        prepared, features = self._read(images)
        size = prepared.image_sizes[0]
        found = targets_of_batch(
            mask,
            weight=weight,
            instances=instances,
            size=size,
            min_area=self._settings["min_instance_area"],
        )
        targets = [as_target(one) for one in found]
        proposals, proposal_losses = self.rpn(prepared, features, targets)
        _, losses = self.roi_heads(features, proposals, prepared.image_sizes, targets)
        named = {ours: proposal_losses[theirs] for theirs, ours in _RPN_LOSSES.items()} | losses
        return {"loss": torch.stack(list(named.values())).sum(), **named}

    def _read(self, images: Tensor) -> tuple[ImageList, dict[str, Tensor]]:
        """Bring pictures to the size the network reads, and give its maps of them."""
        height, width = _read_size(
            images.shape[-2],
            images.shape[-1],
            min_size=self._settings["min_size"],
            max_size=self._settings["max_size"],
        )
        if (height, width) != tuple(images.shape[-2:]):
            images = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
        normalised = (images - self.mean) / self.std
        padded = F.pad(normalised, (0, -width % _SIZE_UNIT, 0, -height % _SIZE_UNIT))
        return ImageList(padded, [(height, width)] * len(images)), self.backbone(padded)


def _read_size(height: int, width: int, *, min_size: int | None, max_size: int) -> tuple[int, int]:
    """Give the size at which a picture is read: the shorter side grows or shrinks to `min_size`."""
    if min_size is None:
        return height, width
    scale = min(min_size / min(height, width), max_size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
