"""What learns gets neither test frames nor masks; a sample keeps labels and scenes in shares."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from weakseg.artifacts import ArtifactError
from weakseg.data import DataError, Frame, IndexSource
from weakseg.stages.ablation.frames import (
    choose_frames,
    frames_of_ablation,
    masks_by_name,
    stratified,
    write_frames_of_ablation,
)


def frames(sizes: dict[tuple[int, str], int]) -> list[Frame]:
    return [
        Frame(f"{scene}_{label}_{i}", Path(f"/f/{scene}_{label}_{i}.png"), label, scene, "train")
        for (label, scene), size in sizes.items()
        for i in range(size)
    ]


def written(
    source: IndexSource, output: Path, *, overwrite: bool = False, train_masks: str | None = None
) -> Path:
    chosen = choose_frames(source.frames(), train_frames=None, seed=0)
    write_frames_of_ablation(
        output,
        chosen,
        data=source.settings(),
        train_masks=train_masks,
        overwrite=overwrite,
    )
    return output


def test_index_of_the_stages_has_no_test_rows_and_no_masks(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    written(tiny_source, tmp_path)
    header, *rows = (tmp_path / "index.csv").read_text().splitlines()
    assert header == "path,label,scene,split,sequence"
    assert len(rows) == 12
    assert {line.split(",")[3] for line in rows} == {"train", "val"}
    assert "mask" not in (tmp_path / "index.csv").read_text()


def test_stages_find_the_same_frames_by_the_same_ids(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    opened = frames_of_ablation(written(tiny_source, tmp_path), tiny_source.base)
    expected = [frame for frame in tiny_source.frames() if frame.split != "test"]
    assert opened.source(with_masks=False).frames() == expected
    assert opened.judged == ["train", "val"]
    assert opened.counts[("train", 1)] == 4
    assert opened.counts[("test", 1)] == 0


def test_truth_has_no_test_rows_either(tiny_source: IndexSource, tmp_path: Path) -> None:
    written(tiny_source, tmp_path)
    _, *rows = (tmp_path / "truth.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in rows} == {"train", "val"}
    assert all(line.endswith("_mask.png") for line in rows)


def test_split_is_judged_only_if_it_has_masks_of_smoke(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    lines = Path(tiny_source.index).read_text().splitlines()
    bare = [
        line.rsplit(",", 1)[0] + "," if ",train," in line and ",1,s" in line else line
        for line in lines
    ]
    (tmp_path / "bare.csv").write_text("\n".join(bare))
    source = IndexSource(str(tmp_path / "bare.csv"), root=str(tiny_source.base))
    opened = frames_of_ablation(written(source, tmp_path / "out"), source.base)
    assert opened.judged == ["val"]


def test_masks_of_training_frames_come_from_their_folder(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    shutil.copy(tiny_source.base / "scene0_1_mask.png", folder / "scene0_0.png")
    written(tiny_source, tmp_path / "out", train_masks=str(folder))
    truth = (tmp_path / "out" / "truth.csv").read_text().splitlines()
    masks = {line.split(",")[0]: line.split(",")[-1] for line in truth}
    assert masks["scene0_0.png"].endswith("masks/scene0_0.png")
    assert masks["scene0_1.png"] == "scene0_1_mask.png"


def test_other_frames_are_refused_in_the_same_folder(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    written(tiny_source, tmp_path)
    written(tiny_source, tmp_path)
    fewer = IndexSource(tiny_source.index, where={"label": "1"})
    text = (tmp_path / "index.csv").read_text()
    with pytest.raises(DataError, match="only smoke frames"):
        written(fewer, tmp_path)
    (tmp_path / "index.csv").write_text(text + "more\n")
    with pytest.raises(ArtifactError, match="overwrite=true"):
        written(tiny_source, tmp_path)
    written(tiny_source, tmp_path, overwrite=True)
    assert (tmp_path / "index.csv").read_text() == text


def test_other_masks_are_refused_in_the_same_folder(
    tiny_source: IndexSource, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    shutil.copy(tiny_source.base / "scene0_1_mask.png", folder / "scene0_0.png")
    written(tiny_source, tmp_path / "out", train_masks=str(folder))
    before = (tmp_path / "out" / "truth.csv").read_text()
    with pytest.raises(ArtifactError, match="measured against other masks: give train_masks="):
        written(tiny_source, tmp_path / "out")
    assert (tmp_path / "out" / "truth.csv").read_text() == before
    written(tiny_source, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "truth.csv").read_text() != before


@pytest.mark.parametrize("name", ["scene0_0.png", "scene0_1_mask.png"])
def test_frames_and_masks_count_by_their_bytes(
    tiny_source: IndexSource, tmp_path: Path, name: str
) -> None:
    base = tmp_path / "frames"
    shutil.copytree(tiny_source.base, base)
    source = IndexSource(str(base / Path(tiny_source.index).name))

    def content(output: str) -> str:
        chosen = choose_frames(source.frames(), train_frames=None, seed=0)
        given = {"data": source.settings(), "train_masks": None, "overwrite": False}
        return write_frames_of_ablation(tmp_path / output, chosen, **given).content

    before = content("a")
    assert content("a") == before
    with (base / name).open("ab") as file:
        file.write(b"more")
    assert content("a") != before


def test_mask_is_found_by_id_or_by_the_frames_name(tmp_path: Path) -> None:
    by_id = Frame("a__x", Path("/f/a/x.jpg"), 1, "s", "train")
    by_name = Frame("a__y", Path("/f/a/y.jpg"), 1, "s", "train")
    without = Frame("a__z", Path("/f/a/z.jpg"), 0, "s", "train")
    for name in ("a__x", "x", "y"):
        (tmp_path / f"{name}.png").touch()
    assert masks_by_name([by_id, by_name, without], tmp_path) == {
        by_id.path: tmp_path / "a__x.png",
        by_name.path: tmp_path / "y.png",
    }


def test_mask_of_two_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    twins = [Frame(f"{n}__x", Path(f"/f/{n}/x.jpg"), 1, "s", "train") for n in "ab"]
    with pytest.raises(DataError, match="two frames of the same name"):
        masks_by_name(twins, tmp_path)
    with pytest.raises(DataError, match="a mask of no training frame"):
        masks_by_name(twins, tmp_path / "empty")


# ---- the sample

SIZES = {(1, "a"): 40, (1, "b"): 20, (0, "c"): 30, (0, "d"): 7, (0, "a"): 3}


def test_sample_keeps_the_shares() -> None:
    # 60 of 100 with smoke: 30 of 50, of which 20 and 10; the other 20 as 15, 3.5 and 1.5.
    drawn = Counter((frame.label, frame.scene) for frame in stratified(frames(SIZES), 50, seed=0))
    assert drawn.pop((0, "d")) + drawn.pop((0, "a")) == 5
    assert drawn == {(1, "a"): 20, (1, "b"): 10, (0, "c"): 15}


@pytest.mark.parametrize("count", [2, 3, 17, 99, 100, 500])
def test_sample_has_its_size_and_both_labels(count: int) -> None:
    drawn = stratified(frames(SIZES), count, seed=0)
    assert len({frame.id for frame in drawn}) == min(count, 100)
    assert {frame.label for frame in drawn} == {0, 1}


def test_rare_label_is_never_lost() -> None:
    drawn = stratified(frames({(1, "a"): 1, (0, "b"): 999}), 5, seed=0)
    assert sum(frame.label for frame in drawn) == 1


def test_sample_depends_on_seed_and_ids_not_on_order() -> None:
    listed = frames(SIZES)
    names = {frame.id for frame in stratified(listed, 30, seed=0)}
    assert names == {frame.id for frame in stratified(listed[::-1], 30, seed=0)}
    assert names != {frame.id for frame in stratified(listed, 30, seed=1)}


def test_val_is_not_sampled(tiny_source: IndexSource) -> None:
    chosen = choose_frames(tiny_source.frames(), train_frames=4, seed=0)
    assert Counter(frame.split for frame in chosen) == {"train": 4, "val": 4}
    with pytest.raises(ValueError, match="train_frames must be at least 2"):
        choose_frames(tiny_source.frames(), train_frames=1, seed=0)
