"""Read and write network weights as safetensors: whole, checked, and never a pickle."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from weakseg.artifacts.atomic import write_bytes
from weakseg.errors import WeightsError

log = logging.getLogger(__name__)

BACKBONE_PREFIX = "backbone."
"""What a saved `Classifier` puts before the names of its timm network."""

_LISTED = 4


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file; half-precision tensors come back as float32.

    Args:
        path: The file. Pickled checkpoints (`.pth`, `.pt`, `.bin`) are refused: they can run code.

    Raises:
        WeightsError: If the file is missing, empty, cut short or no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}: give a .safetensors file")
    if path.suffix in {".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar"}:
        raise WeightsError(f"{path} is a pickled checkpoint: convert it to .safetensors first")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({error}): fetch it again"
        ) from error
    return {name: _full_precision(tensor) for name, tensor in tensors.items()}


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read other people's weights: safetensors, or a pickled file that holds nothing but tensors.

    Pickles are read with `weights_only=True` and so cannot run code; one level of `state_dict` is
    taken off.

    Raises:
        WeightsError: If the file is missing, broken, or holds something else than weights.
    """
    path = Path(path)
    if path.suffix not in {".pth", ".pt", ".bin"}:
        return read_weights(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
    ) as error:
        raise WeightsError(
            f"{path} is no plain file of weights ({type(error).__name__})"
        ) from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise WeightsError(f"{path} holds something else than weights")
    return {name: _full_precision(tensor) for name, tensor in tensors.items()}


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def sha256_of_weights(path: str | Path) -> str:
    """Hash a weights file, for manifests and fingerprints."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_pretrained(module: nn.Module, path: str | Path, *, head: Collection[str] = ()) -> None:
    """Load a timm network's weights from a local file, strictly but for its classifier head.

    A `backbone.` prefix (a classifier this package saved) is taken off, so a finished
    classifier can start another one. Batch counters of BatchNorm may be missing.

    Args:
        module: The network to fill, in place.
        path: A safetensors file.
        head: Names of the head modules (`fc`, `classifier`, `head.fc`). Their tensors are used when
            the shapes fit and left at random when they do not.

    Raises:
        WeightsError: If anything but the head is missing, unexpected or of another shape.
    """
    tensors = strip_prefix(read_weights(path), BACKBONE_PREFIX)
    own = module.state_dict()
    heads = tuple(f"{name}." for name in head)
    for name in [name for name in tensors if heads and name.startswith(heads)]:
        if name not in own or own[name].shape != tensors[name].shape:
            log.debug("%s: head tensor %s does not fit and stays as initialised", path, name)
            del tensors[name]
    optional = {name for name in own if heads and name.startswith(heads)}
    check_fit(own, tensors, path=Path(path), optional=optional)
    module.load_state_dict(tensors, strict=False)


def save_weights(path: str | Path, module: nn.Module) -> None:
    """Write all parameters and buffers of `module` as one safetensors file, atomically."""
    # Copies: layers may share a tensor, and the format knows no sharing.
    own = module.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in own.items()}
    # As bytes: safetensors' own writer hides a full disk behind an error of its own.
    write_bytes(Path(path), save(tensors, metadata={"format": "pt"}))


def load_weights(path: str | Path, module: nn.Module) -> None:
    """Fill `module` from a file that `save_weights` wrote, strictly.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of another shape.
    """
    tensors = read_weights(path)
    check_fit(module.state_dict(), tensors, path=Path(path))
    module.load_state_dict(tensors, strict=False)


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Keep what stands under `prefix`, without it; all of it when nothing does."""
    under = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return under or dict(tensors)


def check_fit(
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    path: Path,
    optional: Collection[str] = (),
) -> None:
    """Compare a network's tensors with a file's.

    Raises:
        WeightsError: If any is missing (but for `optional` ones), unexpected or of another shape.
    """
    missing = sorted(
        name
        for name in own.keys() - tensors.keys() - set(optional)
        if not name.endswith("num_batches_tracked")
    )
    unexpected = sorted(tensors.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} and should be {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:_LISTED])}{', ...' if names[_LISTED:] else ''})"
        for what, names in (
            ("tensors missing", missing),
            ("unexpected tensors", unexpected),
            ("wrong shapes", shapes),
        )
        if names
    ]
    if faults:
        raise WeightsError(
            f"{path} does not fit this network of {len(own)} tensors: {'; '.join(faults)}: "
            "name the network these weights belong to, or another file"
        )
