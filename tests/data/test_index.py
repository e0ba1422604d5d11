"""A CSV index gives frames, and says which line is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from weakseg.data import DataError, IndexSource, source_from_settings
from weakseg.data.frames import frame_ids
from weakseg.data.quarantine import Quarantined, write_quarantine


def _index(folder: Path, *lines: str) -> str:
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    for i in range(20):
        (tmp_path / "d" / f"{i}.jpg").write_bytes(b"x")
    return tmp_path


def test_columns_become_frames(tiny_source: IndexSource, tiny_folder: Path) -> None:
    frames = tiny_source.frames()
    first = frames[0]
    assert len(frames) == 16
    assert first.path == tiny_folder / "scene0_0.png"
    assert (first.id, first.label, first.scene) == ("scene0_0", 1, "s0")
    assert {frame.split for frame in frames} == {"train", "val", "test"}


def test_settings_build_the_same_frames(tiny_source: IndexSource) -> None:
    assert source_from_settings(tiny_source.settings()).frames() == tiny_source.frames()


@pytest.mark.parametrize(
    "chosen",
    [
        {"root": "there"},
        {"where": {"light": "day"}},
        {"scenes": "frame"},
        {"scene_pattern": r"(s\d)/"},
        {"val_fraction": 0.4},
        {"seed": 3},
        {"quarantine": "q.csv"},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_settings_keep_what_was_chosen_wherever_they_are_read(
    chosen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"s{i // 4}/{i}.jpg" for i in range(20)]
    for path in [tmp_path / root / name for root in ("", "there") for name in names]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    rows = [f"{name},{i // 2 % 2},c{i // 2},day" for i, name in enumerate(names)]
    _index(tmp_path, "path,label,scene,light", *rows[:-1], rows[-1].replace("day", "night"))
    write_quarantine(tmp_path / "q.csv", [Quarantined("s0__0", "", "by id")])
    source = IndexSource("list.csv", **chosen)
    frames, settings = source.frames(), source.settings()
    assert frames != IndexSource("list.csv").frames()
    monkeypatch.chdir("there")
    assert source_from_settings(settings).frames() == frames


@pytest.mark.parametrize(("text", "label"), [("1", 1), ("Smoke", 1), ("no", 0), ("nonsmoke", 0)])
def test_labels_can_be_words(text: str, label: int, pictures: Path) -> None:
    index = _index(pictures, "path,label", f"d/0.jpg,{text}")
    (frame,) = IndexSource(index, scenes="frame", val_fraction=0).frames()
    assert frame.label == label


def test_where_selects_rows(tiny_folder: Path) -> None:
    frames = IndexSource(str(tiny_folder / "index.csv"), where={"split": "test"}).frames()
    assert {frame.split for frame in frames} == {"test"}
    with pytest.raises(DataError, match="has no column subset"):
        IndexSource(str(tiny_folder / "index.csv"), where={"subset": "core"}).frames()
    with pytest.raises(DataError, match="has no row where"):
        IndexSource(str(tiny_folder / "index.csv"), where={"split": "none"}).frames()


def test_a_validation_part_is_cut_only_where_there_is_none(
    pictures: Path, tiny_source: IndexSource
) -> None:
    rows = [f"d/{i}.jpg,{i % 2},c{i // 2}" for i in range(20)]
    index = _index(pictures, "path,label,scene", *rows)
    splits = [frame.split for frame in IndexSource(index, val_fraction=0.2).frames()]
    assert splits.count("val") == 4
    assert {f.split for f in IndexSource(index, val_fraction=0).frames()} == {"train"}
    assert [frame.split for frame in tiny_source.frames()].count("val") == 4


def test_a_pattern_names_scenes(pictures: Path) -> None:
    index = _index(pictures, "path,label", *[f"d/{i}.jpg,{i % 2}" for i in range(20)])
    frames = IndexSource(index, scene_pattern=r"/(\d)", val_fraction=0).frames()
    assert frames[0].scene == "0"
    assert frames[13].scene == "1"
    with pytest.raises(DataError, match="finds no scene in d/0"):
        IndexSource(index, scene_pattern="(q)").frames()
    with pytest.raises(ValueError, match="one group"):
        IndexSource(index, scene_pattern="q")


def test_scenes_by_likeness_join_recompressed_copies(tiny_folder: Path, tmp_path: Path) -> None:
    rows = []
    for scene in range(6):
        picture = Image.open(tiny_folder / f"scene{scene}_0.png")
        for copy, quality in enumerate((95, 80)):
            picture.save(tmp_path / f"{scene}_{copy}.jpg", quality=quality)
            rows.append(f"{scene}_{copy}.jpg,{scene % 2}")
    frames = IndexSource(_index(tmp_path, "path,label", *rows), val_fraction=0.3).frames()
    assert [f.scene for f in frames[0::2]] == [f.scene for f in frames[1::2]]
    assert [f.split for f in frames[0::2]] == [f.split for f in frames[1::2]]
    assert len({frame.scene for frame in frames}) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label"], "lists no frames"),
        ([""], "is empty"),
        (["path;label", "d/0.jpg;1"], "has no column path"),
        (["path,label", "d/0.jpg,maybe"], "line 2 has label 'maybe'"),
        (["path,label", "d/0.jpg,1", ",1"], "line 3 has no path"),
        (["path,label", "d/0.jpg,1", "d/../d/0.jpg,0"], "line 3 lists 0.jpg again, after line 2"),
        (["path,label", "d/0.jpg,1", "d/x.jpg,0", "y.jpg,0"], r"not there: .*x\.jpg and 1 more"),
        (["path,label,scene", "d/0.jpg,1,a", "d/1.jpg,0,b"], "belong to one scene"),
    ],
)
def test_bad_lines_are_refused_by_name(lines: list[str], message: str, pictures: Path) -> None:
    with pytest.raises(DataError, match=message):
        IndexSource(_index(pictures, *lines)).frames()


def test_a_missing_index_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        IndexSource(str(tmp_path / "none.csv")).frames()


def test_a_binary_index_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DataError, match="is not a UTF-8 CSV file"):
        IndexSource(str(tmp_path / "a.csv")).frames()


def test_quarantined_frames_are_left_out(tiny_folder: Path, tmp_path: Path) -> None:
    write_quarantine(
        tmp_path / "q.csv",
        [
            Quarantined("any", str(tiny_folder / "scene0_0.png"), "truncated, in truth"),
            Quarantined("scene1_0", "", "by id"),
        ],
    )
    source = IndexSource(str(tiny_folder / "index.csv"), quarantine=str(tmp_path / "q.csv"))
    ids = {frame.id for frame in source.frames()}
    assert len(ids) == 14
    assert not ids & {"scene0_0", "scene1_0"}


def test_an_empty_quarantine_leaves_all(tiny_folder: Path, tmp_path: Path) -> None:
    write_quarantine(tmp_path / "q.csv", [])
    source = IndexSource(str(tiny_folder / "index.csv"), quarantine=str(tmp_path / "q.csv"))
    assert len(source.frames()) == 16


def test_ids_are_unique_safe_and_free_of_order() -> None:
    paths = ["a/b c.jpg", "a/b_c.jpg", "A/b_c.png", "x.jpg", ".hidden.jpg", "é" * 300 + ".png"]
    ids = frame_ids(paths)
    assert len({name.casefold() for name in ids}) == len(paths)
    assert ids[3] == "x"
    assert max(map(len, ids)) < 200
    assert frame_ids(paths[::-1])[::-1] == ids
