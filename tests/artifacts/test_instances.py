"""Instances are written as COCO's own tools read them."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from weakseg.artifacts.instances import as_records, encode_rle, write_coco
from weakseg.models import FoundInstances


@pytest.mark.parametrize("seed", range(20))
def test_codes_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 90, size=2)
    mask = rng.random(shape) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    theirs = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask) == {"size": theirs["size"], "counts": theirs["counts"].decode()}


def test_long_runs_are_encoded() -> None:
    mask = np.zeros((1200, 1900), dtype=np.bool_)
    mask[300:900, 400:1500] = True
    theirs = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask)["counts"] == theirs["counts"].decode()


def test_a_file_reads_back_with_pycocotools(tmp_path: Path) -> None:
    cells = torch.ones(2, 4, 4)
    boxes = torch.tensor([[2.0, 3, 12, 9], [20.0, 0, 30, 10]])
    found = FoundInstances(boxes, torch.tensor([0.9, 0.4]), cells, 20, 30)
    nothing = FoundInstances(boxes[:0], torch.zeros(0), cells[:0], 8, 8)
    pictures = [
        ({"file_name": "a.jpg", "height": 8, "width": 8}, as_records(nothing)),
        ({"file_name": "b.jpg", "height": 20, "width": 30}, as_records(found)),
    ]
    assert write_coco(tmp_path / "instances.json", pictures, info={"mask_cut": 0.5}) == 2
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(tmp_path / "instances.json"))
        again = read.loadRes(read.dataset["annotations"])
    assert read.getAnnIds(imgIds=1) == []
    first, second = read.loadAnns(read.getAnnIds(imgIds=2))
    assert first["bbox"] == [2, 3, 10, 6]
    assert second["score"] == pytest.approx(0.4)
    expected = np.zeros((20, 30), dtype=np.uint8)
    expected[3:9, 2:12] = 1
    # Their decoder is not yet made for NumPy 2, and says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        np.testing.assert_array_equal(read.annToMask(first), expected)
    assert first["area"] == expected.sum() == again.anns[1]["area"]
