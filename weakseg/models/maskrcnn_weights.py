"""Start a Mask R-CNN: from COCO by name, from a file of all of it, or from its backbone alone."""

from __future__ import annotations

import logging
from collections.abc import Collection
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import torch
from torch import nn
from torchvision.models.detection import (
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
)

from weakseg.errors import WeightsError
from weakseg.models import hub
from weakseg.models.encoders import Matched, load_encoder, weights_path
from weakseg.models.weights import read_checkpoint

log = logging.getLogger(__name__)

KEY: Final = "segmenter.weights"
COCO: Final = "coco"
HUB: Final = "hub"
COCO_V1_EPSILON: Final = 0.0
"""The first COCO weights were trained with frozen norms that add nothing to the variance."""

_COCO_BACKBONE: Final = "resnet50"
_WHOLE: Final = "rpn."
_BY_CLASS: Final = (
    "roi_heads.box_predictor.cls_score.",
    "roi_heads.box_predictor.bbox_pred.",
    "roi_heads.mask_predictor.mask_fcn_logits.",
)
_LISTED: Final = 4


def find_weights(weights: str, *, backbone: str, heads: str) -> Path:
    """Give the file that `weights` means, fetching it once where it is a name.

    Args:
        weights: "coco", "hub" (the backbone's own), a file, or `run:FOLDER`.
        backbone: timm's name.
        heads: "v1" or "v2", of which COCO weights.

    Raises:
        WeightsError: If there are no such weights, or they cannot be had within seconds.
    """
    if weights == HUB:
        return hub.fetch_timm_weights(backbone, key=KEY)
    return _coco_file(backbone, heads) if weights == COCO else weights_path(weights)


def fill(network: nn.Module, path: Path, *, body: nn.Module) -> Matched:
    """Fill a Mask R-CNN, in place, from a file of all of it or of its backbone.

    Predictors for another number of classes are left as they are: COCO has 91.

    Args:
        network: With the names of torchvision's `MaskRCNN`.
        path: Safetensors, or a pickled file of nothing but tensors.
        body: The ResNet within `network`.

    Raises:
        WeightsError: If the file is broken, or another network's.
    """
    tensors = read_checkpoint(path)
    if not any(name.startswith(_WHOLE) for name in tensors):
        return load_encoder(body, path)
    own = network.state_dict()
    shapes = {name: tensor.shape for name, tensor in own.items()}
    given = {
        name: tensor
        for name, tensor in tensors.items()
        if not _other_classes(name, tensor.shape, shapes.get(name)) and not _is_counter(name)
    }
    try:
        found = network.load_state_dict(given, strict=False)
    except RuntimeError as error:
        # torch's first line names the class, the others one tensor each.
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        raise WeightsError(
            f"{path} is another Mask R-CNN: {'; '.join(faults[:_LISTED])}: name its backbone by "
            "segmenter.backbone and its heads by segmenter.heads"
        ) from error
    missing = [
        name
        for name in found.missing_keys
        if not name.startswith(_BY_CLASS) and not _is_counter(name)
    ]
    if missing or found.unexpected_keys:
        raise WeightsError(
            f"{path} is another Mask R-CNN: {_listed('lacks', missing)}"
            f"{_listed('has besides', found.unexpected_keys)}"
            "name its backbone by segmenter.backbone and its heads by segmenter.heads"
        )
    random = tuple(name for name in found.missing_keys if not _is_counter(name))
    log.debug("%s fills all but %s", path, ", ".join(random) or "nothing")
    return Matched(len(own), len(own) - len(found.missing_keys), random)


def _other_classes(name: str, given: torch.Size, own: torch.Size | None) -> bool:
    return name.startswith(_BY_CLASS) and given != own


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _listed(verb: str, names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"it {verb} {len(names)} tensors ({shown}); " if names else ""


def _coco_file(backbone: str, heads: str) -> Path:
    if backbone.split(".", maxsplit=1)[0] != _COCO_BACKBONE:
        raise WeightsError(
            f"torchvision has COCO weights of Mask R-CNN for {_COCO_BACKBONE} only, not for "
            f"{backbone}: take {KEY}={HUB} for the backbone's own, or give {KEY}=FILE"
        )
    weights = (
        MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        if heads == "v2"
        else MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    )
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.is_file():
        _check_reachable(weights.url)
        try:
            # The hash in the file's name is checked, and a pickle may hold nothing but tensors.
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (URLError, HTTPException, OSError, RuntimeError) as error:
            raise WeightsError(f"no COCO weights of Mask R-CNN ({error}): {_way_out()}") from error
    return path


def _check_reachable(url: str) -> None:
    """Raise WeightsError within seconds when nobody answers; torch's client has no limit."""
    try:
        with urlopen(url, timeout=hub.KNOCK_SECONDS):
            return
    except HTTPError as error:
        reason = f"answer {error.code}"
    except (OSError, HTTPException) as error:
        reason = str(error)
    raise WeightsError(
        f"COCO weights of Mask R-CNN are not cached and cannot be fetched ({reason}): {_way_out()}"
    )


def _way_out() -> str:
    return (
        f"give {KEY}=FILE (of a Mask R-CNN, or of its backbone alone), or {KEY}=none for random "
        "ones"
    )
