"""Folders named smoke and nonsmoke give frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from weakseg.data import DataError, FolderSource, source_from_settings
from weakseg.data.truth import masks_of


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    for scene in range(6):
        home = tmp_path / ("smoke" if scene % 2 == 0 else "nonsmoke") / f"cam{scene}"
        home.mkdir(parents=True)
        shutil.copy(tiny_folder / f"scene{scene}_0.png", home / "a.PNG")
    (tmp_path / "smoke" / "Thumbs.db").write_text("not a picture")
    (tmp_path / "smoke" / "._a.png").write_text("not a picture either")
    return tmp_path


def test_labels_and_scenes_come_from_folder_names(folder: Path) -> None:
    frames = FolderSource(str(folder), val_fraction=0).frames()
    assert [frame.id for frame in frames if frame.label] == [
        f"smoke__cam{scene}__a" for scene in (0, 2, 4)
    ]
    assert {frame.scene for frame in frames} == {f"cam{scene}" for scene in range(6)}


def test_split_folders_are_kept(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for label in ("smoke", "nonsmoke"):
            shutil.copytree(folder / label, tmp_path / "all" / split / label)
    frames = FolderSource(str(tmp_path / "all"), scenes="frame").frames()
    assert [sum(frame.split == s for frame in frames) for s in ("train", "val", "test")] == [6] * 3


def test_settings_build_the_same_frames(folder: Path) -> None:
    source = FolderSource(str(folder), seed=3, val_fraction=0.4)
    assert source_from_settings(source.settings()).frames() == source.frames()


def test_masks_lie_beside_the_label_folders(folder: Path) -> None:
    source = FolderSource(str(folder))
    assert masks_of(source.settings()) == {}
    mask = folder / "masks" / "cam2" / "a.png"
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert masks_of(source.settings()) == {folder / "smoke" / "cam2" / "a.PNG": mask}


def test_a_missing_or_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none is not a folder"):
        FolderSource(str(tmp_path / "none")).frames()
    with pytest.raises(DataError, match="holds no pictures"):
        FolderSource(str(tmp_path)).frames()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        source_from_settings({"kind": "tape"})
