"""The parts of Mask R-CNN, put together from torchvision's, with room for uncertain pixels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final, cast

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, box_iou, roi_align
from torchvision.ops.misc import FrozenBatchNorm2d

from weakseg.checks import check_positive
from weakseg.models.instances_targets import InstanceTargets, mean_inside

LEVELS: Final = ("0", "1", "2", "3")
STAGES: Final = ("layer1", "layer2", "layer3", "layer4")
_RATIOS: Final = (0.5, 1.0, 2.0)
_KNOWN: Final = 0.5
_MATCHED: Final = 0.5

Target = dict[str, Tensor]


def build_backbone(
    name: str, *, trainable_layers: int, heads: str, channels: int
) -> BackboneWithFPN:
    """Build a timm ResNet with a feature pyramid of strides 4 to 64, with random weights.

    Args:
        name: A timm name of the ResNet family.
        trainable_layers: How many of layer4, layer3, layer2, layer1 and the stem learn, in 0-5.
        heads: "v1", or "v2" with normalisation in the pyramid.
        channels: Of the pyramid's maps.

    Raises:
        ValueError: If timm has no such network, or it is no ResNet.
    """
    plain = name.split(".", maxsplit=1)[0]
    if not timm.is_model(plain):
        close = difflib.get_close_matches(plain, timm.list_models("*resne*"), n=4)
        hint = f"did you mean {' or '.join(close)}?" if close else "take resnet50 or resnet101"
        raise ValueError(f"segmenter.backbone: there is no network {name!r}: {hint}")
    # A last norm of zero would stay zero when it is frozen.
    options: dict[str, Any] = {"zero_init_last": False} if _is_resnet(plain) else {}
    network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    if not isinstance(network, ResNet):
        raise ValueError(
            f"segmenter.backbone must be a ResNet, and {name} is a {type(network).__name__}: take "
            "resnet50 or resnet101, or another segmenter"
        )
    learning = (*STAGES[::-1], "conv1", "bn1")[: trainable_layers + (trainable_layers > 4)]
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter_name.split(".", maxsplit=1)[0] in learning)
    widths = [info["num_chs"] for info in network.feature_info if info["module"] in STAGES]
    norm = nn.BatchNorm2d if heads == "v2" else None
    return BackboneWithFPN(
        network, dict(zip(STAGES, LEVELS, strict=True)), widths, channels, norm_layer=norm
    )


def _is_resnet(name: str) -> bool:
    entry = timm.model_entrypoint(name)
    return bool(entry.__module__ == "timm.models.resnet")


def checked_anchors(sizes: Sequence[float]) -> list[float]:
    """Refuse anchor sizes other than one a level of the pyramid, all above 0 and rising."""
    count = len(LEVELS) + 1  # The pyramid adds a level of its own.
    for size in sizes:
        check_positive(anchor_sizes=size)
    if len(sizes) != count or list(sizes) != sorted(sizes):
        raise ValueError(
            f"anchor_sizes must be {count} sizes, one a level from fine to coarse, "
            f"got {list(sizes)}"
        )
    return [float(size) for size in sizes]


def build_rpn(
    *, anchor_sizes: list[float], proposals: int, heads: str, channels: int
) -> RegionProposalNetwork:
    """Build what proposes boxes: one anchor size a level, in three shapes each."""
    anchors = AnchorGenerator(
        tuple((size,) for size in anchor_sizes), (_RATIOS,) * len(anchor_sizes)
    )
    depth = 2 if heads == "v2" else 1
    return CertainProposals(
        anchors,
        RPNHead(channels, anchors.num_anchors_per_location()[0], conv_depth=depth),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * proposals, "testing": proposals},
        post_nms_top_n={"training": proposals, "testing": proposals},
        nms_thresh=0.7,
    )


def build_roi_heads(
    *,
    classes: int,
    heads: str,
    channels: int,
    samples: int,
    score_floor: float,
    nms_iou: float,
    max_instances: int,
) -> RoIHeads:
    """Build what judges each proposal, moves its box and draws its mask."""
    norm = nn.BatchNorm2d if heads == "v2" else None
    size, width = 7, 4 * channels
    box_head = (
        FastRCNNConvFCHead((channels, size, size), [channels] * 4, [width], norm_layer=norm)
        if heads == "v2"
        else TwoMLPHead(channels * size * size, width)
    )
    return CertainHeads(
        MultiScaleRoIAlign(LEVELS, output_size=size, sampling_ratio=2),
        box_head,
        FastRCNNPredictor(width, classes),
        fg_iou_thresh=_MATCHED,
        bg_iou_thresh=_MATCHED,
        batch_size_per_image=samples,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=score_floor,
        nms_thresh=nms_iou,
        detections_per_img=max_instances,
        mask_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(channels, [channels] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes),
    )


def freeze_norms(module: nn.Module, *, epsilon: float) -> None:
    """Replace every batch norm by its frozen form, in place: batches of two are too small."""
    freeze_batch_norm_2d(module)  # type: ignore[no-untyped-call]
    for layer in module.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.eps = epsilon


def as_target(found: InstanceTargets) -> Target:
    """Give targets as torchvision names them, and the certainty beside them."""
    labels = torch.ones(len(found.boxes), dtype=torch.int64, device=found.boxes.device)
    return {
        "boxes": found.boxes,
        "labels": labels,
        "masks": found.masks,
        "certainty": found.certainty,
    }


def known_proposals(proposals: Tensor, target: Target) -> Tensor:
    """Drop proposals (N, 4) about which the picture says nothing.

    Those are the ones that lie mostly on uncertain pixels and match no instance: they would be
    taught as background.
    """
    certainty, boxes = target["certainty"], target["boxes"]
    known = mean_inside(certainty, proposals) >= _KNOWN
    if len(boxes):
        known |= box_iou(proposals, boxes).amax(dim=1) >= _MATCHED
    return proposals[known]


class CertainProposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's network of proposals, that learns nothing from uncertain pixels."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Match anchors to instances; background on mostly uncertain pixels is left out (-1)."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            if bool((target["certainty"] < _KNOWN).any()):
                label[(label == 0) & (mean_inside(target["certainty"], anchor) < _KNOWN)] = -1
        return labels, boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Give both losses; 0 for a batch of which nothing is known."""
        if not any(bool((label >= 0).any()) for label in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        found = super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)
        return cast(tuple[Tensor, Tensor], found)


class CertainHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's heads, whose mask loss weighs every pixel by its certainty."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give detections in evaluation, losses in training."""
        if not self.training or targets is None:
            found = super().forward(features, proposals, image_shapes)
            return cast(tuple[list[Target], dict[str, Tensor]], found)
        chosen, matched, labels, regression = self.select_training_samples(
            [known_proposals(p, t) for p, t in zip(proposals, targets, strict=True)], targets
        )
        if not any(map(len, chosen)):
            nothing = 0 * sum(p.sum() for p in self.parameters())
            return [], dict.fromkeys(("classifier", "box", "mask"), nothing)
        pooled = self.box_head(self.box_roi_pool(features, chosen, image_shapes))
        class_logits, box_deltas = self.box_predictor(pooled)
        class_loss, box_loss = fastrcnn_loss(class_logits, box_deltas, labels, regression)
        positive = [torch.where(label > 0)[0] for label in labels]
        mask_loss = self.mask_loss(
            features,
            [boxes[where] for boxes, where in zip(chosen, positive, strict=True)],
            [index[where] for index, where in zip(matched, positive, strict=True)],
            targets,
            image_shapes,
        )
        return [], {"classifier": class_loss, "box": box_loss, "mask": mask_loss}

    def mask_loss(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        matched: list[Tensor],
        targets: list[Target],
        image_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Give the mean cross-entropy of the masks in `boxes`, by the certainty of their pixels.

        Args:
            features: Maps of the pyramid by level.
            boxes: For each picture (N, 4), the proposals that show an instance.
            matched: For each picture (N,), which instance.
            targets: Of each picture.
            image_shapes: Height and width of each picture.
        """
        if not any(map(len, boxes)):
            parts = (self.mask_head, self.mask_predictor)
            return cast(Tensor, 0 * sum(p.sum() for part in parts for p in part.parameters()))
        pooled = self.mask_head(self.mask_roi_pool(features, boxes, image_shapes))
        logits = self.mask_predictor(pooled)
        side = logits.shape[-1]
        wanted, certain = [], []
        for box, index, target in zip(boxes, matched, targets, strict=True):
            if len(box):
                wanted.append(_in_boxes(target["masks"], box, index, side))
                whole = torch.zeros_like(index)
                certain.append(_in_boxes(target["certainty"][None], box, whole, side))
        weights = torch.cat(certain).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(
            logits[:, 1], torch.cat(wanted).to(logits.dtype), weight=weights, reduction="sum"
        )
        return losses / weights.sum().clamp(min=1.0)


def _in_boxes(maps: Tensor, boxes: Tensor, index: Tensor, side: int) -> Tensor:
    """Read, for each of the (N, 4) boxes, the map of its index in (side, side) cells.

    Pixels are squares with their centres at the half, so that a mask comes back where it was.
    """
    rois = torch.cat([index[:, None].to(boxes), boxes], dim=1)
    found = roi_align(maps[:, None].to(boxes), rois, side, aligned=True)
    return cast(Tensor, found[:, 0])
