"""Stage 3 without stages 1 and 2: real masks teach, and the run says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from doors import STAGES, Doors

from weakseg.artifacts import Manifest
from weakseg.data import IndexSource
from weakseg.stages.cards.data import taught_section
from weakseg.stages.cards.making import learner_of

TOLD = ("segmenter.encoder=tu-test_resnet", "segmenter.encoder_weights=none")
"""A segmenter that needs no classifier."""


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


def test_the_card_of_a_trained_segmenter_tells_of_the_run_that_learnt(
    doors: Doors, full: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(full / "runs/stage3/full", tmp_path / "runs/stage3/full")
    lines = (tiny_folder / "index.csv").read_text().splitlines()
    index = tiny_folder / "fewer.csv"
    index.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    arguments = (
        *STAGES["stage3"],
        "trained=runs/stage3/full",
        "data=index",
        f"data.index={index}",
        "output=runs/stage3/again",
    )
    doors.must("stage3", *arguments, cwd=tmp_path)
    card = (tmp_path / "runs/stage3/again/MODEL_CARD.md").read_text()
    assert "| fraction | 0.5 |" in card
    assert "Those of the run `full`, which learnt. Source: the index `index.csv`" in card
    assert "Source: the index `fewer.csv`" in card
    assert "Unseen cameras: unknown" in card
    assert card.count("held-out scenes is in the training split") == 1
    shutil.rmtree(tmp_path / "runs/stage3/full")
    config = Manifest.read(tmp_path / "runs/stage3/again").config
    assert learner_of(config | {"trained": str(tmp_path / "runs/stage3/full")}) is None
    assert "Unknown" in taught_section(None).lines[0]


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
