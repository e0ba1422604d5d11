"""SMOKE5K and SmokeSeg are read as they are released, here in small replicas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, import_from, save_mask, save_picture
from PIL import Image

from weakseg.errors import DataError
from weakseg.importers import Smoke5kReader, SmokesegReader

BOX = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
BOX[10:20, 20:40] = 1


# ---- SMOKE5K


def test_smoke5k(tmp_path: Path) -> None:
    source = tmp_path / "SMOKE5K"
    names = {
        "train": ("1528757586_+00180", "1528757766_+00360", "1_1013", "image_00012"),
        "test": ("1528758126_+00720",),
    }
    for split, stems in names.items():
        for number, stem in enumerate(stems):
            save_picture(source / split / "img" / f"{stem}.jpg", seed=9 * len(split) + number)
            save_mask(source / split / "gt" / f"{stem}.png", 255)
            save_mask(source / split / "trans" / f"{stem}.jpg", 99)
    worn = BOX * 231
    worn[0, 0] = 17  # greys of a mask that went through JPEG
    save_mask(source / "train" / "gt" / "image_00012.png", worn)
    done = import_from(Smoke5kReader(), source, tmp_path / "out")
    assert len(done.rows) == 5
    assert done.summary["splits"] == {
        "test": {"background": 0, "smoke": 1},
        "train": {"background": 0, "smoke": 4},
    }
    for name in done.rows:
        np.testing.assert_array_equal(done.mask(name), BOX)
    scenes = {name: row["scene"] for name, row in done.rows.items()}
    assert scenes["1528757586_+00180.jpg"] == "ignition-1528757406"
    # The released split tears this sequence apart, and says so by its scene.
    assert scenes["1528758126_+00720.jpg"] == "ignition-1528757406"
    assert scenes["1_1013.jpg"].startswith("like-")
    assert scenes["1_1013.jpg"] != scenes["image_00012.jpg"]


def test_smoke5k_split_by_scene_keeps_sequences_together(tmp_path: Path) -> None:
    source = tmp_path / "SMOKE5K"
    for sequence in range(6):
        for minute in range(3):
            stem = f"{1528757406 + 5000 * sequence + 60 * minute}_+{60 * minute:05d}"
            split = ("train", "test")[minute % 2]
            save_picture(source / split / "img" / f"{stem}.jpg", seed=3 * sequence + minute)
            save_mask(source / split / "gt" / f"{stem}.png", 255 * (sequence % 2))
    done = import_from(Smoke5kReader(), source, tmp_path / "out", split="scene")
    splits: dict[str, set[str]] = {}
    for row in done.rows.values():
        splits.setdefault(row["scene"], set()).add(row["split"])
    assert len(splits) == 6
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "val", "test"}


# ---- SmokeSeg


NAMES = (
    "20200813_Ranch2Fire_wilson-e-mobo-c__1597356352_+00359",
    "20200813_Ranch2Fire_wilson-e-mobo-c__1597356412_+00419",
    "20171207_Lilac_rm-s-mobo__1512675364_+01380",
)


def smokeseg(source: Path, lists: dict[str, str], folder: str = "ImageSets") -> Path:
    for number, name in enumerate(NAMES):
        save_picture(source / "JPEGImages" / f"{name}.jpg", seed=number)
        mask = Image.fromarray(BOX)
        mask.putpalette([0, 0, 0, 128, 0, 0])
        (source / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(source / "SegmentationClass" / f"{name}.png")
    for split, text in lists.items():
        path = source / folder / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source


def test_smokeseg(tmp_path: Path) -> None:
    lists = {"train": f"{NAMES[0]}\n", "val": f"{NAMES[1]}\n", "test": f"{NAMES[1]}\nGONE__1_2\n"}
    source = smokeseg(tmp_path / "SmokeSeg", lists)
    done = import_from(SmokesegReader(), source, tmp_path / "out")
    first, second = (done.rows[f"{name}.jpg"] for name in NAMES[:2])
    assert (first["split"], second["split"]) == ("train", "test")
    assert first["scene"] == first["camera"] == "wilson-e-mobo-c"
    assert first["sequence"] == "20200813_Ranch2Fire_wilson-e-mobo-c"
    np.testing.assert_array_equal(done.mask(f"{NAMES[0]}.jpg"), BOX)
    assert done.summary["skipped_because"] == {"picture in no list": 1, "missing picture": 1}
    assert done.summary["files"] == [
        f"ImageSets/Segmentation/{split}.txt" for split in ("test", "val", "train")
    ]


def test_smokeseg_whole_lists_lie_elsewhere(tmp_path: Path) -> None:
    source = smokeseg(tmp_path / "S", {"train": " ".join(NAMES)}, folder="SmokeSeg_ImageSets")
    assert len(import_from(SmokesegReader(), source, tmp_path / "out").rows) == 3
    with pytest.raises(DataError, match=r"mine is missing: name the folder of train\.txt"):
        import_from(SmokesegReader(lists="mine"), source, tmp_path / "out2")


def test_smokeseg_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="JPEGImages is missing"):
        import_from(SmokesegReader(), tmp_path, tmp_path.with_name("out"))
    source = smokeseg(tmp_path / "S", {"train": "\n"})
    with pytest.raises(DataError, match="holds no names"):
        import_from(SmokesegReader(), source, tmp_path / "out")
