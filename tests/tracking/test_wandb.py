"""Tracking stays inside the run folder, survives resumes, and never stops a run."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from weakseg.arrays import FrameArray, Mask
from weakseg.tracking import NoTracker, Panel, Tracker, WandbTracker


class FakeRun:
    """Remembers what it is told, and fails where asked."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.step = 0
        self.offline = True
        self.dir = ""
        self.own_steps: list[int] = []
        self.metrics: dict[str, str | None] = {}
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None

    def define_metric(self, name: str, *, step_metric: str, summary: str | None = None) -> None:
        assert step_metric == "step"
        self.metrics[name] = summary

    def log(self, row: dict[str, Any], *, step: int, commit: bool) -> None:
        if self.failing == "log":
            raise RuntimeError("disk\n full")
        assert commit
        self.rows.append(row)
        self.own_steps.append(step)

    def finish(self, exit_code: int) -> None:
        if self.failing == "finish":
            raise BrokenPipeError("service is gone")
        self.exit_code = exit_code


class FakeError(Exception):
    pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for the wandb package: no process, no network."""
    module = SimpleNamespace(
        run=FakeRun(), calls=[], offline_only=False, torn_down=0, environment={}, Error=FakeError
    )

    def init(**arguments: Any) -> FakeRun:
        module.calls.append(arguments)
        module.environment = {k: v for k, v in os.environ.items() if k.startswith("WANDB")}
        if module.offline_only and arguments["mode"] == "online":
            raise FakeError("no network")
        module.run.dir = f"{arguments['dir']}/wandb/offline-run-1/files"
        Path(module.run.dir).mkdir(parents=True, exist_ok=True)
        return module.run  # type: ignore[no-any-return]

    def teardown() -> None:
        module.torn_down += 1

    module.init, module.teardown = init, teardown
    module.Settings = lambda **settings: settings
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def begin(tracker: Tracker, folder: Path) -> None:
    tracker.start(folder, name="vit", group=None, job_type="stage1", config={"lr": 0.1})


def test_every_folder_of_wandb_lies_in_the_run_and_the_environment_comes_back(
    tmp_path: Path, fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_DIR", "/mine")
    monkeypatch.delenv("WANDB_CACHE_DIR", raising=False)
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    assert len(fake.environment) >= 5
    assert {fake.environment[name] for name in fake.environment} == {str(tmp_path / "wandb")}
    tracker.finish({}, "finished")
    assert os.environ["WANDB_DIR"] == "/mine"
    assert "WANDB_CACHE_DIR" not in os.environ


def test_resumed_run_keeps_its_id(tmp_path: Path, fake: SimpleNamespace) -> None:
    for _ in range(2):
        tracker = WandbTracker()
        begin(tracker, tmp_path)
        tracker.finish({}, "interrupted")
    first, second = fake.calls
    assert first["id"] == second["id"] == (tmp_path / "wandb_id.txt").read_text().strip()
    assert second["resume"] == "allow"
    assert fake.run.exit_code == 1


def test_log_of_every_start_knows_where_the_run_lies(tmp_path: Path, fake: SimpleNamespace) -> None:
    begin(WandbTracker(), tmp_path)
    assert (tmp_path / "wandb/offline-run-1/place.txt").read_text() == f"{tmp_path}\n"


def test_run_of_a_sweep_is_tagged_with_group_and_point(
    tmp_path: Path, fake: SimpleNamespace
) -> None:
    point = ["refine=crf", "data.index=" + 80 * "x"]
    config = {"tracking": {"name": "", "group": "demo", "point": point}, "lr": 0.1}
    tracker = WandbTracker(tags=["mine"])
    tracker.start(tmp_path, name="a", group="demo", job_type="stage2", config=config)
    (call,) = fake.calls
    # wandb refuses tags of more than 64 characters.
    assert call["tags"] == ["mine", "demo", "refine=crf", point[1][:64]]
    assert call["config"]["tracking"]["point"] == point
    assert set(call["config"]["code"]) == {"version", "git_commit"}
    tracker.finish({}, "finished")


def test_run_of_wandbs_agent_has_the_agents_id(
    tmp_path: Path, fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep3")
    monkeypatch.setenv("WANDB_RUN_ID", "agentrun7")
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.finish({}, "interrupted")
    assert fake.calls[0]["id"] == (tmp_path / "wandb_id.txt").read_text().strip() == "agentrun7"


def test_rows_of_a_resumed_run_follow_those_before(tmp_path: Path, fake: SimpleNamespace) -> None:
    for rows in (3, 2):
        tracker = WandbTracker()
        begin(tracker, tmp_path)
        for step in range(rows):
            tracker.log({"loss": 1.0}, step)
        tracker.finish({}, "interrupted")
    assert fake.run.own_steps == [0, 1, 2, 3, 4]
    fake.run.step = 9  # What a server knows of it, from another machine.
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.log({"loss": 1.0}, 7)
    assert fake.run.own_steps[-1] == 9
    tracker.finish({}, "interrupted")


@pytest.mark.parametrize("offline", [True, False])
def test_rows_that_wandb_may_have_lost_are_told_again(
    tmp_path: Path, fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    fake.run.offline = offline
    killed, times = WandbTracker(), iter([0.0, 100.0, 110.0, 120.0])
    begin(killed, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("weakseg.tracking.journal.time.time", lambda: next(times))
        for step in range(3):
            killed.log({"loss": 1.0 - step}, step)
        killed.log({"picture": []}, 4)  # type: ignore[dict-item]
    fake.run.rows.clear()
    for _ in range(2):  # The second finds that the first has ended properly.
        tracker = WandbTracker()
        begin(tracker, tmp_path)
        tracker.finish({}, "finished")
    again = [{"loss": 0.0, "step": 1}, {"loss": -1.0, "step": 2}]
    assert fake.run.rows == (again if offline else [])
    if offline:
        assert fake.run.own_steps[-2:] == [4, 5]


def test_rows_are_told_again_once_however_often_a_run_is_killed_soon(
    tmp_path: Path, fake: SimpleNamespace
) -> None:
    told = []
    for step in range(5):
        fake.run.rows.clear()
        killed = WandbTracker()
        begin(killed, tmp_path)
        killed.log({"loss": float(step)}, step)
        told.append([row["step"] for row in fake.run.rows])
    assert told == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert fake.run.own_steps == list(range(15))


def test_figures_are_defined_once_with_their_goal(tmp_path: Path, fake: SimpleNamespace) -> None:
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.log({"val/auroc": 0.5, "step/lr": 0.1}, 1)
    fake.run.metrics["val/auroc"] = "asked twice"
    tracker.log({"val/auroc": 0.6, "train/loss": 1.0}, 2)
    assert fake.run.metrics == {"*": None, "val/auroc": "asked twice", "train/loss": "min"}
    tracker.finish({"test/iou_per_image": 0.5, "selection": "labels"}, "finished")
    assert fake.run.metrics["test/iou_per_image"] == "max"
    assert "selection" not in fake.run.metrics


def test_what_cannot_be_kept_is_left_out_and_the_figures_go_on(
    tmp_path: Path, fake: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.artifact("masks", "masks", [tmp_path])  # The stand-in knows no artifacts.
    tracker.made_of([tmp_path / "gone"])
    tracker.log({"loss": 1.0}, 1)
    tracker.finish({"iou": 0.5}, "finished")
    assert "wandb failed at artifact" in caplog.text
    assert len(caplog.records) == 1
    assert fake.run.rows == [{"loss": 1.0, "step": 1}]
    assert fake.run.summary["iou"] == 0.5


def test_artifacts_may_be_left_out(
    tmp_path: Path, fake: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = WandbTracker(artifacts=False)
    begin(tracker, tmp_path)
    tracker.artifact("masks", "masks", [tmp_path])
    tracker.made_of([tmp_path])
    tracker.finish({}, "finished")
    assert caplog.text == ""
    assert fake.run.exit_code == 0


def test_rows_may_step_back_and_hold_nan(tmp_path: Path, fake: SimpleNamespace) -> None:
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.log({"loss": np.float32(0.5)}, 7)
    tracker.log({"loss": float("nan")}, 3)
    assert fake.run.rows == [{"loss": 0.5, "step": 7}, {"loss": None, "step": 3}]
    tracker.finish({"iou": 0.5}, "finished")
    assert fake.run.summary == {"iou": 0.5, "status": "finished"}
    assert fake.run.exit_code == 0


@pytest.mark.parametrize("failing", ["log", "finish"])
def test_failing_tracker_warns_once_and_is_off(
    tmp_path: Path, fake: SimpleNamespace, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    fake.run.failing = failing
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            tracker.log({"loss": 1.0}, step)
        tracker.finish({}, "finished")
        tracker.log({"loss": 1.0}, 4)
    assert len(caplog.records) == 1
    assert f"wandb failed at {failing}" in caplog.text
    assert "the run goes on without it" in caplog.text


def test_online_without_a_server_goes_on_offline(
    tmp_path: Path, fake: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    fake.offline_only = True
    tracker = WandbTracker(mode="online")
    begin(tracker, tmp_path)
    assert [call["mode"] for call in fake.calls] == ["online", "offline"]
    assert fake.torn_down == 1
    assert "going on offline" in caplog.text
    tracker.log({"loss": 1.0}, 1)
    assert fake.run.rows == [{"loss": 1.0, "step": 1}]


def test_start_that_fails_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    tracker = WandbTracker()
    begin(tracker, tmp_path)
    tracker.log({"loss": 1.0}, 1)
    tracker.finish({}, "finished")
    assert "wandb failed at start" in caplog.text


def test_disabled_and_unstarted_trackers_touch_nothing(
    tmp_path: Path, fake: SimpleNamespace, plume: FrameArray, plume_mask: Mask
) -> None:
    trackers: list[Tracker] = [WandbTracker(mode="disabled"), NoTracker()]
    for tracker in trackers:
        begin(tracker, tmp_path)
        tracker.log({"loss": 1.0}, 1)
        tracker.images("panels", [Panel(plume, {"truth": plume_mask})], 1)
        tracker.table("frames", ["id"], [["a"]])
        tracker.artifact("masks", "masks", [tmp_path])
        tracker.made_of([tmp_path])
        tracker.finish({}, "finished")
    WandbTracker().finish({}, "failed")
    assert list(tmp_path.iterdir()) == []
    assert fake.calls == []


def test_wrong_settings_are_refused(plume: FrameArray) -> None:
    with pytest.raises(ValueError, match="mode must be one of"):
        WandbTracker(mode="cloud")
    with pytest.raises(ValueError, match="init_timeout_seconds"):
        WandbTracker(init_timeout_seconds=0)
    with pytest.raises(ValueError, match="finish_timeout_seconds"):
        WandbTracker(finish_timeout_seconds=0)
    with pytest.raises(ValueError, match="truth must have shape"):
        Panel(plume, {"truth": np.zeros((2, 2), np.uint8)})
