"""The synthetic data set: the same bytes for a seed, resumable, and what it promises to teach."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.data import DataError, SyntheticSource, read_frame, source_from_settings
from weakseg.data.synthetic.casting import cast_scenes
from weakseg.data.synthetic.plumes import VISIBLE_OPACITY
from weakseg.data.truth import masks_of, read_mask

SMALL = {"scenes": 6, "frames_per_scene": 2, "size": 48}


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("synthetic") / "set"
    SyntheticSource(str(home), **SMALL).make()
    return home


def test_every_split_holds_both_labels_and_no_scene_straddles(folder: Path) -> None:
    frames = SyntheticSource(str(folder), **SMALL).frames()
    assert len(frames) == 12
    assert {(f.split, f.label) for f in frames} == {
        (split, label) for split in ("train", "val", "test") for label in (0, 1)
    }
    assert len({(f.scene, f.split) for f in frames}) == 6
    assert read_frame(frames[0].path).shape == (48, 48, 3)


def test_masks_are_the_visible_opacity_and_agree_with_the_labels(folder: Path) -> None:
    source = SyntheticSource(str(folder), **SMALL)
    masks = masks_of(source.settings())
    for frame in source.frames():
        mask = read_mask(masks[frame.path], height=48, width=48)
        opacity = np.array(Image.open(str(masks[frame.path]).replace("masks", "opacity"))) / 255
        assert mask.any() == bool(frame.label)
        # Opacity is stored in 255 levels.
        clear = np.abs(opacity - VISIBLE_OPACITY) > 1 / 255
        np.testing.assert_array_equal(mask[clear] == 1, opacity[clear] > VISIBLE_OPACITY)


def test_a_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    SyntheticSource(str(tmp_path / "again"), **SMALL).make()
    assert _bytes(tmp_path / "again") == _bytes(folder)
    SyntheticSource(str(tmp_path / "other"), **SMALL, seed=1).make()
    other = _bytes(tmp_path / "other")
    frames = [name for name in other if name.startswith("frames")]
    assert not any(other[name] == _bytes(folder)[name] for name in frames)


def test_a_killed_run_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "set"

    def stop_after_two(scenes: Iterable[str]) -> Iterator[str]:
        for count, name in enumerate(scenes, start=1):
            yield name
            if count == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SyntheticSource(str(home), **SMALL).make(watch=stop_after_two)
    assert not (home / "index.csv").exists()
    # What kill -9 leaves: a draft, and a scene without its frames.
    (home / ".partial-x" / "masks").mkdir(parents=True)
    done = next((home / "frames").iterdir())
    for path in done.iterdir():
        path.unlink()
    done.rmdir()
    SyntheticSource(str(home), **SMALL).make()
    assert _bytes(home) == _bytes(folder)
    assert not list(home.glob(".partial-*"))


def test_a_finished_set_is_not_drawn_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    SyntheticSource(str(folder), **SMALL).frames()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_settings_and_foreign_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was drawn with seed 0 and not 5"):
        SyntheticSource(str(folder), **SMALL, seed=5).frames()
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match="not a synthetic data set"):
        SyntheticSource(str(tmp_path), **SMALL).frames()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        SyntheticSource(str(tmp_path), **SMALL).frames()


def test_settings_build_the_same_source(folder: Path) -> None:
    source = SyntheticSource(str(folder), **SMALL)
    settings = json.loads(json.dumps(source.settings()))
    assert source_from_settings(settings).frames() == source.frames()


def test_the_index_tells_opacity_and_chimneys(folder: Path) -> None:
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["has_chimney"] for row in rows} == {"0", "1"}
    assert all((folder / row["opacity_path"]).is_file() for row in rows)


def test_chimneys_smoke_mostly_in_training_and_half_the_time_elsewhere() -> None:
    casts = cast_scenes(scenes=60, frames_per_scene=6, seed=0)
    for split, low, high in (("train", 0.8, 0.9), ("val", 0.5, 0.5), ("test", 0.5, 0.5)):
        with_chimney = [cast for cast in casts if cast.split == split and cast.has_chimney]
        share = sum(cast.has_smoke for cast in with_chimney) / len(with_chimney)
        assert low <= share <= high
    assert sum(cast.split == "train" for cast in casts) == 40


@pytest.mark.parametrize("scenes", [6, 7, 11, 25])
def test_small_sets_hold_every_label_too(scenes: int) -> None:
    casts = cast_scenes(scenes=scenes, frames_per_scene=1, seed=3)
    assert len(casts) == scenes
    for split in ("train", "val", "test"):
        assert {cast.label(0) for cast in casts if cast.split == split} == {0, 1}


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="scenes must be at least 6"):
        SyntheticSource("x", scenes=5)
    with pytest.raises(ValueError, match="size must be at least 32"):
        SyntheticSource("x", size=31)


def test_two_commands_draw_one_folder_together(tmp_path: Path) -> None:
    sources = [
        SyntheticSource(str(tmp_path / "drawn"), scenes=6, frames_per_scene=1, size=32)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda source: source.make(), sources)
    assert first == second
    assert len(sources[0].frames()) == 6
