"""Ground-truth masks are understood in both codings, and refused when they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.data import DataError, IndexSource
from weakseg.data.truth import load_masks, masks_of, read_mask


def _save(path: Path, values: list[list[int]]) -> Path:
    Image.fromarray(np.array(values, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 255]], [[0, 1]]),
        ([[255, 255]], [[1, 1]]),
        ([[0, 1]], [[0, 1]]),
        ([[0, 0]], [[0, 0]]),
        ([[1, 255]], [[1, 255]]),
    ],
)
def test_both_codings_are_read(
    values: list[list[int]], expected: list[list[int]], tmp_path: Path
) -> None:
    mask = read_mask(_save(tmp_path / "m.png", values), height=1, width=2)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.png covers 1x2 pixels but its frame 2x2"):
        read_mask(_save(tmp_path / "m.png", [[0, 1]]), height=2, width=2)


def test_other_values_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds the values 0, 17, 255"):
        read_mask(_save(tmp_path / "m.png", [[0, 17, 255]]), height=1, width=3)


def test_masks_map_frames_by_absolute_path(tiny_source: IndexSource, tiny_folder: Path) -> None:
    masks = masks_of(tiny_source.settings())
    assert masks == load_masks(tiny_folder / "index.csv")
    assert len(masks) == 16
    for frame in tiny_source.frames():
        mask = read_mask(masks[frame.path], height=48, width=64)
        assert mask.any() == (frame.label == 1)


def test_rows_without_a_mask_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("path,mask_path\na.png,\nb.png,m/b.png\n")
    assert load_masks(tmp_path / "i.csv") == {tmp_path / "b.png": tmp_path / "m" / "b.png"}
    other = load_masks(tmp_path / "i.csv", root=tmp_path / "r")
    assert other == {tmp_path / "r" / "b.png": tmp_path / "r" / "m" / "b.png"}


def test_an_index_without_masks_maps_nothing(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("path,label\na.png,1\n")
    assert masks_of(IndexSource(str(tmp_path / "i.csv")).settings()) == {}
