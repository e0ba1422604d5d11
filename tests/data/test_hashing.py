"""Near-duplicates are found, and only they."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from weakseg.arrays import FrameArray
from weakseg.data.fingerprints import dataset_fingerprint, sha256_of
from weakseg.data.hashing import (
    BITS,
    near_duplicate_groups,
    near_pairs,
    perceptual_hash,
    perceptual_hashes,
)
from weakseg.data.index import IndexSource


def test_pairs_match_brute_force(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2, size=(700, BITS)).astype(np.uint8)
    bits[600] = bits[3]
    bits[650] = bits[3] ^ (np.arange(BITS) < 7)
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    found = list(near_pairs(hashes, bits=100))
    apart = (bits[:, None] != bits[None]).sum(-1)
    expected = [(i, j, apart[i, j]) for i, j in np.argwhere(apart <= 100).tolist() if i < j]
    assert sorted(found) == expected
    assert (3, 600, 0) in found
    assert (3, 650, 7) in found


def test_a_recompressed_smaller_copy_is_near(plume: FrameArray, tmp_path: Path) -> None:
    large = cv2.resize(plume, (640, 480), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(large).save(tmp_path / "a.png")
    Image.fromarray(large).resize((320, 240)).save(tmp_path / "b.jpg", quality=60)
    Image.fromarray(large[:, ::-1]).save(tmp_path / "c.png")
    (tmp_path / "d.png").touch()
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.png", "d.png")]
    hashes, readable = perceptual_hashes(paths)
    assert readable.tolist() == [True, True, True, False]
    near = {(i, j) for i, j, _ in near_pairs(hashes[:3], bits=24)}
    assert near == {(0, 1)}
    assert near_duplicate_groups(paths, bits=24) == [0, 0, 2, 3]


def test_brightness_hardly_changes_the_hash(rng: np.random.Generator) -> None:
    small = rng.integers(40, 120, size=(8, 8)).astype(np.uint8)
    grey = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
    brighter = cv2.convertScaleAbs(grey, alpha=1.3, beta=20)
    apart = int(np.bitwise_count(perceptual_hash(grey) ^ perceptual_hash(brighter)).sum())
    assert apart <= 16


def test_the_fingerprint_sees_bytes_and_labels_and_not_order(
    tiny_folder: Path, tiny_source: IndexSource, tmp_path: Path
) -> None:
    frames = tiny_source.frames()
    fingerprint = dataset_fingerprint(frames)
    assert dataset_fingerprint(frames[::-1]) == fingerprint
    assert dataset_fingerprint(frames[1:]) != fingerprint
    for path in tiny_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    moved = IndexSource(str(tmp_path / "index.csv")).frames()
    assert dataset_fingerprint(moved) == fingerprint
    with (tmp_path / "scene0_0.png").open("ab") as file:
        file.write(b"x")
    assert dataset_fingerprint(moved) != fingerprint


def test_sha256_is_the_known_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")
