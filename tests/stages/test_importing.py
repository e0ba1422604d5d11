"""An import leaves what the stages read, keeps to its folder, and splits by scene."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import Doors
from exports import import_from, save_json, save_mask, save_picture

from weakseg.data import IndexSource
from weakseg.data.truth import masks_of
from weakseg.errors import ArtifactError, DataError
from weakseg.importers import MaskFolderReader, ViaReader
from weakseg.plans import CheckPlan
from weakseg.stages.audit import audit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight cameras with three frames each, every second camera with smoke."""
    folder = tmp_path / "in"
    for camera in range(8):
        for frame in range(3):
            name = f"cam{camera}/{frame}"
            save_picture(folder / "images" / f"{name}.png", seed=3 * camera + frame)
            save_mask(folder / "masks" / f"{name}.png", 255 * (camera % 2))
    return folder


def done(source: Path, tmp_path: Path, **settings: Any) -> list[dict[str, str]]:
    """Import, and give the rows of the index in order."""
    output = tmp_path / settings.pop("into", "out")
    import_from(MaskFolderReader(), source, output, **settings)
    lines = (output / "index.csv").read_text().splitlines()
    header = lines[0].split(",")
    return [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]


def test_the_index_is_what_the_stages_read(source: Path, tmp_path: Path) -> None:
    done(source, tmp_path, split="scene", scene_pattern=r"(cam\d)/")
    index = IndexSource(str(tmp_path / "out" / "index.csv"))
    frames = index.frames()
    assert len(frames) == 24
    assert {frame.scene for frame in frames} == {f"cam{k}" for k in range(8)}
    assert set(masks_of(index.settings())) == {frame.path for frame in frames}
    report = audit(CheckPlan(data=index, output=str(tmp_path / "check")), {})
    assert report.counts["error"] == 0
    assert not [f for f in report.findings if "mask" in f.topic or "scene" in f.topic]


def test_frames_stay_in_place_unless_copied(source: Path, tmp_path: Path) -> None:
    rows = done(source, tmp_path)
    assert rows[0]["path"] == str(source / "images" / "cam0" / "0.png")
    assert not (tmp_path / "out" / "frames").exists()
    rows = done(source, tmp_path, copy=True, into="copied")
    assert rows[0]["path"] == "frames/images/cam0/0.png"
    copied = tmp_path / "copied" / rows[0]["path"]
    assert copied.read_bytes() == (source / "images" / "cam0" / "0.png").read_bytes()
    ids = {frame.id for frame in IndexSource(str(tmp_path / "copied" / "index.csv")).frames()}
    assert "frames__images__cam0__0" in ids


# ---- splits


def splits_by_scene(rows: list[dict[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["path"].split("/")[-2], set()).add(row["split"])
    return found


@pytest.mark.parametrize("split", ["scene", "random"])
def test_whole_scenes_are_drawn(split: str, source: Path, tmp_path: Path) -> None:
    settings = {"split": split, "scene_pattern": r"(cam\d)/", "test_fraction": 0.25}
    rows = done(source, tmp_path, **settings)
    found = splits_by_scene(rows)
    assert all(len(splits) == 1 for splits in found.values())
    counts = {name: sum(row["split"] == name for row in rows) for name in ("train", "val", "test")}
    assert counts == {"train": 12, "val": 6, "test": 6}
    for name in counts:
        assert {row["label"] for row in rows if row["split"] == name} == {"0", "1"}
    again = done(source, tmp_path, **settings, into="again")
    assert [row["split"] for row in again] == [row["split"] for row in rows]
    other = done(source, tmp_path, **settings, seed=5, into="other")
    assert [row["split"] for row in other] != [row["split"] for row in rows]


def test_random_tears_what_names_no_scene(source: Path, tmp_path: Path) -> None:
    rows = done(source, tmp_path, split="random", val_fraction=0.3, test_fraction=0.3)
    assert max(len(splits) for splits in splits_by_scene(rows).values()) > 1


def test_likeness_makes_scenes_where_names_do_not(source: Path, tmp_path: Path) -> None:
    for camera in range(8):
        first = (source / "images" / f"cam{camera}" / "0.png").read_bytes()
        (source / "images" / f"cam{camera}" / "2.png").write_bytes(first)
    rows = done(source, tmp_path, split="scene")
    scenes = {row["path"][-10:]: row["scene"] for row in rows}
    assert scenes["cam3/0.png"] == scenes["cam3/2.png"] == "like-images/cam3/0.png"
    assert scenes["cam3/1.png"] == "like-images/cam3/1.png"


def test_given_splits_that_tear_scenes_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, split in enumerate(("train", "test")):
        save_picture(tmp_path / "in" / split / "images" / f"cam_{number}.png", seed=number)
        save_mask(tmp_path / "in" / split / "masks" / f"cam_{number}.png", 255)
    with caplog.at_level(logging.WARNING):
        rows = done(tmp_path / "in", tmp_path, scene_pattern=r"(cam)_")
    assert [row["split"] for row in rows] == ["test", "train"]
    assert "1 of 1 scenes lie in several splits (cam)" in caplog.text
    assert "split=scene" in caplog.text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "magic"}, "split must be one of given, scene, random"),
        ({"unmarked": "maybe"}, "unmarked must be one of"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "leave nothing to train on"),
        ({"val_fraction": -0.1}, r"val_fraction must lie in \[0, 1\]"),
        ({"scene_pattern": "cam"}, "needs a group"),
        ({"max_pixels": 0}, "max_pixels must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: dict[str, Any], words: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        done(source, tmp_path, **settings)
    assert not (tmp_path / "out").exists()


def test_one_scene_cannot_be_drawn(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="belong to one scene"):
        done(source, tmp_path, split="scene", scene_pattern="(c)am")


def test_too_large_pictures_are_left_out(source: Path, tmp_path: Path) -> None:
    save_picture(source / "images" / "cam0" / "0.png", height=500, width=500)
    imported = import_from(MaskFolderReader(), source, tmp_path / "out", max_pixels=10_000)
    assert imported.summary["skipped_because"] == {"broken picture": 1}
    (one,) = imported.summary["skipped"]
    assert "above the limit" in one["detail"]


# ---- the output folder


def test_a_finished_import_is_replaced_only_when_told(source: Path, tmp_path: Path) -> None:
    done(source, tmp_path)
    with pytest.raises(ArtifactError, match=r"holds a finished import: .*overwrite=true"):
        done(source, tmp_path)
    for name in ("images", "masks"):
        (source / name / "cam1" / "0.png").unlink()
    assert (tmp_path / "out" / "masks" / "images__cam1__0.png").is_file()
    rows = done(source, tmp_path, overwrite=True)
    assert len(rows) == 23
    assert not (tmp_path / "out" / "masks" / "images__cam1__0.png").exists()


def test_an_interrupted_import_goes_on(source: Path, tmp_path: Path) -> None:
    rows = done(source, tmp_path)
    (tmp_path / "out" / "summary.json").unlink()
    (tmp_path / "out" / "index.csv").unlink()
    assert done(source, tmp_path) == rows


def test_other_peoples_folders_are_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ArtifactError, match="holds things that are no import"):
        done(source, tmp_path, overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("into", ["in/out", "in", "."])
def test_source_and_output_are_kept_apart(into: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lie in each other"):
        done(source, tmp_path, into=into)


def save_project(folder: Path) -> None:
    """Write a VIA project of two pictures, one of them with smoke, and the pictures."""
    square = {"name": "rect", "x": 5, "y": 5, "width": 9, "height": 9}
    names = {"a.png": [{"shape_attributes": square}], "b.png": []}
    for seed, name in enumerate(names):
        save_picture(folder / "photos" / name, seed=seed)
    entries = {name: {"filename": name, "regions": regions} for name, regions in names.items()}
    save_json(folder / "project.json", {"_via_img_metadata": entries})


def test_an_output_below_a_source_file_is_not_read_again(tmp_path: Path) -> None:
    save_project(tmp_path)
    settings = {"copy": True, "overwrite": True}
    first, again = (
        import_from(ViaReader(), tmp_path / "project.json", tmp_path / "data" / "in", **settings)
        for _ in range(2)
    )
    assert len(first.rows) == 2
    assert again.rows == first.rows
    assert not again.summary["skipped"]
    other = import_from(ViaReader(), tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    assert len(other.rows) == 2


@pytest.mark.parametrize("into", ["", ".."])
def test_a_source_file_in_the_output_is_refused(into: str, tmp_path: Path) -> None:
    save_project(tmp_path / "via")
    with pytest.raises(DataError, match="lie in each other"):
        import_from(ViaReader(), tmp_path / "via" / "project.json", tmp_path / "via" / into)


# ---- the command


def test_the_documented_command_works_as_it_stands(doors: Doors, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "import.md").read_text()
    found = re.search(r"python -m weakseg\.import (format=via source=project\.json .*)", page)
    assert found is not None
    save_project(tmp_path)
    doors.must("import", *found[1].split(), cwd=tmp_path)
    assert len((tmp_path / "data" / "imported" / "index.csv").read_text().splitlines()) == 3


def test_the_command_imports_and_tells(doors: Doors, tmp_path: Path) -> None:
    save_picture(tmp_path / "via" / "a.png")
    square = {"name": "rect", "x": 5, "y": 5, "width": 9, "height": 9}
    entry = {"filename": "a.png", "regions": [{"shape_attributes": square}] * 2}
    save_json(tmp_path / "via" / "p.json", {"_via_img_metadata": {"a": entry}})
    ended = doors.must("import", "format=via", "source=via/p.json", "output=out", cwd=tmp_path)
    assert "2 regions found = 2 drawn + 0 skipped" in ended.err
    assert (tmp_path / "out" / "index.csv").is_file()
    summary = (tmp_path / "out" / "summary.json").read_text()
    assert '"_target_": "weakseg.importers.ViaReader"' in summary


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("source=a", "output=b"), "format is missing: give format=via, coco"),
        (("format=via", "output=b"), "source is missing: give source="),
        (("format=magic", "source=a", "output=b"), "format/magic"),
        (("format=via", "source=cut.json", "output=b"), "cut.json is truncated or no JSON"),
        (("format=coco", "source=via.json", "output=b"), "try format=via"),
        (("format=masks", "format.coding=odd", "source=a", "output=b"), "coding must be one of"),
        (
            ("format=rise", "format.frame_rate=0", "source=a", "output=b"),
            "frame_rate must be above",
        ),
        (
            ("format=via", "format._target_=os.system", "source=a", "output=b"),
            "not among the components",
        ),
    ],
)
def test_the_command_errs_in_a_sentence(
    arguments: tuple[str, ...], words: str, doors: Doors, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "cut.json").write_text('{"a": {"filename":')
    (folder / "via.json").write_text('{"a": {"filename": "a.png", "regions": []}}')
    given = [word.replace("output=b", f"output={tmp_path / 'b'}") for word in arguments]
    assert words in doors.run("import", *given, cwd=folder).sentence
    assert not (tmp_path / "b").exists()


def test_regions_of_a_picture_are_drawn_alike_every_time(tmp_path: Path) -> None:
    save_picture(tmp_path / "via" / "a.png")
    shape = {"name": "ellipse", "cx": 30.3, "cy": 19.1, "rx": 14, "ry": 8, "theta": 0.4}
    entry = {"filename": "a.png", "regions": [{"shape_attributes": shape}]}
    save_json(tmp_path / "via" / "p.json", {"a": entry})
    first = import_from(ViaReader(), tmp_path / "via", tmp_path / "one")
    second = import_from(ViaReader(), tmp_path / "via", tmp_path / "two")
    np.testing.assert_array_equal(first.instances("a.png"), second.instances("a.png"))
    for name in ("masks/a.png", "instances/a.png", "index.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
