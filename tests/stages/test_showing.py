"""What a tracker is told of a run: frames worth a look, tables, files, and whence they come."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import Chain

from weakseg.arrays import Mask
from weakseg.artifacts import ArtifactError, RunFolder, load_run, read_json
from weakseg.artifacts.lock import FolderLock
from weakseg.plans import EvaluatePlan
from weakseg.stages.evaluation import command as evaluation
from weakseg.stages.evaluation.measuring import evaluate_split
from weakseg.stages.showing import chosen, run_name, show, with_figures
from weakseg.stages.work import Work, frames_of
from weakseg.tracking import NoTracker, Panel
from weakseg.training import StopFlag


class Recorder(NoTracker):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def start(self, run_dir: Path, **arguments: Any) -> None:
        self.told["start"] = (run_dir, arguments)

    def images(self, key: str, panels: Sequence[Path | Panel], step: int) -> None:
        self.told[key] = list(panels)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.told[key] = [dict(zip(columns, row, strict=True)) for row in rows]

    def artifact(self, name: str, type: str, paths: Sequence[Path], **more: Any) -> None:
        self.told["artifact"] = (name, type, list(paths), more)

    def made_of(self, run_dirs: Sequence[Path]) -> None:
        self.told["made_of"] = list(run_dirs)

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        self.told["finish"] = (dict(summary), status)


def reopened(folder: Path) -> RunFolder:
    manifest = load_run(folder).manifest
    return RunFolder.open(
        folder,
        kind=manifest.kind,
        config=manifest.config,
        settings=manifest.settings,
        inputs=manifest.inputs,
        data=manifest.data,
    )


def half(row: Mapping[str, str], height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 1
    return mask


def test_segmenter_is_shown_beside_the_truth_of_measured_frames(chain: Chain) -> None:
    tracker = Recorder()
    with reopened(chain.run_of("stage3")) as run, StopFlag() as stop:
        rows = load_run(run.path).frames
        frames = frames_of(load_run(chain.run_of("stage2")))
        measured = evaluate_split(run, frames, "test", 0.5)
        assert measured is not None
        show(
            Work(run, tracker, stop),
            rows,
            {"prediction": half},
            count=2,
            files=("frames.csv", "segmenter.json", "not_there.json"),
            made_of=[chain.run_of("stage2")],
            measured=measured,
        )
    told = tracker.told
    shown = {panel.caption.partition(":")[0]: panel for panel in told["pictures/smoke"]}
    assert set(shown) <= set(measured.paths)
    assert all(set(panel.masks) == {"prediction", "truth"} for panel in shown.values())
    assert all("IoU" in panel.caption for panel in shown.values())
    table = {row["id"]: row for row in told["tables/frames"]}
    assert len(table) == len(rows)
    for one in measured.frames:
        assert table[one.id]["iou"] == (pytest.approx(one.iou) if one.has_smoke else None)
    unmeasured = [row for row in rows if row["split"] == "val"]
    assert all(table[row["id"]]["iou"] is None for row in unmeasured)
    assert all(isinstance(row["probability"], float) for row in table.values())
    assert {row["kind"] for row in told["tables/examples"]} == {"smoke", "smoke_free"}
    assert all(isinstance(row["picture"], Panel) for row in told["tables/examples"])
    assert len(told["tables/by_scene"]) == len(measured.by_scene)
    assert told["made_of"] == [chain.run_of("stage2")]
    name, kind, paths, more = told["artifact"]
    assert (name, kind) == ("stage3-tiny", "model")
    assert [path.name for path in paths] == ["frames.csv", "segmenter.json"]
    manifest = load_run(chain.run_of("stage3")).manifest
    assert more["alias"] == manifest.fingerprint[:12]
    assert more["metadata"]["inputs"] == manifest.inputs


def test_evaluation_is_a_run_of_its_own_made_of_the_measured_one(
    chain: Chain, tmp_path: Path
) -> None:
    run, tracker = tmp_path / "measured", Recorder()
    shutil.copytree(chain.run_of("stage2"), run)
    plan = EvaluatePlan(run=str(run), split="test", resamples=0, report_frames=1, tracker=tracker)
    figures = read_json(evaluation.run(plan, {}))["figures"]
    folder, arguments = tracker.told["start"]
    assert folder == run / "evaluation" / "tracked" / "index-test"
    assert arguments["job_type"] == "evaluate"
    assert arguments["name"] == "evaluate-index-test-stage2-tiny"
    assert arguments["config"]["measured"]["config"]["refine"] == {"steps": {}}
    assert tracker.told["made_of"] == [run]
    summary, status = tracker.told["finish"]
    assert status == "finished"
    assert summary["iou_per_image"] == pytest.approx(figures["iou_per_image"])
    (panel,) = tracker.told["pictures/smoke"]
    assert set(panel.masks) == {"prediction", "truth"}
    assert {"id", "iou", "true_share"} <= set(tracker.told["tables/frames"][0])
    assert len(tracker.told["tables/iou_by_threshold"]) == 256


class Busy(Recorder):
    """Looks, at its start and its end, whether its folder is held."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[bool] = []

    def start(self, run_dir: Path, **arguments: Any) -> None:
        super().start(run_dir, **arguments)
        self.held.append(is_held(run_dir))

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        super().finish(summary, status)
        self.held.append(is_held(self.told["start"][0]))


def is_held(folder: Path) -> bool:
    try:
        FolderLock(folder, patience_seconds=0.0).release()
    except ArtifactError:
        return True
    return False


def test_evaluation_holds_the_folder_that_it_is_tracked_in(
    chain: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, tracker = tmp_path / "measured", Busy()
    shutil.copytree(chain.run_of("stage2"), run)
    plan = EvaluatePlan(run=str(run), split="test", resamples=0, report_frames=1, tracker=tracker)
    evaluation.run(plan, {})
    assert tracker.held == [True, True]
    holder = FolderLock(run / "evaluation" / "tracked" / "index-test")
    plan.tracker = late = Busy()
    evaluation.run(plan, {})  # Its figures are written, and it is not told.
    assert late.told == {}
    assert "index-test is not tracked" in caplog.text
    holder.release()


def test_frames_worth_a_look_are_the_best_the_worst_and_the_false_alarms() -> None:
    smoke = [{"id": f"s{k}", "label": 1, "probability": k / 10} for k in range(6)]
    free = [{"id": f"f{k}", "label": 0, "probability": 0.1, "smoke_share": k} for k in range(6)]
    table = [*smoke, *free]
    assert ids(chosen(table, 4)) == [["s5", "s4", "s1", "s0"], ["f5", "f4"]]
    measured = [{**row, "iou": 1 - row["probability"]} for row in smoke[:5]]
    assert ids(chosen([*measured, smoke[5], *free], 2)) == [["s0", "s4"], ["f5"]]
    assert ids(chosen(table[:1], 4)) == [["s0"], []]
    assert ids(chosen(table, 0)) == [[], []]


def ids(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    return [[row["id"] for row in rows] for rows in found.values()]


def test_numbers_become_numbers_and_names_stay_names() -> None:
    (row,) = with_figures([{"id": "007", "scene": "3", "label": "1", "probability": "0.25"}], None)
    assert row == {"id": "007", "scene": "3", "label": 1, "probability": 0.25}


def test_run_is_called_as_asked_or_by_stage_and_folder(chain: Chain) -> None:
    manifest = load_run(chain.run_of("stage1")).manifest
    assert run_name(manifest) == "stage1-tiny"
    asked = {**manifest.config, "tracking": {"name": "mine"}}
    object.__setattr__(manifest, "config", asked)
    assert run_name(manifest) == "mine"
