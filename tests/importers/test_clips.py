"""RISE and IJmond are read as they are released, here in small replicas."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import HEIGHT, WIDTH, import_from, save_json, save_mask, save_picture

from weakseg.errors import DataError
from weakseg.importers import IjmondReader, RiseReader
from weakseg.importers.clips import label_of
from weakseg.importers.ijmond import rebuild_split

BOX = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
BOX[10:20, 20:40] = 1


# ---- states of clips


@pytest.mark.parametrize(
    ("citizens", "researchers", "label"),
    [
        (-1, 47, 1), (-1, 32, 0), (16, 23, 1), (23, 16, 0), (23, 32, 0), (16, 47, 1),
        (23, -1, 1), (16, -1, 0), (19, -1, 1), (20, -1, 0),
        (5, -1, None), (4, -1, None), (3, -1, None), (-1, -1, None), (3, 4, None),
    ],
)  # fmt: skip
def test_researchers_decide_before_citizens(
    citizens: int, researchers: int, label: int | None
) -> None:
    assert label_of({"label_state": citizens, "label_state_admin": researchers}) == label


def test_a_released_split_may_carry_the_label_alone() -> None:
    assert label_of({"label": 1}) == 1
    assert label_of({"label": "x"}) is None


# ---- RISE


def save_clip(path: Path, *, seconds: float = 3, rate: int = 4, seed: int = 0) -> Path:
    """Write a video of noise that does not change."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pixels.shape[:2]
        for _ in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rise_name(camera: int, view: int, start: int) -> str:
    return f"{camera}-{view}-2019-06-24-3504-1067-4125-1688-180-180-97-{start}-{start + 175}"


def clip(name: str, citizens: int, researchers: int = -1, **more: Any) -> dict[str, Any]:
    camera, view = (int(part) for part in name.split("-")[:2])
    return {
        "camera_id": camera,
        "view_id": view,
        "id": 7,
        "file_name": name,
        "label_state": citizens,
        "label_state_admin": researchers,
        "start_time": 1561410615,
        "url_root": "https://example.org/",
        "url_part": "x.mp4",
        **more,
    }


def test_rise(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    names = [rise_name(0, 7, 1561410615 + k) for k in range(7)]
    for number in (0, 1, 2, 3):
        save_clip(source / "videos" / f"{names[number]}.mp4", seed=number)
    entries = [
        clip(names[0], 23),
        clip(names[1], 23, 16),
        clip(names[2], 5),
        clip(names[3], 23, -2),
        clip(names[4], 16),
        clip(names[0], 16),
        clip(names[5], 16, file_name="../../etc/passwd"),
    ]
    save_json(source / "metadata_02242020.json", entries)
    done = import_from(RiseReader(frame_rate=2), source, tmp_path / "out")
    rows = [*csv_rows(done.folder)]
    assert [row["path"] for row in rows[:2]] == [
        f"frames/{names[0]}/00000.jpg",
        f"frames/{names[0]}/00001.jpg",
    ]
    assert len(rows) == 2 * 6
    assert {row["sequence"]: row["label"] for row in rows} == {names[0]: "1", names[1]: "0"}
    assert {(row["scene"], row["camera"]) for row in rows} == {("rise-0-7", "rise-0")}
    assert {row["mask_path"] for row in rows} == {""}
    assert done.summary["skipped_because"] == {
        "label undecided": 1,
        "marked as a bad video": 1,
        "missing video": 1,
        "clip listed again": 1,
        "file name that is a path": 1,
    }
    assert done.summary["clips"] == 2


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rise_released_splits(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    names = {
        part: rise_name(0, k, 1561410615) for k, part in enumerate(("train", "validation", "test"))
    }
    for number, (part, name) in enumerate(names.items()):
        save_clip(source / "videos" / f"{name}.mp4", seconds=1, seed=number)
        entry = clip(name, 23)
        save_json(source / "split" / f"metadata_{part}_split_3_by_camera.json", [entry])
        save_json(source / "split" / f"metadata_{part}_split_by_date.json", [entry])
    save_json(source / "metadata.json", [clip(name, 16) for name in names.values()])
    expected = {"0-0": "train", "0-1": "val", "0-2": "test"}
    for protocol in ("camera_3", "date"):
        import_from(RiseReader(protocol), source, tmp_path / protocol)
        found = {row["sequence"][:3]: row["split"] for row in csv_rows(tmp_path / protocol)}
        assert found == expected
    done = import_from(RiseReader(), source, tmp_path / "whole")
    assert done.summary["splits"] == {"train": {"background": 3, "smoke": 0}}
    with pytest.raises(DataError, match=r"split_4_by_camera\.json is not in"):
        import_from(RiseReader("camera_4"), source, tmp_path / "none")
    with pytest.raises(ValueError, match="protocol must be one of camera_0"):
        RiseReader("camera_9")


def test_rise_refuses_what_it_cannot_tell(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    save_json(source / "a.json", [clip(rise_name(0, 1, 1), 23)])
    save_json(source / "b.json", [clip(rise_name(0, 1, 1), 16)])
    with pytest.raises(DataError, match=r"several lists of clips \(a\.json, b\.json\)"):
        import_from(RiseReader(), source, tmp_path / "out")
    with pytest.raises(DataError, match=r"nothing of .* can be imported: .*missing video"):
        import_from(RiseReader(), source / "a.json", tmp_path / "out2")
    save_json(tmp_path / "other" / "c.json", {"images": [], "annotations": []})
    with pytest.raises(DataError, match=r"holds no RISE file among c\.json: try format=coco"):
        import_from(RiseReader(), tmp_path / "other", tmp_path / "out3")


def test_frames_that_are_taken_are_not_taken_again(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    name = rise_name(1, 2, 1561410615)
    save_clip(source / "videos" / f"{name}.mp4")
    save_json(source / "m.json", [clip(name, 23)])
    first = import_from(RiseReader(), source, tmp_path / "out")
    frame = tmp_path / "out" / "frames" / name / "00000.jpg"
    made = frame.stat().st_mtime_ns
    assert len(first.rows) == 3
    import_from(RiseReader(), source, tmp_path / "out", overwrite=True)
    assert frame.stat().st_mtime_ns == made
    denser = import_from(RiseReader(frame_rate=4), source, tmp_path / "out", overwrite=True)
    assert len(denser.rows) == 12
    assert frame.stat().st_mtime_ns > made
    sparser = import_from(RiseReader(frame_rate=0.5), source, tmp_path / "out", overwrite=True)
    assert len(sparser.rows) == 2
    assert sorted(path.name for path in frame.parent.glob("*.jpg")) == ["00000.jpg", "00001.jpg"]


def test_frames_of_a_clip_that_is_listed_again_come_back(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    names = [rise_name(1, 2, 1561410615 + k) for k in range(2)]
    for number, name in enumerate(names):
        save_clip(source / "videos" / f"{name}.mp4", seed=number)
    both = [clip(name, 23) for name in names]
    for entries, frames in ((both, 6), (both[:1], 3), (both, 6)):
        save_json(source / "m.json", entries)
        done = import_from(RiseReader(), source, tmp_path / "out", overwrite=True)
        assert len(csv_rows(done.folder)) == frames
        assert len(list((tmp_path / "out" / "frames").rglob("*.jpg"))) == frames


def test_a_limit_that_is_raised_lets_frames_in(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    name = rise_name(1, 2, 1561410615)
    save_clip(source / "videos" / f"{name}.mp4")
    save_json(source / "m.json", [clip(name, 23)])
    with pytest.raises(DataError, match=r"nothing of .* can be imported"):
        import_from(RiseReader(), source, tmp_path / "out", max_pixels=100)
    done = import_from(RiseReader(), source, tmp_path / "out")
    assert len(done.rows) == 3


def test_a_damaged_video_is_told(tmp_path: Path) -> None:
    source = tmp_path / "rise"
    names = [rise_name(1, 2, 1561410615 + k) for k in range(2)]
    save_clip(source / "videos" / f"{names[0]}.mp4")
    (source / "videos" / f"{names[1]}.mp4").write_bytes(b"no video at all" * 9)
    save_json(source / "m.json", [clip(name, 23) for name in names])
    done = import_from(RiseReader(), source, tmp_path / "out")
    assert len(done.rows) == 3
    assert done.summary["skipped_because"] == {"damaged video": 1}


# ---- IJmond


def frame_name(camera: str, time: str, number: int, crop: int | None = None) -> str:
    ending = "" if crop is None else f"_crop_{crop}"
    return f"{camera}__{time}_frame_{number}_jpg.rf.4dc8a816c85f{ending}"


def test_ijmond_clips(tmp_path: Path) -> None:
    source = tmp_path / "ijmond"
    entries = []
    for number, (camera, citizens) in enumerate(((0, 23), (1, 16), (2, 3))):
        name = f"A9W8G55JucU-{number}"
        save_clip(source / "videos" / f"{name}.mp4", seconds=1, seed=number)
        entry = clip("0-0", citizens)
        entries.append({**entry, "camera_id": camera, "view_id": number, "file_name": name})
    save_json(source / "metadata_ijmond_jan_22_2024.json", entries)
    done = import_from(IjmondReader(), source, tmp_path / "out")
    rows = csv_rows(done.folder)
    assert [(row["scene"], row["camera"], row["label"]) for row in rows] == [
        ("hoogovens-0", "hoogovens", "1"),
        ("kooksfabriek_1-1", "kooksfabriek_1", "0"),
    ]
    assert done.summary["skipped_because"] == {"label undecided": 1}
    with pytest.raises(DataError, match="no released split by camera"):
        import_from(IjmondReader("camera"), source, tmp_path / "out2")


def test_ijmond_whole_frames(tmp_path: Path) -> None:
    source = tmp_path / "ijmond_seg" / "test"
    names = [
        frame_name(camera, f"2024-09-{day:02d}T10-22-36Z", 5)
        for camera, days in (("kooks_2", range(1, 6)), ("kooks_1", (1, 2)), ("hoogovens_6_7", (3,)))
        for day in days
    ]
    pictures = []
    for number, name in enumerate(names):
        save_picture(source / "images" / f"{name}.jpg", seed=number)
        pictures.append(
            {"id": number, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH}
        )
    square = [20, 10, 40, 10, 40, 20, 20, 20]
    content = {
        "images": pictures,
        "categories": [{"id": 1, "name": "thick"}, {"id": 2, "name": "thin"}],
        "annotations": [
            {"image_id": number, "category_id": 1 + number % 2, "segmentation": [square]}
            for number in range(4)
        ],
    }
    save_json(source / "_annotations.coco.json", content)
    done = import_from(IjmondReader("camera"), source, tmp_path / "out")
    assert sum(row["label"] == "1" for row in done.rows.values()) == 4
    np.testing.assert_array_equal(done.mask(f"{names[1]}.jpg"), BOX)
    splits = [done.rows[f"{name}.jpg"]["split"] for name in names]
    assert splits == ["train"] * 4 + ["val"] + ["test"] * 3
    assert {row["scene"] for row in done.rows.values()} == {"kooks_2", "kooks_1", "hoogovens_6_7"}


def test_ijmond_split_by_time_follows_the_release() -> None:
    names = [frame_name("kooks_2", f"2024-09-{day:02d}T10-22-36Z", 1) for day in range(20, 10, -1)]
    splits = rebuild_split(names, "timestamp")
    assert [splits[name] for name in sorted(names)] == ["train"] * 7 + ["val"] + ["test"] * 2
    with pytest.raises(DataError, match="names no camera and time"):
        rebuild_split(["a.jpg"], "camera")


def test_ijmond_crops(tmp_path: Path) -> None:
    source = tmp_path / "cropped"
    smoke = [frame_name("kooks_2", f"2024-09-0{day}T10-22-36Z", 562, 2) for day in (1, 2, 3)]
    bare = [frame_name("kooks_1", f"2024-10-0{day}T10-22-36Z", 9, 1) for day in (1, 2, 3)]
    for number, name in enumerate((*smoke, *bare)):
        save_picture(source / "images" / f"{name}.jpg", seed=number)
    values = BOX * 255
    values[10, 20] = 155  # low opacity is smoke, too
    for name in smoke:
        save_mask(source / "masks" / f"{name}.png", values)
    pairs = [f"images/{name}.jpg masks/{name}.png" for name in smoke]
    lone = [f"images/{name}.jpg" for name in bare]
    (source / "test_with_mask.txt").write_text("\n".join([*pairs, "images/gone.jpg masks/g.png"]))
    (source / "test_without_mask.txt").write_text("\n".join(lone))
    released = source / "splits" / "split_by_camera"
    (released / "train").mkdir(parents=True)
    for k, stem in enumerate(("train/100", "val", "test")):
        (released / f"{stem}_with_masks.txt").write_text(f"{pairs[k]}\n")
        (released / f"{stem}_without_masks.txt").write_text(f"{lone[k]}\n")
    (released / "train" / "20_with_masks.txt").write_text(f"{pairs[0]}\n")
    done = import_from(IjmondReader(), source, tmp_path / "whole")
    assert done.summary["skipped_because"] == {"missing picture": 1}
    assert [done.rows[f"{name}.jpg"]["label"] for name in (*smoke, *bare)] == ["1"] * 3 + ["0"] * 3
    np.testing.assert_array_equal(done.mask(f"{smoke[0]}.jpg"), BOX)
    assert not done.mask(f"{bare[0]}.jpg").any()
    done = import_from(IjmondReader("camera"), source, tmp_path / "split")
    for names in (smoke, bare):
        found = [done.rows[f"{name}.jpg"]["split"] for name in names]
        assert found == ["train", "val", "test"]
    with pytest.raises(DataError, match="has no folder split_by_timestamp"):
        import_from(IjmondReader("timestamp"), source, tmp_path / "none")
