"""Start a segmenter's encoder from a file: timm's weights, or a finished classifier's."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from weakseg.errors import WeightsError
from weakseg.models.weights import BACKBONE_PREFIX, read_weights, strip_prefix

log = logging.getLogger(__name__)

RUN_PREFIX = "run:"
_BEST = Path("checkpoints") / "best.safetensors"
_LISTED = 4


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
