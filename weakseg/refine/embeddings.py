"""Keep what large networks see in a frame on disk: a second's work each, and always the same."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from weakseg.arrays import FrameArray
from weakseg.artifacts.atomic import write_bytes

log = logging.getLogger(__name__)

Embedding = npt.NDArray[np.float16]

_NAME: Final = "embedding"


def embedding_path(
    cache_dir: Path,
    frame: FrameArray,
    *,
    weights_sha256: str,
    kind: str = "sam",
    settings: str = "",
    suffix: str = ".safetensors",
) -> Path:
    """Return where what a network sees in a frame lies: named by all that it depends on.

    So a folder can be shared by recipes, seeds and runs.

    Args:
        cache_dir: The folder.
        frame: (H, W, 3) uint8; its pixels count, not its name.
        weights_sha256: Hash of the network's weights.
        kind: The folder inside `cache_dir`, one for each kind of product.
        settings: What else changes the product, as a text.
        suffix: Of the file.
    """
    digest = hashlib.sha256(f"{frame.shape} {weights_sha256} {settings}".encode())
    digest.update(np.ascontiguousarray(frame).tobytes())
    return cache_dir / kind / f"{digest.hexdigest()}{suffix}"


def cached_embedding(path: Path | None, compute: Callable[[], Embedding]) -> Embedding:
    """Return the embedding at `path`, or compute and keep it.

    A file that is damaged in any way is computed anew. Embeddings are float16 whether they come
    from the disk or not, so that both give the same masks. One takes 2 MB.

    Args:
        path: The file; None keeps nothing.
        compute: Gives the embedding.

    Raises:
        ArtifactError: If the file cannot be written.
    """
    if path is None:
        return compute()
    found = _read(path)
    if found is not None:
        return found
    embedding = compute()
    write_bytes(path, _pack(embedding))
    return embedding


def _pack(embedding: Embedding) -> bytes:
    # The format writes memory as it lies there, whatever the order of the axes.
    embedding = np.ascontiguousarray(embedding)
    checksum = hashlib.sha256(embedding.tobytes()).hexdigest()
    return save({_NAME: embedding}, metadata={"sha256": checksum})


def _read(path: Path) -> Embedding | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        embedding: Embedding = load(content)[_NAME]
        (length,) = struct.unpack("<Q", content[:8])
        checksum = json.loads(content[8 : 8 + length])["__metadata__"]["sha256"]
    except (SafetensorError, KeyError, ValueError, struct.error):
        log.debug("%s is damaged: computed anew", path)
        return None
    intact = hashlib.sha256(embedding.tobytes()).hexdigest() == checksum
    return embedding if intact else None
