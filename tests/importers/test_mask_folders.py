"""Folders of pictures and masks are paired by name, whatever the masks are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, import_from, save_mask, save_picture
from PIL import Image

from weakseg.errors import DataError
from weakseg.importers import MaskFolderReader
from weakseg.importers.mask_files import Coding, MaskFile, settle

BOX = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
BOX[10:20, 20:40] = 1


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("images/train/a.jpg", "masks/train/a.png"),
        ("train/images/a.jpg", "train/masks/a.png"),
        ("train/img/a.jpg", "train/gt/a.png"),
        ("train/JPEGImages/deep/a.jpg", "train/SegmentationClass/deep/a.png"),
        ("images/train/a.jpg", "masks/train/a_mask.png"),
        ("images/train/a.jpg", "labels/train/mask_a.png"),
        ("images/train/a_seg.jpg", "masks/train/a_seg.png"),
    ],
)
def test_known_layouts_are_paired(picture: str, mask: str, tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / picture)
    save_mask(tmp_path / "in" / mask, 255)
    done = import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    ((name, row),) = done.rows.items()
    assert name == Path(picture).name
    assert (row["split"], row["label"]) == ("train", "1")
    np.testing.assert_array_equal(done.mask(name), BOX)
    assert row["instances_path"] == ""


def test_pictures_and_masks_may_lie_together(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "all" / "a.png")
    save_mask(tmp_path / "in" / "all" / "a_mask.png", 1)
    reader = MaskFolderReader(images="all", masks="all")
    done = import_from(reader, tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(done.mask("a.png"), BOX)


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.png", "c.jpg")):
        save_picture(tmp_path / "in" / "images" / name, seed=number)
    for name in ("a.png", "c.png", "c_mask.png", "d.png"):
        save_mask(tmp_path / "in" / "masks" / name, 1)
    done = import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    assert sorted(done.rows) == ["a.png", "c.jpg"]
    told = {(one["what"], one["name"], one["reason"]) for one in done.summary["skipped"]}
    assert told == {
        ("picture", "images/b.png", "no mask"),
        ("picture", "images/c.png", "picture with the name of another"),
        ("mask", "masks/c_mask.png", "second mask of a picture"),
        ("mask", "masks/d.png", "missing picture"),
    }


def test_ids_keep_what_is_to_be_ignored(tmp_path: Path) -> None:
    values = BOX.copy()
    values[0, :] = 255
    for name, mask in (("a", values), ("b", BOX * 0), ("c", np.where(values == 255, 255, 0))):
        save_picture(tmp_path / "in" / "images" / f"{name}.png", seed=ord(name))
        save_mask(tmp_path / "in" / "masks" / f"{name}.png", mask.astype(np.uint8))
    done = import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(done.mask("a.png"), values)
    assert done.rows["b.png"]["label"] == "0"
    # Of 0 and 255 alone, it would be read as black and white, that is as smoke.
    assert done.summary["skipped_because"] == {"no smoke, but pixels to ignore": 1}


@pytest.mark.parametrize(
    ("reader", "inside", "outside"),
    [
        (MaskFolderReader(), 255, 0),
        (MaskFolderReader(), 1, 0),
        (MaskFolderReader(coding="grey"), 200, 90),
        (MaskFolderReader(coding="ids", smoke_values=[5, 9]), 9, 4),
        (MaskFolderReader(smoke_values=[7]), 7, 3),
    ],
)
def test_greys_and_ids(reader: MaskFolderReader, inside: int, outside: int, tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    values = np.where(BOX == 1, inside, outside).astype(np.uint8)
    save_mask(tmp_path / "in" / "masks" / "a.png", values)
    done = import_from(reader, tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(done.mask("a.png"), BOX)


@pytest.mark.parametrize("chosen", [[], ["#ff8000"]])
def test_colours(chosen: list[str], tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    colours = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    colours[BOX == 1] = (255, 128, 0)
    if chosen:
        colours[0, 0] = (255, 0, 0)  # another class
    save_mask(tmp_path / "in" / "masks" / "a.png", colours)
    reader = MaskFolderReader(coding="colour", smoke_values=chosen)
    done = import_from(reader, tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(done.mask("a.png"), BOX)


def test_a_palette_counts_by_its_ids(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    picture = Image.fromarray(BOX)
    picture.putpalette([0, 0, 0, 128, 0, 0])
    (tmp_path / "in" / "masks").mkdir()
    picture.save(tmp_path / "in" / "masks" / "a.png")
    done = import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(done.mask("a.png"), BOX)


def test_instance_numbers_are_kept_without_gaps(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    numbers = BOX.astype(np.uint16) * 700
    numbers[30:35, 1:9] = 3
    save_mask(tmp_path / "in" / "masks" / "a.png", numbers)
    done = import_from(MaskFolderReader(coding="instances"), tmp_path / "in", tmp_path / "out")
    instances = done.instances("a.png")
    assert np.bincount(instances.reshape(-1)).tolist()[1:] == [40, 200]
    np.testing.assert_array_equal(done.mask("a.png") > 0, instances > 0)


def test_the_set_decides_what_one_mask_cannot(tmp_path: Path) -> None:
    both = save_mask(tmp_path / "both.png", 255)
    ids = save_mask(tmp_path / "ids.png", 1)
    assert settle(Coding(), [both]).kind == "grey"
    assert settle(Coding(), [both, ids]).kind == "ids"
    mask, _ = MaskFile(both, settle(Coding(), [both, ids])).draw(HEIGHT, WIDTH)
    assert set(np.unique(mask)) == {0, 255}


def test_values_that_tell_nothing_are_refused_with_the_choices(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    save_mask(tmp_path / "in" / "masks" / "a.png", 38)
    with pytest.raises(DataError, match=r"hold the values 0, 38: .*format\.coding=grey"):
        import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    coloured = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    coloured[..., 0] = 9
    save_mask(tmp_path / "in" / "masks" / "a.png", coloured)
    with pytest.raises(DataError, match=r"are coloured \(such as a\.png\)"):
        import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")


def test_masks_that_do_not_fit_or_are_broken_are_told(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        save_picture(tmp_path / "in" / "images" / f"{name}.png", seed=number)
    save_mask(tmp_path / "in" / "masks" / "a.png", 255)
    save_mask(tmp_path / "in" / "masks" / "b.png", 255, height=HEIGHT + 1)
    (tmp_path / "in" / "masks" / "c.png").write_bytes(b"\x89PNG nothing")
    done = import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")
    assert list(done.rows) == ["a.png"]
    assert done.summary["skipped_because"] == {
        "mask of another size than the picture": 1,
        "broken mask": 1,
    }


def test_missing_folders_are_named(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "images" / "a.png")
    with pytest.raises(DataError, match=r"no folders of pictures .* and masks"):
        import_from(MaskFolderReader(), tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"coding": "magic"}, "coding must be one of"),
        ({"coding": "grey", "smoke_values": [1]}, "of no use"),
        ({"coding": "colour", "smoke_values": ["red"]}, "colours such as"),
        ({"coding": "ids", "smoke_values": [0]}, "ids from 1 to 255"),
        ({"smoke_values": ["#ff0000"]}, "ids from 1 to 255"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MaskFolderReader(**settings)
