"""Run-length codes are decoded as pycocotools wrote them; damaged ones are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from weakseg.importers.rle import decode_rle
from weakseg.importers.shapes import ShapeError

codes = pytest.importorskip("pycocotools.mask")


@settings(max_examples=150, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_compressed_codes_are_read_back(mask: np.ndarray) -> None:
    written = codes.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = mask.shape
    for counts in (written["counts"], written["counts"].decode()):
        code = {"size": [height, width], "counts": counts}
        np.testing.assert_array_equal(decode_rle(code, height=height, width=width), mask)


def test_long_runs_are_read_back() -> None:
    mask = np.zeros((900, 1300), dtype=np.uint8)
    mask[100:800, 400:1200] = 1
    mask[300, 500] = 0
    written = codes.encode(np.asfortranarray(mask))
    code = {"size": [900, 1300], "counts": written["counts"].decode()}
    np.testing.assert_array_equal(decode_rle(code, height=900, width=1300), mask == 1)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_lists_of_runs_are_read_back(mask: np.ndarray) -> None:
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [len(flat)]))).tolist()
    counts = [0, *runs] if flat[0] else runs
    height, width = mask.shape
    code = {"size": [height, width], "counts": counts}
    np.testing.assert_array_equal(decode_rle(code, height=height, width=width), mask)


@pytest.mark.parametrize(
    "counts",
    [
        "", "1", "00000", "~~~~", "PPPP", "ooooooooooooooooo", "5220300000000000000", "\udcff",
        b"\xff", [], [16.0], [3, -3, 16], [True] * 16, [2**80], [2**62, 2**62], None, ["16"],
    ],
)  # fmt: skip
def test_damaged_codes_are_refused(counts: Any) -> None:
    with pytest.raises(ShapeError, match="damaged run-length code"):
        decode_rle({"size": [4, 4], "counts": counts}, height=4, width=4)


@pytest.mark.parametrize("size", [[4, 5], [4], None, "44", [10**9, 10**9]])
def test_codes_of_another_size_are_refused(size: Any) -> None:
    with pytest.raises(ShapeError, match="another size"):
        decode_rle({"size": size, "counts": [16]}, height=4, width=4)
