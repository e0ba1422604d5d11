"""The model card says what its run measured, and that the rest is unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from doors import Chain

from weakseg.artifacts import load_run
from weakseg.data import Frame, IndexSource
from weakseg.metrics import FrameFigures, PixelCounts, group_table, size_table, summarise
from weakseg.refine import FalseAlarmThreshold, ThresholdChoice
from weakseg.report import Section, Table
from weakseg.stages.cards.data import cameras_line, data_section, night_line, scenes_line
from weakseg.stages.cards.limits import NOT_MEASURED, limits
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.pages.words import kept_epoch, told_threshold

SUMMARY = {"supervision": "full", "selection": "labels"}


def figures(name: str, label: int, tp: int, fp: int, fn: int, scene: str = "") -> FrameFigures:
    counts = PixelCounts(tp=tp, fp=fp, fn=fn, tn=1000 - tp - fp - fn)
    return FrameFigures(name, label, scene or name, counts, probability=float(label))


def measured(*frames: FrameFigures) -> Evaluation:
    return Evaluation(
        summarise(frames, draws=20),
        list(frames),
        strata=size_table(frames),
        by_scene=group_table(frames, key="scene"),
    )


def the(lines: list[str], start: str) -> str:
    (line,) = [line for line in lines if line.startswith(start)]
    return line


# ---- limits follow from the figures


def test_small_smoke_is_told_with_its_figures() -> None:
    small = [figures("a", 1, 0, 0, 4), figures("b", 1, 2, 0, 2)]
    line = the(limits(measured(*small, figures("c", 1, 90, 0, 10)), SUMMARY), "Small smoke")
    assert "IoU per image 0.25 on 2 frames" in line
    assert "in 50.0 % of them no pixel" in line


def test_small_smoke_that_was_not_measured_is_unknown() -> None:
    line = the(limits(measured(figures("c", 1, 90, 0, 10)), SUMMARY), "Small smoke")
    assert "nothing is known" in line


def test_no_false_alarm_is_no_promise() -> None:
    clear = [figures(str(n), 0, 0, 0, 0) for n in range(30)]
    line = the(limits(measured(*clear), SUMMARY), "False alarms")
    assert "0 of 30 smoke-free frames, 0 %" in line
    assert "up to 10.0 %" in line


def test_false_alarms_are_counted() -> None:
    clear = [figures("a", 0, 0, 50, 0), *(figures(str(n), 0, 0, 0, 0) for n in range(3))]
    line = the(limits(measured(*clear), SUMMARY), "False alarms")
    assert line == "False alarms: 1 of 4 smoke-free frames, 25.0 %."


def test_without_smoke_free_frames_false_alarms_are_unknown() -> None:
    lines = limits(measured(figures("a", 1, 50, 0, 0)), SUMMARY)
    assert "unknown" in the(lines, "False alarms")
    assert "nothing is known" in the(lines, "Scenes")


def test_worst_scenes_are_named() -> None:
    frames = [figures(f"f{n}", 1, 10 * n, 0, 100 - 10 * n, f"site{n}") for n in range(1, 6)]
    line = the(limits(measured(*frames), SUMMARY), "Scenes differ")
    assert "from 0.10 to 0.50 over 5 scenes" in line
    assert "Worst: site1 0.10, site2 0.20, site3 0.30." in line


def test_without_masks_nothing_is_claimed() -> None:
    lines = limits(None, SUMMARY)
    assert list(NOT_MEASURED) == lines[:2]
    assert not any(mark in " ".join(lines) for mark in ("IoU", " 0."))


@pytest.mark.parametrize(("mode", "is_told"), [("weak", True), ("mixed", True), ("full", False)])
def test_pseudo_masks_are_a_limit_where_they_taught(mode: str, is_told: bool) -> None:
    lines = " ".join(limits(None, SUMMARY | {"supervision": mode}))
    assert ("classifier" in lines) == is_told


# ---- data


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Four frames, two of them dark, with licences and cameras."""
    lines = ["path,label,split,scene,licence,camera"]
    for name, label, split, licence, camera, grey in (
        ("a", 1, "train", "CC BY 4.0", "north", 120),
        ("b", 0, "train", "CC BY 4.0", "south", 120),
        ("c", 1, "test", '"CC | ""own"""', "north", 20),
        ("d", 0, "test", "", "east", 120),
    ):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 40, 3), grey, np.uint8))
        lines.append(f"{name}.png,{label},{split},scene_{name},{licence},{camera}")
    path = tmp_path / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def table(section: Section, title: str) -> Table:
    (found,) = [table for table in section.tables if table.title.startswith(title)]
    return found


def test_frames_and_licences_are_counted(index: Path) -> None:
    source = IndexSource(str(index), val_fraction=0)
    section = data_section(source.settings(), source.frames())
    assert table(section, "Frames").rows[0][:4] == ["train", 1, 1, 2]
    assert table(section, "Licences").rows == [
        ["CC BY 4.0", 2, 0],
        ['CC | "own"', 0, 1],
        ["not told", 0, 1],
    ]
    assert "quoted" in " ".join(section.lines)


def test_licences_that_are_not_told_are_unknown(index: Path) -> None:
    index.write_text(index.read_text().replace("licence", "colour"))
    source = IndexSource(str(index), val_fraction=0)
    section = data_section(source.settings(), source.frames())
    assert "Licence of the frames: unknown" in " ".join(section.lines)


def test_cameras_that_are_new_are_counted(index: Path) -> None:
    source = IndexSource(str(index), val_fraction=0)
    assert "1 of the 2 held-out cameras" in cameras_line(source.settings(), source.frames())
    index.write_text(index.read_text().replace(",camera", ",colour"))
    source = IndexSource(str(index), val_fraction=0)
    assert "do not name cameras" in cameras_line(source.settings(), source.frames())


def test_dark_frames_are_counted_among_those_held_out(index: Path) -> None:
    frames = IndexSource(str(index), val_fraction=0).frames()
    assert "1 of 2 held-out frames" in night_line(frames)
    lit = [frame for frame in frames if frame.path.stem != "c"]
    assert "nothing is known of frames at night" in night_line(lit)
    assert "no held-out frame" in night_line([])


def test_scenes_torn_between_splits_are_told() -> None:
    def frame(name: str, scene: str, split: str) -> Frame:
        return Frame(name, Path(f"/{name}.png"), 0, scene, split)

    frames = [frame("a", "s", "train"), frame("b", "t", "test")]
    assert scenes_line(frames).startswith("None of the 1")
    assert scenes_line([*frames, frame("c", "s", "val")]).startswith("1 of the 2 held-out")
    assert "unknown" in scenes_line(frames[1:])


# ---- how it was made


def test_kept_epoch_is_the_first_of_the_best() -> None:
    log: list[dict[str, Any]] = [{"step": 1, "epoch": 1, "step/loss": 1.0}]
    log += [
        {"epoch": epoch, "train/loss": 1.0, "val/selection": value}
        for epoch, value in ((1, 0.2), (2, 0.8), (3, 0.8))
    ]
    assert kept_epoch(log, {"epoch_by": "labels"}) == (2, 3)
    assert kept_epoch(log, {"epoch_by": "last"}) == (3, 3)
    assert kept_epoch(log, {"epoch_by": "trained"}) is None
    assert kept_epoch([], {"epoch_by": "labels"}) is None


def test_threshold_is_told_with_its_rule_and_what_it_saw() -> None:
    detail = FalseAlarmThreshold(target=0.05).settings() | {"target_met": True}
    told = told_threshold(ThresholdChoice(0.5, 0.4, 0.6, "false_alarm", detail))
    for part in ("reaches 0.500", "false_alarm", "smoke-free frames", "target 0.05", "met yes"):
        assert part in told


# ---- the whole


def test_run_holds_a_card_of_its_own_figures(chain: Chain) -> None:
    runs = {stage: load_run(chain.run_of(stage)) for stage in ("stage1", "stage2", "stage3")}
    run = runs["stage3"]
    card = (run.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    summary = json.loads(run.summary_path.read_text())
    for stage in runs.values():
        assert stage.fingerprint in card
    assert f"| {summary['test/iou_per_image']:.3f} |" in card
    assert f"`{run.manifest.config['output']}` is this folder" in card
    assert "| train | 4 | 4 | 4 | 4 |" in card
    assert "Licence of the frames: unknown" in card
    assert "none is needed: nothing was taken over" in card
    assert "| the label smoke-free | 4 |" in card
    assert "nan" not in card.casefold().split()
    page = run.report_path.read_text(encoding="utf-8")
    assert 'href="MODEL_CARD.md"' in page
    assert "Model card: tiny" in page
