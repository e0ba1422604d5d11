"""Find frames that look the same: perceptual hashes and the groups they form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask
from weakseg.checks import check_at_least, check_shape
from weakseg.data.reading import MAX_PIXELS, read_grey_thumbnail
from weakseg.data.threads import map_threads
from weakseg.errors import DataError

Hashes: TypeAlias = npt.NDArray[np.uint64]
"""(N, 4) uint64: 256 bits a frame."""

SIDE = 64
LOW = 16
BITS = LOW * LOW
# Of 256. On crops of wildfire cameras no two scenes come nearer than 72, one scene often does.
NEAR_DUPLICATE_BITS = 56
BLOCK = 512


def perceptual_hash(grey: Mask) -> Hashes:
    """Hash a grey picture by the signs of its 256 lowest cosine frequencies about their median.

    Args:
        grey: (64, 64) uint8.

    Returns:
        (4,) uint64.
    """
    check_shape((SIDE, SIDE), grey=grey)
    low = cv2.dct(grey.astype(np.float32))[:LOW, :LOW]
    bits = np.asarray(low > np.median(low))
    return np.packbits(bits.reshape(-1)).view(np.uint64)


def perceptual_hashes(
    paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS
) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Hash many files.

    Returns:
        (N, 4) uint64 hashes, and (N,) whether each file could be read; hashes of the others are 0.
    """
    hashes = np.zeros((len(paths), BITS // 64), dtype=np.uint64)
    readable = np.zeros(len(paths), dtype=np.bool_)

    def work(path: Path) -> Hashes | None:
        try:
            return perceptual_hash(read_grey_thumbnail(path, side=SIDE, max_pixels=max_pixels))
        except DataError:
            return None

    for i, found in enumerate(map_threads(work, paths)):
        if found is not None:
            hashes[i] = found
            readable[i] = True
    return hashes, readable


def near_pairs(hashes: Hashes, *, bits: int) -> Iterator[tuple[int, int, int]]:
    """Yield (i, j, distance) with i < j for all pairs at most `bits` of 256 bits apart."""
    check_at_least(0, bits=bits)
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK]
        rest = hashes[start:]
        distances = np.zeros((len(block), len(rest)), dtype=np.uint16)
        for word in range(hashes.shape[1]):
            distances += np.bitwise_count(block[:, None, word] ^ rest[None, :, word])
        rows, columns = np.nonzero(distances <= bits)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if i < j:
                yield start + i, start + j, int(distances[i, j])


def near_duplicate_groups(
    paths: Sequence[Path], *, bits: int = NEAR_DUPLICATE_BITS, max_pixels: int = MAX_PIXELS
) -> list[int]:
    """Number each file's group of near-duplicates: chains of pairs at most `bits` apart.

    Returns:
        For each file the place of its group's first file. A file that cannot be read stands alone.
    """
    hashes, readable = perceptual_hashes(paths, max_pixels=max_pixels)
    parents = list(range(len(paths)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    known = np.flatnonzero(readable).tolist()
    for a, b, _ in near_pairs(hashes[readable], bits=bits):
        first, second = sorted((root(known[a]), root(known[b])))
        parents[second] = first
    return [root(i) for i in range(len(paths))]
