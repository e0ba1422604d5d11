"""Masks corrected by hand are kept as a data set, whoever else writes into its folder."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weakseg.arrays import FrameArray
from weakseg.artifacts.lock import FolderLock
from weakseg.data import IndexSource
from weakseg.data.truth import load_masks, read_mask
from weakseg.errors import ArtifactError, DataError
from weakseg.stages.serving.corrections import LabelFolder
from weakseg.stages.serving.viewing import repainted


def test_corrected_masks_are_a_data_set(
    tmp_path: Path, plume: FrameArray, plume_mask: FrameArray
) -> None:
    labels = LabelFolder(tmp_path / "labels")
    labels.save(plume, plume_mask, source="cam, 1")
    labels.save(plume[::-1].copy(), np.zeros_like(plume_mask))
    saved = labels.save(plume, plume_mask * 0, source="cam, 1")
    assert saved.count == 2, "the same frame again replaces its mask"
    saved = labels.save(plume, plume_mask)
    index = tmp_path / "labels" / "index.csv"
    frames = IndexSource(str(index), scenes="frame", val_fraction=0).frames()
    assert sorted(frame.label for frame in frames) == [0, 1]
    masks = load_masks(index)
    found = read_mask(masks[saved.frame], height=48, width=64)
    np.testing.assert_array_equal(found, plume_mask)


def test_two_apps_with_one_folder_wait_for_each_other(
    tmp_path: Path, plume: FrameArray, plume_mask: FrameArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    LabelFolder(tmp_path).save(plume, plume_mask)
    rows = LabelFolder._rows

    def slowly(self: LabelFolder) -> dict[str, dict[str, str]]:
        found = rows(self)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(LabelFolder, "_rows", slowly)
    frames = [np.roll(plume, shift, axis=1) for shift in (1, 2)]
    apps = [
        threading.Thread(target=LabelFolder(tmp_path).save, args=(frame, plume_mask))
        for frame in frames
    ]
    for one in apps:
        one.start()
    for one in apps:
        one.join(timeout=30)
    assert len(load_masks(tmp_path / "index.csv")) == 3


def test_a_folder_that_another_app_keeps_is_told(
    tmp_path: Path, plume: FrameArray, plume_mask: FrameArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weakseg.stages.serving.corrections.PATIENCE_SECONDS", 0.0)
    holder = FolderLock(tmp_path)
    with pytest.raises(ArtifactError, match="is in use"):
        LabelFolder(tmp_path).save(plume, plume_mask)
    holder.release()
    assert LabelFolder(tmp_path).save(plume, plume_mask).count == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, plume: FrameArray) -> None:
    (tmp_path / "index.csv").write_text("path,label\na.png,1\n")
    with pytest.raises(DataError, match="labels= another folder"):
        LabelFolder(tmp_path).save(plume, np.zeros(plume.shape[:2], np.uint8))
    assert (tmp_path / "index.csv").read_text() == "path,label\na.png,1\n"
    assert [one.name for one in tmp_path.iterdir()] == ["index.csv"]
    with pytest.raises(ValueError, match="0, 1 and 255"):
        LabelFolder(tmp_path / "new").save(plume, np.full(plume.shape[:2], 7, np.uint8))


def test_two_colours_correct_a_mask() -> None:
    mask = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], np.uint8)
    layer = np.zeros((4, 8, 4), np.uint8)  # twice the size
    layer[:2, 4:6] = (216, 27, 96, 150)  # adds (0, 2)
    layer[2:, :2] = (30, 136, 229, 150)  # takes (1, 0) away
    layer[2:, 6:] = (216, 27, 96, 20)  # hardly there
    wanted: Any = [[1, 1, 1, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(repainted(mask, [layer]), wanted)
    undone = layer[::2, ::2].copy()
    undone[0, 2] = (30, 136, 229, 255)  # a later layer wins
    wanted[0][2] = 0
    np.testing.assert_array_equal(repainted(mask, [layer, undone]), wanted)
    np.testing.assert_array_equal(repainted(mask, []), mask)
