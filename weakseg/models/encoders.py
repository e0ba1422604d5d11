"""Choose a segmenter's encoder, and start it from timm's weights or a finished classifier's."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import model_entrypoint
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_shape
from weakseg.errors import WeightsError
from weakseg.models import hub
from weakseg.models.weights import (
    BACKBONE_PREFIX,
    read_weights,
    sha256_of_weights,
    strip_prefix,
)

log = logging.getLogger(__name__)

RUN_PREFIX = "run:"
TIMM_PREFIX = "tu-"
SIZE_UNIT = 32
"""Pictures are padded to a multiple of it, the stride of an encoder's deepest level."""

_KEY = "segmenter.encoder_weights"
_BEST = Path("checkpoints") / "best.safetensors"
_LISTED = 4


def check_encoder(name: str) -> None:
    """Refuse an encoder that neither timm nor segmentation_models_pytorch has.

    Raises:
        ValueError: With the names that come near.
    """
    known = smp.encoders.get_encoder_names()
    if name.startswith(TIMM_PREFIX):
        if timm.is_model(_timm_network(name)):
            return
        known = [f"{TIMM_PREFIX}{network}" for network in timm.list_models()]
    elif name in known:
        return
    if timm.is_model(name):
        close = [f"{TIMM_PREFIX}{name}"]
    else:
        close = difflib.get_close_matches(name, known, n=4)
    hint = f"did you mean {' or '.join(close)}?" if close else "write tu- and a timm name"
    raise ValueError(f"segmenter.encoder: there is no encoder {name!r}: {hint}")


def encoder_options(name: str) -> dict[str, Any]:
    """Give what timm must be told for the encoder to read pictures of any size.

    Swin transformers keep to the size they were made for unless asked; their windows are padded.
    """
    if not name.startswith(TIMM_PREFIX):
        return {}
    module = model_entrypoint(_timm_network(name)).__module__
    return {"strict_img_size": False} if module.startswith("timm.models.swin") else {}


def normalisation(name: str) -> tuple[Tensor, Tensor]:
    """Give the mean and deviation, (1, 3, 1, 1) float32, that an encoder's weights expect."""
    config = None
    if name.startswith(TIMM_PREFIX):
        config = timm.get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
    mean = IMAGENET_DEFAULT_MEAN if config is None else config.mean
    std = IMAGENET_DEFAULT_STD if config is None else config.std
    return torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)


def padded(images: Tensor) -> Tensor:
    """Pad pictures right and below to a multiple of 32 by repeating the border.

    Args:
        images: (B, 3, H, W) float32 in [0, 1], H and W at least 32.

    Raises:
        ValueError: If they have another shape, or are smaller.
    """
    check_shape((None, 3, None, None), images=images)
    height, width = images.shape[-2:]
    check_at_least(SIZE_UNIT, height=height, width=width)
    padding = (0, -width % SIZE_UNIT, 0, -height % SIZE_UNIT)
    return F.pad(images, padding, mode="replicate") if any(padding) else images


@dataclass(frozen=True)
class Matched:
    """How many tensors an encoder has, how many a file filled, and which it did not fill."""

    total: int
    matched: int
    missing: tuple[str, ...]


def weights_path(source: str) -> Path:
    """Give the file that `source` means: a file, or the best weights of `run:FOLDER`."""
    path = Path(source.removeprefix(RUN_PREFIX)).expanduser()
    return path / _BEST if path.is_dir() else path


@dataclass(frozen=True)
class Started:
    """How an encoder started: how much of it a file filled, and that file's hash."""

    matched: Matched | None = None
    sha256: str | None = None


def start_encoder(encoder: nn.Module, name: str, weights: str | None) -> Started:
    """Fill an encoder with the weights that were asked for, in place.

    Args:
        encoder: Of segmentation_models_pytorch.
        name: Its name there, `tu-` and a timm name included.
        weights: "hub" for its pretrained weights by name, None or "none" to leave it at random, a
            safetensors file, or `run:FOLDER`.

    Raises:
        WeightsError: If the weights cannot be had, or are another network's.
    """
    if weights in {None, "none", ""}:
        return Started()
    path = _hub_file(name) if weights == "hub" else weights_path(str(weights))
    return Started(load_encoder(encoder, path), sha256_of_weights(path))


def load_encoder(encoder: nn.Module, path: str | Path) -> Matched:
    """Fill an encoder of segmentation_models_pytorch from a safetensors file, in place.

    Names are matched after taking off `backbone.` (a finished classifier) on the file's side and
    `model.` (smp's wrapping of timm) on the encoder's, and `stages_0` (timm's networks as feature
    extractors) is read as `stages.0`. What only classifiers have (heads) is left out.

    Raises:
        WeightsError: If the file is broken, if nothing of it matches, or if a tensor that does
            match by name has another shape: then these are another network's weights.
    """
    path = Path(path)
    given = {_plain(n): t for n, t in strip_prefix(read_weights(path), BACKBONE_PREFIX).items()}
    own = encoder.state_dict()
    wanted = {name: _plain(name.removeprefix("model.")) for name in own}
    matched = {name: given[plain] for name, plain in wanted.items() if plain in given}
    _check_shapes(own, matched, path)
    missing = tuple(
        name for name in own if name not in matched and not name.endswith("num_batches_tracked")
    )
    if not matched or len(missing) > len(matched):
        raise WeightsError(
            f"{path} fills {len(matched)} of the encoder's {len(own)} tensors "
            f"(not {', '.join(missing[:_LISTED])}...): give weights of the same network"
        )
    encoder.load_state_dict({**own, **matched})
    log.debug("%s fills %d of the encoder's %d tensors", path, len(matched), len(own))
    return Matched(len(own), len(matched), missing)


def _check_shapes(own: Mapping[str, Tensor], matched: Mapping[str, Tensor], path: Path) -> None:
    wrong = [
        f"{name} is {tuple(tensor.shape)} and should be {tuple(own[name].shape)}"
        for name, tensor in matched.items()
        if tensor.shape != own[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path} is of another network than the encoder: {'; '.join(wrong[:_LISTED])}"
        )


def _plain(name: str) -> str:
    """Write list items with a dot, which feature extractors write with an underscore."""
    return re.sub(r"_(\d+)\.", r".\1.", name)


def _timm_network(name: str) -> str:
    return name.removeprefix(TIMM_PREFIX).split(".", maxsplit=1)[0]


def _hub_file(name: str) -> Path:
    if name.startswith(TIMM_PREFIX):
        return hub.fetch_timm_weights(name.removeprefix(TIMM_PREFIX), key=_KEY)
    given = smp.encoders.encoders[name]["pretrained_settings"]
    if "imagenet" not in given:
        raise WeightsError(f"the hub has no ImageNet weights of {name}: give {_KEY}=FILE or none")
    settings = given["imagenet"]
    return hub.fetch(settings["repo_id"], what=name, key=_KEY, revision=settings["revision"])
