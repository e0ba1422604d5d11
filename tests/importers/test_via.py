"""VIA's projects and exports, both versions: every region is drawn, or skipped with a reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, Imported, import_from, save_json, save_picture

from weakseg.errors import DataError
from weakseg.importers import ViaReader

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def region(name: str, labels: dict[str, Any] | None = None, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": {"name": name, **shape}, "region_attributes": labels or {}}


def entry(filename: str, regions: Any) -> dict[str, Any]:
    return {"filename": filename, "size": 9, "regions": regions, "file_attributes": {}}


SQUARE = region("polygon", all_points_x=[10, 30, 30, 10], all_points_y=[5, 5, 15, 15])
SQUARE_PIXELS = 20 * 10


def via(tmp_path: Path, regions: Any, **settings: Any) -> Imported:
    save_picture(tmp_path / "via" / "a.png")
    save_json(tmp_path / "via" / "via.json", {"a.png9": entry("a.png", regions)})
    return import_from(ViaReader(), tmp_path / "via", tmp_path / "out", **settings)


@pytest.mark.parametrize("regions", [[SQUARE], {"0": SQUARE}], ids=["version 2", "version 1"])
def test_both_versions_are_read(regions: Any, tmp_path: Path) -> None:
    done = via(tmp_path, regions)
    assert done.rows["a.png"]["label"] == "1"
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[5:15, 10:30] = 1
    np.testing.assert_array_equal(done.mask("a.png"), expected)
    np.testing.assert_array_equal(done.instances("a.png"), expected)


def test_a_project_is_read(tmp_path: Path) -> None:
    save_picture(tmp_path / "via" / "images" / "a.png")
    project = {
        "_via_settings": {"core": {"filepath": {}}},
        "_via_img_metadata": {"a.png9": entry("a.png", [SQUARE])},
        "_via_attributes": {"region": {}, "file": {}},
    }
    save_json(tmp_path / "via" / "project.json", project)
    for name, source in (("folder", "via"), ("file", "via/project.json")):
        done = import_from(ViaReader(), tmp_path / source, tmp_path / name)
        assert done.mask("a.png").sum() == SQUARE_PIXELS


def test_every_shape_is_drawn_or_told(tmp_path: Path) -> None:
    regions = [
        SQUARE,
        region("polyline", all_points_x=[40, 50, 50, 40], all_points_y=[5, 5, 15, 15]),
        region("rect", x=2, y=20, width=8, height=10),
        region("circle", cx=20.0, cy=30.0, r=6),
        region("ellipse", cx=45, cy=28, rx=10, ry=3, theta=math.pi / 2),
        region("point", cx=5, cy=5),
        region("polygon", all_points_x=[1, 2], all_points_y=[1, 2]),
        region("polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2]),
        region("rect", x=500, y=0, width=5, height=5),
        region("blob"),
        {"region_attributes": {}},
        "nonsense",
    ]
    done = via(tmp_path, regions)
    counted = done.summary["regions"]
    assert (counted["found"], counted["drawn"]) == (12, 5)
    assert counted["skipped_because"] == {
        "point without an area": 1,
        "fewer than 3 points": 1,
        "coordinates are no usable numbers": 1,
        "outside the picture": 1,
        "unknown shape": 1,
        "region without a shape": 2,
    }
    assert counted["by_shape"]["polygon"] == {"found": 3, "drawn": 1}
    named = {(one["name"], one["reason"]) for one in done.summary["skipped"]}
    assert ("a.png#5", "point without an area") in named
    instances = done.instances("a.png")
    areas = [int((instances == number).sum()) for number in range(1, 6)]
    assert areas[:3] == [SQUARE_PIXELS, 100, 80]
    assert areas[3] == pytest.approx(math.pi * 36, rel=0.05)
    # The ellipse stands upright: theta turns its long axis down.
    rows, columns = np.nonzero(instances == 5)
    assert (np.ptp(rows), np.ptp(columns)) == (19, 5)


def test_classes_choose_among_attribute_values(tmp_path: Path) -> None:
    smoke = {**SQUARE, "region_attributes": {"kind": "Smoke", "seen": {"thin": True, "far": False}}}
    fire = region("rect", {"kind": "fire"}, x=40, y=20, width=5, height=5)
    done = via(tmp_path, [smoke, fire], classes=["smoke"])
    assert done.mask("a.png").sum() == SQUARE_PIXELS
    assert done.summary["regions"]["skipped_because"] == {"class not wanted": 1}
    assert done.summary["labels"] == {"Smoke": 1, "thin": 1, "fire": 1}
    by_box = via(tmp_path, [smoke, fire], classes=["thin"], overwrite=True)
    assert by_box.mask("a.png").sum() == SQUARE_PIXELS
    every = via(tmp_path, [smoke, fire], classes=["*"], overwrite=True)
    assert every.mask("a.png").sum() == SQUARE_PIXELS + 25
    none = via(tmp_path, [fire], classes=["smoke"], overwrite=True)
    assert none.rows["a.png"]["label"] == "0"
    assert not none.mask("a.png").any()
    assert none.rows["a.png"]["instances_path"] == ""


def test_several_classes_need_a_choice(tmp_path: Path) -> None:
    fire = region("rect", {"kind": "fire"}, x=40, y=20, width=5, height=5)
    smoke = region("rect", {"kind": "smoke"}, x=10, y=20, width=5, height=5)
    with pytest.raises(DataError, match=r"several labels \(fire 1, smoke 1\).*classes=\[NAME"):
        via(tmp_path, [fire, smoke])


def test_a_frame_whose_smoke_cannot_be_drawn_is_not_called_smoke_free(tmp_path: Path) -> None:
    save_picture(tmp_path / "via" / "b.png", seed=1)
    content = {
        "a": entry("a.png", [region("point", cx=3, cy=4)]),
        "b": entry("b.png", []),
    }
    save_picture(tmp_path / "via" / "a.png")
    save_json(tmp_path / "via" / "v.json", content)
    done = import_from(ViaReader(), tmp_path / "via", tmp_path / "out")
    assert list(done.rows) == ["b.png"]
    assert done.rows["b.png"]["label"] == "0"
    assert done.summary["skipped_because"] == {"none of its regions can be drawn": 1}
    assert done.summary["regions"]["found"] == 1


def test_later_regions_lie_over_earlier_ones(tmp_path: Path) -> None:
    inner = region("rect", x=12, y=7, width=4, height=4)
    done = via(tmp_path, [SQUARE, inner])
    assert done.mask("a.png").sum() == SQUARE_PIXELS
    assert np.bincount(done.instances("a.png").reshape(-1))[1:].tolist() == [SQUARE_PIXELS - 16, 16]
    assert done.summary["regions"]["pictures_with_overlaps"] == 1
    hidden = via(tmp_path, [inner, SQUARE], overwrite=True)
    assert hidden.summary["regions"]["hidden_by_later_ones"] == 1
    assert np.unique(hidden.instances("a.png")).tolist() == [0, 1]


def test_regions_reaching_outside_are_cut_and_counted(tmp_path: Path) -> None:
    done = via(tmp_path, [region("rect", x=-10, y=-5, width=20, height=15)])
    assert done.mask("a.png").sum() == 10 * 10
    assert done.summary["regions"]["reaching_outside_the_picture"] == 1


@pytest.mark.parametrize(
    ("filename", "reason"),
    [
        ("../secret.png", "picture outside the source"),
        ("..\\secret.png", "picture outside the source"),
        ("/etc/hostname", "picture outside the source"),
        ("C:\\photos\\a.png", "picture outside the source"),
        ("https://example.org/a.png", "picture on the web: download it first"),
        ("gone.png", "missing picture"),
        ("twin.png", "picture name that several files have"),
        (None, "picture without a name"),
        (7, "picture without a name"),
        ("bad.png", "broken picture"),
    ],
)
def test_a_picture_that_cannot_be_had_is_told(filename: Any, reason: str, tmp_path: Path) -> None:
    save_picture(tmp_path / "secret.png")
    for folder in ("x", "y"):
        save_picture(tmp_path / "via" / folder / "twin.png")
    save_picture(tmp_path / "via" / "good.png")
    (tmp_path / "via" / "bad.png").write_bytes(save_picture(tmp_path / "b.png").read_bytes()[:90])
    content = {"0": entry("good.png", []), "1": entry(filename, [SQUARE, SQUARE])}
    save_json(tmp_path / "via" / "v.json", content)
    done = import_from(ViaReader(), tmp_path / "via", tmp_path / "out")
    assert list(done.rows) == ["good.png"]
    assert done.summary["skipped_because"] == {reason: 1}
    assert done.summary["regions"]["skipped_because"] == {f"on a skipped picture: {reason}": 2}


def test_a_whole_path_inside_the_source_will_do(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "via" / "deep" / "a.png")
    save_json(tmp_path / "via" / "v.json", {"a": entry(str(picture), [SQUARE])})
    done = import_from(ViaReader(), tmp_path / "via", tmp_path / "out")
    assert list(done.rows) == ["a.png"]


def test_a_picture_listed_twice_counts_once(tmp_path: Path) -> None:
    save_json(tmp_path / "via" / "second.json", {"a": entry("a.png", [SQUARE, SQUARE])})
    done = via(tmp_path, [SQUARE])
    assert len(done.rows) == 1
    assert done.summary["skipped_because"] == {"picture listed again": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": {"filename": "a.png", "regions": [', "truncated or no JSON"),
        ("", "truncated or no JSON"),
        ("[" * 200_000, "no JSON that can be read|truncated"),
        ('{"images": [], "annotations": []}', "holds no VIA file among v.json: try format=coco"),
        ('{"shapes": []}', "try format=labelme"),
        ("[1, 2]", "holds no VIA file"),
    ],
)
def test_a_file_that_is_none_of_vias_is_refused(text: str, words: str, tmp_path: Path) -> None:
    save_picture(tmp_path / "via" / "a.png")
    (tmp_path / "via" / "v.json").write_text(text)
    with pytest.raises(DataError, match=words):
        import_from(ViaReader(), tmp_path / "via", tmp_path / "out")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "via").mkdir()
    (tmp_path / "via" / "v.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match="not UTF-8"):
        import_from(ViaReader(), tmp_path / "via", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        import_from(ViaReader(), tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "via_fire").is_dir(), reason="needs the shared data")
@pytest.mark.parametrize(
    ("name", "frames", "regions", "splits"),
    [("via_fire", 150, 288, {"train": 150}), ("via_smoke", 28, 28, {"train": 27, "val": 1})],
)
def test_every_polygon_of_the_samples_is_drawn(
    name: str, frames: int, regions: int, splits: dict[str, int], tmp_path: Path
) -> None:
    done = import_from(ViaReader(), SHARED / name, tmp_path / "out")
    assert len(done.rows) == frames
    counted = done.summary["regions"]
    assert (counted["found"], counted["drawn"]) == (regions, regions)
    assert {split: sum(n.values()) for split, n in done.summary["splits"].items()} == splits
    drawn = sum(int(done.instances(frame).max()) for frame in done.rows)
    assert drawn == regions - counted["hidden_by_later_ones"]
