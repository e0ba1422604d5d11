"""Whose masks stage 3 learns from: pseudo-masks, real ones, or a few real ones among the others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from doors import Chain

from weakseg.artifacts import FinishedRun, load_run, read_mask_ids
from weakseg.artifacts.paths import RunPaths
from weakseg.data import DataError, Frame, IndexSource
from weakseg.plans import Stage3Plan, SupervisionPlan
from weakseg.stages.supervision import (
    LABEL,
    PSEUDO,
    REAL,
    Teaching,
    assign,
    open_teaching,
    training_items,
)
from weakseg.stages.work import Work
from weakseg.tracking import NoTracker
from weakseg.training import StopFlag


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(RunPaths(tmp_path / "run"), NoTracker(), StopFlag())  # type: ignore[arg-type]


@pytest.fixture
def pseudo(chain: Chain) -> FinishedRun:
    return load_run(chain.run_of("stage2"), kind="stage2")


def plan(tiny: IndexSource, **supervision: Any) -> Stage3Plan:
    return Stage3Plan(data=tiny, supervision=SupervisionPlan(mode="full", **supervision))


def train_smoke(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if (frame.split, frame.label) == ("train", 1)]


# ---- who teaches


def test_full_supervision_learns_real_masks_and_smoke_free_labels(
    tiny_source: IndexSource, tiny_folder: Path, work: Work
) -> None:
    teaching = open_teaching(plan(tiny_source))
    items = training_items(teaching, work)
    assert {item.frame.split for item in items} == {"train"}
    for item in items:
        if item.frame.label == 0:
            assert item.mask_path is None
            continue
        assert item.mask_path is not None
        drawn = cv2.imread(str(tiny_folder / f"{item.frame.id}_mask.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(read_mask_ids(item.mask_path), drawn > 127)


def test_a_fraction_of_full_supervision_leaves_the_other_smoke_frames_out(
    tiny_source: IndexSource, work: Work
) -> None:
    """Two sequences of two frames: half of the masks is one of them."""
    items = training_items(open_teaching(plan(tiny_source, fraction=0.5)), work)
    smoky = [item.frame for item in items if item.frame.label == 1]
    assert len(smoky) == 2
    assert len({frame.sequence for frame in smoky}) == 1
    assert sum(item.frame.label == 0 for item in items) == 4


def test_mixed_supervision_has_pseudo_masks_elsewhere(
    pseudo: FinishedRun, chain: Chain, work: Work
) -> None:
    mixed = Stage3Plan(
        pseudo_masks=str(pseudo.path),
        output=str(chain.root / "runs" / "stage3" / "mixed"),
        supervision=SupervisionPlan(mode="mixed", fraction=0.5),
    )
    teaching = open_teaching(mixed)
    items = training_items(teaching, work)
    homes = {
        item.frame.id: item.mask_path.parent.parent for item in items if item.mask_path is not None
    }
    assert set(teaching.real) == {name for name, home in homes.items() if home != pseudo.path}
    assert len(teaching.real) == 2
    assert sum(home == pseudo.path for home in homes.values()) == 2
    record = json.loads((work.run.path / "supervision.json").read_text())
    assert record["mode"] == "mixed"
    assert (record["frames_with_mask"], record["frames_with_pseudo_mask"]) == (2, 2)
    assert (record["sequences_with_mask"], record["smoke_free_frames"]) == (1, 4)
    assert record["share_with_mask"] == 0.5
    teachers = {row["id"]: row["teacher"] for row in record["frames"]}
    assert {name for name, who in teachers.items() if who == REAL} == set(teaching.real)
    assert all(bool(row["mask_sha256"]) == (row["teacher"] == REAL) for row in record["frames"])


def test_weak_supervision_never_opens_a_real_mask(
    pseudo: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **settings: object) -> None:
        raise AssertionError("a real mask was looked for")

    for name in ("masks_of", "read_mask", "masks_by_name"):
        monkeypatch.setattr(f"weakseg.stages.supervision.{name}", refuse)
    weak = Stage3Plan(pseudo_masks=str(pseudo.path), supervision=SupervisionPlan(masks="/nowhere"))
    assert open_teaching(weak).inputs.keys() == {"frames", "stage2"}


def test_smoke_frames_whose_real_mask_is_empty_teach_nothing(tiny_source: IndexSource) -> None:
    frames = tiny_source.frames()
    one, *others = train_smoke(frames)
    real = {frame.id: Path("x") for frame in (one, *others)}
    teaching = Teaching(SupervisionPlan(mode="full"), frames, {}, None, real)
    items, teachers = assign(teaching, RunPaths(Path("y")), {frame.id for frame in others})
    assert one.id not in teachers
    assert [item.frame for item in items if item.frame.label == 1] == others
    assert {teachers[f.id] for f in frames if f.split == "train" and f.label == 0} == {LABEL}
    assert PSEUDO not in teachers.values()


def test_the_same_masks_under_other_names_are_the_same_input(
    tiny_source: IndexSource, tiny_folder: Path, tmp_path: Path
) -> None:
    for frame in tiny_source.frames():
        shutil.copy(tiny_folder / f"{frame.id}_mask.png", tmp_path / f"{frame.id}.png")
    given = open_teaching(plan(tiny_source, masks=str(tmp_path))).inputs
    assert given == open_teaching(plan(tiny_source)).inputs
    one = train_smoke(tiny_source.frames())[0]
    cv2.imwrite(str(tmp_path / f"{one.id}.png"), np.full((48, 64), 255, np.uint8))
    assert open_teaching(plan(tiny_source, masks=str(tmp_path))).inputs != given


def test_instances_of_an_index_come_with_its_masks(
    tiny_folder: Path, tmp_path: Path, work: Work
) -> None:
    with (tiny_folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    numbers = np.zeros((48, 64), np.uint16)
    numbers[10:30, 20:40] = 300
    cv2.imwrite(str(tmp_path / "i.png"), numbers)
    for row in rows:
        row |= {key: str(tiny_folder / row[key]) for key in ("path", "mask_path")}
        row["instances_path"] = "i.png" if row["scene"] == "s0" else ""
    with (tmp_path / "index.csv").open("w") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    teaching = open_teaching(plan(IndexSource(str(tmp_path / "index.csv"))))
    known = {item.frame.scene: item.instances_path for item in training_items(teaching, work)}
    assert {scene for scene, path in known.items() if path is not None} == {"s0"}
    assert known["s0"] == tmp_path / "i.png"
    before = teaching.inputs["masks"]
    cv2.imwrite(str(tmp_path / "i.png"), numbers + 1)
    again = open_teaching(plan(IndexSource(str(tmp_path / "index.csv"))))
    assert again.inputs["masks"] != before


# ---- what is refused


def test_full_supervision_without_masks_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with (tiny_folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = ["path,label,scene,split,sequence"]
    lines += [
        f"{tiny_folder / row['path']},{row['label']},{row['scene']},{row['split']}," for row in rows
    ]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="needs real masks of training frames"):
        open_teaching(plan(IndexSource(str(tmp_path / "index.csv"))))


def test_masks_of_another_size_are_refused_before_training(
    tiny_source: IndexSource, work: Work, tmp_path: Path
) -> None:
    for frame in train_smoke(tiny_source.frames()):
        cv2.imwrite(str(tmp_path / f"{frame.id}.png"), np.full((9, 9), 255, np.uint8))
    with pytest.raises(DataError, match="covers 9x9 pixels but its frame 48x64"):
        training_items(open_teaching(plan(tiny_source, masks=str(tmp_path))), work)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"supervision": SupervisionPlan(mode="some")}, "supervision.mode must be one of"),
        ({"supervision": SupervisionPlan("full", fraction=0.0)}, "supervision.fraction must"),
        ({"supervision": SupervisionPlan("full", fraction=2.0)}, "supervision.fraction must"),
        ({"supervision": SupervisionPlan("weak")}, "leave data= out, or take supervision=full"),
        ({"pseudo_masks": "runs/x"}, "both name the frames"),
    ],
)
def test_contradictions_are_refused(
    tiny_source: IndexSource, changes: dict[str, Any], words: str
) -> None:
    wanted = plan(tiny_source)
    for name, value in changes.items():
        setattr(wanted, name, value)
    with pytest.raises(ValueError, match=words):
        open_teaching(wanted)
