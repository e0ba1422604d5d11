"""LabelMe's shapes, with the picture beside the file or inside it."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, import_from, save_json, save_picture
from PIL import Image

from weakseg.data.reading import read_frame
from weakseg.errors import DataError
from weakseg.importers import LabelmeReader


def shape(points: list[Any], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": "smoke", "points": points, "shape_type": kind, "flags": {}, **more}


def labelme(shapes: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "a.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **more,
    }


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_every_shape_is_drawn_or_told(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "a.png")
    stored = np.zeros((5, 9), dtype=np.uint8)
    stored[1:4, 2:8] = 1
    shapes = [
        shape([[10, 5], [30, 5], [30, 15], [10, 15]]),
        shape([[50, 38], [40, 30]], "rectangle"),
        shape([[20.0, 28.0], [20.0, 34.0]], "circle"),
        shape([[45, 2], [53, 6]], "mask", mask=png(stored)),
        shape([[1, 1]], "point"),
        shape([[1, 1], [9, 9], [3, 8]], "linestrip"),
        shape([[1, 1], [2, 2]]),
        shape([[1, 1], [2]]),
        shape([[1, 1]], "circle"),
        shape([[45, 2], [53, 6]], "mask", mask="no base64"),
        shape([[1, 1], [5, 5]], "cuboid"),
        3,
    ]
    save_json(tmp_path / "in" / "a.json", labelme(shapes))
    done = import_from(LabelmeReader(), tmp_path / "in", tmp_path / "out", classes=["smoke"])
    counted = done.summary["regions"]
    assert (counted["found"], counted["drawn"]) == (12, 4)
    assert counted["skipped_because"] == {
        "point without an area": 1,
        "line without an area": 1,
        "fewer than 3 points": 1,
        "coordinates are no usable numbers": 1,
        "not the two points that a shape of this kind has": 1,
        "damaged mask": 1,
        "unknown shape": 1,
        "class not wanted": 1,
    }
    instances = done.instances("a.png")
    areas = np.bincount(instances.reshape(-1)).tolist()[1:]
    assert areas[:2] == [200, 80]
    assert areas[2] == pytest.approx(math.pi * 36, rel=0.05)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[3:6, 47:53] = True
    np.testing.assert_array_equal(instances == 4, expected)


def test_an_embedded_picture_becomes_a_frame(tmp_path: Path) -> None:
    pixels = read_frame(save_picture(tmp_path / "a.png"))
    content = labelme(
        [shape([[10, 5], [30, 5], [30, 15]])],
        imageData=base64.b64encode((tmp_path / "a.png").read_bytes()).decode(),
        imagePath="..\\elsewhere\\a.png",
    )
    save_json(tmp_path / "in" / "train" / "shot.json", content)
    done = import_from(LabelmeReader(), tmp_path / "in", tmp_path / "out")
    row = done.rows["train__shot.png"]
    assert row["path"] == "frames/train__shot.png"
    assert row["split"] == "train"
    np.testing.assert_array_equal(read_frame(done.folder / row["path"]), pixels)
    assert done.mask("train__shot.png").any()


@pytest.mark.parametrize("data", ["!!!", base64.b64encode(b"no picture").decode(), 5])
def test_a_damaged_embedded_picture_is_told(data: Any, tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "a.png")
    save_json(tmp_path / "in" / "a.json", labelme([]))
    bad = labelme([shape([[1, 1]], "point")], imageData=data, imagePath="gone.png")
    save_json(tmp_path / "in" / "b.json", bad)
    done = import_from(LabelmeReader(), tmp_path / "in", tmp_path / "out")
    assert list(done.rows) == ["a.png"]
    assert done.summary["skipped_because"] == {"broken picture": 1}
    assert done.summary["regions"]["found"] == 1


def test_unmarked_pictures_can_be_left_out(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        save_picture(tmp_path / "in" / f"{name}.png", seed=number)
        shapes = [shape([[10, 5], [30, 5], [30, 15]])] if name == "a" else []
        save_json(tmp_path / "in" / f"{name}.json", labelme(shapes, imagePath=f"{name}.png"))
    done = import_from(LabelmeReader(), tmp_path / "in", tmp_path / "with")
    assert {name: row["label"] for name, row in done.rows.items()} == {"a.png": "1", "b.png": "0"}
    done = import_from(LabelmeReader(), tmp_path / "in", tmp_path / "without", unmarked="skip")
    assert list(done.rows) == ["a.png"]
    assert done.summary["skipped_because"] == {"picture without regions": 1}


def test_a_folder_without_labelme_files_is_refused(tmp_path: Path) -> None:
    save_json(tmp_path / "in" / "c.json", {"images": [], "annotations": []})
    with pytest.raises(DataError, match=r"holds no LabelMe file among c\.json: try format=coco"):
        import_from(LabelmeReader(), tmp_path / "in", tmp_path / "out")
