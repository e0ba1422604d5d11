from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weakseg.arrays import FrameArray
from weakseg.refine.embeddings import cached_embedding, embedding_path


class Counter:
    """Compute a fixed embedding, and count how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.embedding = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float16)

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return self.embedding


def test_an_embedding_is_computed_once(tmp_path: Path) -> None:
    compute, path = Counter(), tmp_path / "deep" / "a.safetensors"
    first, second = cached_embedding(path, compute), cached_embedding(path, compute)
    np.testing.assert_array_equal(first, second)
    assert second.dtype == np.float16
    assert compute.calls == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_without_a_path_nothing_is_kept() -> None:
    compute = Counter()
    cached_embedding(None, compute)
    cached_embedding(None, compute)
    assert compute.calls == 2


def test_the_order_of_the_axes_in_memory_is_no_matter(tmp_path: Path) -> None:
    turned = np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1)
    cached_embedding(tmp_path / "a.safetensors", lambda: turned)
    compute = Counter()
    np.testing.assert_array_equal(cached_embedding(tmp_path / "a.safetensors", compute), turned)
    assert compute.calls == 0


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "flipped", "header"])
def test_a_damaged_file_is_computed_anew_and_mended(tmp_path: Path, damage: str) -> None:
    compute, path = Counter(), tmp_path / "a.safetensors"
    cached_embedding(path, compute)
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    broken = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "garbage": b"\xff" * 300,
        "flipped": flipped,
        "header": whole.replace(b'"embedding"', b'"embeddinG"'),
    }
    path.write_bytes(broken[damage])
    np.testing.assert_array_equal(cached_embedding(path, compute), compute.embedding)
    assert compute.calls == 2
    assert path.read_bytes() == whole


def test_pixels_and_weights_name_the_file(plume: FrameArray, tmp_path: Path) -> None:
    other = plume.copy()
    other[0, 0, 0] ^= 1
    paths = {
        embedding_path(tmp_path, frame, weights_sha256=sha)
        for frame in (plume, other, plume.transpose(1, 0, 2))
        for sha in ("aa", "bb")
    }
    assert len(paths) == 6
    assert embedding_path(tmp_path, plume.copy(), weights_sha256="aa") in paths
    told = {"weights_sha256": "aa", "kind": "clip"}
    more = {embedding_path(tmp_path, plume, **told, settings=size) for size in ("1", "2")}
    assert len(paths | more) == 8
