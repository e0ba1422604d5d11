"""COCO's polygons, run-length codes, crowds and categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, Imported, import_from, save_json, save_picture
from PIL import Image

from weakseg.errors import DataError
from weakseg.importers import CocoReader

SMOKE, FIRE = 3, 7
CATEGORIES = [{"id": SMOKE, "name": "smoke"}, {"id": FIRE, "name": "fire"}]
SQUARE = [10, 5, 30, 5, 30, 15, 10, 15]


def annotation(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": SMOKE, "segmentation": segmentation, "iscrowd": 0, **more}


def coco(annotations: list[Any], **size: int) -> dict[str, Any]:
    picture = {"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, **size}
    return {"images": [picture], "annotations": annotations, "categories": CATEGORIES}


def imported(tmp_path: Path, annotations: list[Any], **settings: Any) -> Imported:
    save_picture(tmp_path / "coco" / "a.png")
    save_json(tmp_path / "coco" / "c.json", coco(annotations))
    return import_from(CocoReader(), tmp_path / "coco", tmp_path / "out", **settings)


def runs_of(mask: np.ndarray) -> list[int]:
    """List the runs down the columns, starting with zeros."""
    flat = np.concatenate(([0], mask.T.reshape(-1), [-1]))
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate(([0], edges))).tolist()


def test_polygons_and_codes_draw_the_same(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=int)
    mask[5:15, 10:30] = 1
    runs = {"size": [HEIGHT, WIDTH], "counts": runs_of(mask)}
    codes = pytest.importorskip("pycocotools.mask")
    packed = codes.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    compressed = {"size": [HEIGHT, WIDTH], "counts": packed}
    for number, segmentation in enumerate(([SQUARE], runs, compressed)):
        done = imported(tmp_path, [annotation(segmentation)], overwrite=number > 0)
        np.testing.assert_array_equal(done.mask("a.png"), mask)
        assert done.summary["regions"]["drawn"] == 1


def test_parts_of_one_annotation_are_one_instance(tmp_path: Path) -> None:
    far = [40, 30, 50, 30, 50, 35, 40, 35]
    done = imported(tmp_path, [annotation([SQUARE, far, [1, 2, 3, 4]])])
    assert np.bincount(done.instances("a.png").reshape(-1)).tolist()[1:] == [200 + 50]
    lost = [one for one in done.summary["skipped"] if one["what"] == "part of a region"]
    assert [(one["name"], one["reason"]) for one in lost] == [("a.png#0", "fewer than 3 points")]


def test_crowds_are_smoke_but_no_instance(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=int)
    mask[20:30, 5:55] = 1
    crowd = annotation({"size": [HEIGHT, WIDTH], "counts": runs_of(mask)}, iscrowd=1)
    done = imported(tmp_path, [annotation([SQUARE]), crowd])
    assert done.mask("a.png").sum() == 200 + 500
    assert (done.instances("a.png") > 0).sum() == 200
    assert done.summary["regions"]["crowds"] == 1


def test_categories_choose(tmp_path: Path) -> None:
    both = [annotation([SQUARE]), annotation([[1, 1, 5, 1, 5, 5]], category_id=FIRE)]
    with pytest.raises(DataError, match=r"smoke 1, fire 1|fire 1, smoke 1"):
        imported(tmp_path, both)
    done = imported(tmp_path, both, classes=["SMOKE"])
    assert done.mask("a.png").sum() == 200
    assert done.summary["regions"]["skipped_because"] == {"class not wanted": 1}
    unknown = [annotation([SQUARE], category_id=99), annotation([SQUARE], category_id=[1])]
    assert (
        imported(tmp_path, unknown, classes=["smoke"], overwrite=True).rows["a.png"]["label"] == "0"
    )


def test_damaged_annotations_are_told(tmp_path: Path) -> None:
    bad = [
        annotation([SQUARE]),
        annotation([]),
        annotation(None),
        annotation([[1, 2, 3]]),
        annotation([["x", 2, 3, 4, 5, 6]]),
        annotation({"size": [HEIGHT, WIDTH], "counts": [1, 2]}),
        annotation({"size": [3, 3], "counts": [9]}),
        annotation([SQUARE], image_id=55),
        annotation([SQUARE], image_id=[1]),
        "nonsense",
    ]
    done = imported(tmp_path, bad, classes=["*"])
    counted = done.summary["regions"]
    assert (counted["found"], counted["drawn"]) == (10, 1)
    assert counted["skipped_because"] == {
        "box without a mask": 2,
        "coordinates are no usable numbers": 2,
        "damaged run-length code": 1,
        "a bitmap of another size than the picture": 1,
        "on a skipped region: annotation of no listed picture": 3,
    }


def test_a_picture_of_another_size_is_left_out(tmp_path: Path) -> None:
    save_picture(tmp_path / "coco" / "a.png")
    save_picture(tmp_path / "coco" / "b.png", seed=1)
    content = coco([annotation([SQUARE])], height=HEIGHT * 2)
    content["images"].append({"id": 2, "file_name": "b.png", "height": HEIGHT, "width": WIDTH})
    save_json(tmp_path / "coco" / "c.json", content)
    done = import_from(CocoReader(), tmp_path / "coco", tmp_path / "out")
    assert done.summary["skipped_because"] == {"picture of another size than its annotation": 1}
    assert list(done.rows) == ["b.png"]


def test_a_picture_drawn_on_before_its_rotation_is_told(tmp_path: Path) -> None:
    save_picture(tmp_path / "coco" / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 9)).save(tmp_path / "coco" / "a.jpg", exif=exif)
    content = coco([annotation([SQUARE])], file_name="a.jpg")
    content["images"].append({"id": 2, "file_name": "b.png"})
    save_json(tmp_path / "coco" / "c.json", content)
    done = import_from(CocoReader(), tmp_path / "coco", tmp_path / "out")
    assert done.summary["skipped_because"] == {"drawn on the picture before its EXIF rotation": 1}


def test_splits_come_from_folders_and_file_names(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "valid", "test")):
        save_picture(tmp_path / "robo" / name / f"{name}.jpg", seed=number)
        content = {"images": [{"id": 0, "file_name": f"{name}.jpg"}], "annotations": []}
        save_json(tmp_path / "robo" / name / "_annotations.coco.json", content)
    done = import_from(CocoReader(), tmp_path / "robo", tmp_path / "out")
    assert {name: row["split"] for name, row in done.rows.items()} == {
        "train.jpg": "train",
        "valid.jpg": "val",
        "test.jpg": "test",
    }
    save_picture(tmp_path / "plain" / "pictures" / "a.png")
    content = {"images": [{"id": 0, "file_name": "a.png"}], "annotations": []}
    save_json(tmp_path / "plain" / "annotations" / "instances_val2017.json", content)
    done = import_from(CocoReader(), tmp_path / "plain", tmp_path / "out2")
    assert done.rows["a.png"]["split"] == "val"


def test_files_of_other_formats_are_told(tmp_path: Path) -> None:
    save_json(tmp_path / "coco" / "notes.json", {"hello": 1})
    done = imported(tmp_path, [annotation([SQUARE])])
    assert [(one["what"], one["name"]) for one in done.summary["skipped"]] == [
        ("file", "notes.json")
    ]
    with pytest.raises(DataError, match=r"holds no COCO file among notes\.json"):
        import_from(CocoReader(), tmp_path / "coco" / "notes.json", tmp_path / "out2")
