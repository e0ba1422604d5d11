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
from doors import STAGES, Chain, Doors

from weakseg.artifacts import FinishedRun, Manifest, load_run, read_mask_ids
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

TOLD = ("segmenter.encoder=tu-test_resnet", "segmenter.encoder_weights=none")
"""A segmenter that needs no classifier."""


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


# ---- the command


@pytest.fixture(scope="module")
def full(doors: Doors, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that learnt half of the real masks, without any earlier stage."""
    root = tmp_path_factory.mktemp("full")
    doors.must("stage3", *full_arguments(tiny_folder), cwd=root)
    return root


def full_arguments(folder: Path) -> tuple[str, ...]:
    return (
        *STAGES["stage3"],
        *TOLD,
        "supervision=full",
        "supervision.fraction=0.5",
        "data=index",
        f"data.index={folder / 'index.csv'}",
        "fit.max_steps=30",
        "fit.epochs=2",
        "output=runs/stage3/full",
    )


def test_full_supervision_needs_no_earlier_stage(full: Path) -> None:
    run = full / "runs/stage3/full"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["supervision"], summary["epoch_by"]) == ("full", "last")
    assert summary["supervision/frames_with_mask"] == 2
    assert summary["test/iou_per_image"] > 0.4
    assert set(Manifest.read(run).inputs) == {"frames", "masks", "weights"}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == 30
    assert {row["epoch"] for row in rows} == {1, 2}


def test_the_page_says_who_taught(full: Path) -> None:
    page = (full / "runs/stage3/full/report.html").read_text()
    assert "Full supervision: learnt from the real masks of 2 frames (50.0 %, 1 sequences)" in page
    assert "The last epoch was kept" in page
    assert "on real masks" in page


def test_where_the_masks_lie_does_not_count_but_what_they_show_does(
    doors: Doors, tiny_folder: Path, full: Path, tmp_path: Path
) -> None:
    shutil.copytree(full, tmp_path, dirs_exist_ok=True)
    masks = tmp_path / "masks"
    masks.mkdir()
    for frame in IndexSource(str(tiny_folder / "index.csv")).frames():
        shutil.copy(tiny_folder / f"{frame.id}_mask.png", masks / f"{frame.id}.png")
    arguments = (*full_arguments(tiny_folder), f"supervision.masks={masks}")
    assert "nothing left to do" in doors.must("stage3", *arguments, cwd=tmp_path).err
    for path in masks.iterdir():
        cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8))
    sentence = doors.run("stage3", *arguments, cwd=tmp_path).sentence
    assert "inputs.masks" in sentence


def test_a_trained_segmenter_keeps_its_teacher(doors: Doors, full: Path, tiny_folder: Path) -> None:
    """Another threshold of the same network reads no mask of a training frame."""
    arguments = (
        *STAGES["stage3"],
        "trained=runs/stage3/full",
        "data=index",
        f"data.index={tiny_folder / 'index.csv'}",
        "output=runs/stage3/again",
    )
    doors.must("stage3", *arguments, cwd=full)
    again = full / "runs/stage3/again"
    summary = json.loads((again / "summary.json").read_text())
    assert (summary["supervision"], summary["epoch_by"]) == ("full", "trained")
    assert "masks" not in Manifest.read(again).inputs
    assert not (again / "supervision").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "segmenter.encoder=auto takes the network of a classifier"),
        ((*TOLD, "supervision=weak"), "leave data= out"),
        ((*TOLD, "supervision.fraction=0"), "supervision.fraction must be above 0"),
        ((*TOLD, "supervision.masks=nowhere"), "supervision.masks=nowhere holds a mask of no"),
        ((*TOLD, "keep=first"), "keep must be one of"),
    ],
)
def test_wrong_supervision_is_refused_in_one_sentence(
    doors: Doors, tiny_folder: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = (
        *STAGES["stage3"],
        "supervision=full",
        "data=index",
        f"data.index={tiny_folder / 'index.csv'}",
        *arguments,
    )
    assert words in doors.run("stage3", *given, cwd=tmp_path).sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_earlier_stages_know_no_supervision(doors: Doors, tmp_path: Path, stage: str) -> None:
    data = ("data=index", "data.index=x.csv") if stage == "stage1" else ()
    for argument in ("supervision.mode=full", "supervision=full"):
        done = doors.run(stage, *data, argument, cwd=tmp_path)
        assert "supervision" in done.sentence
