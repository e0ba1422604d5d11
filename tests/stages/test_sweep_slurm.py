"""A task of a Slurm array makes one point, and saves it when it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_python import make_fake_python, starts

from weakseg.plans import HardwarePlan, SweepPlan
from weakseg.stages.sweeps import slurm
from weakseg.stages.sweeps.command import PointsFailed, prepare, run
from weakseg.stages.sweeps.slurm import PointTask, missing
from weakseg.training import Interrupted

pytest.importorskip("submitit")

FILE = {
    "method": "grid",
    "parameters": {"seed": {"values": [0, 1, 2]}},
    "command": ["python", "-m", "weakseg.stage1", "data=synthetic", "${args_no_hyphens}"],
}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlan:
    """A sweep of three points in the folder `out`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.yaml").write_text(yaml.safe_dump(FILE))
    return SweepPlan(file="three.yaml", output="out", hardware=HardwarePlan(threads=1))


def use_fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, seconds: float = 0.0) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "executable", str(make_fake_python(folder, seconds=seconds)))
    return folder


def counts(tmp_path: Path) -> dict[str, int]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "sweep.json").read_text())
    found: dict[str, int] = content["counts"]
    return found


def test_array_has_a_task_for_every_missing_point(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = use_fake(monkeypatch, tmp_path)
    PointTask(plan)()
    plan.cluster = "debug"
    run(plan, {})
    assert counts(tmp_path) == {"finished": 3}
    assert sorted(starts(fake)) == ["seed=0", "seed=1", "seed=2"]
    run(plan, {})
    assert len(starts(fake)) == 3


class Executor:
    """Stands for submitit's: a job ends when it has been asked twice."""

    def __init__(self) -> None:
        self.live: list[Executor.Job] = []
        self.at_once: list[int] = []

    def submit(self, task: PointTask) -> Executor.Job:
        self.live.append(self.Job(self))
        self.at_once.append(len(self.live))
        return self.live[-1]

    class Job:
        job_id = "7"

        def __init__(self, executor: Executor) -> None:
            self.executor, self.asked = executor, 0

        def done(self) -> bool:
            self.asked += 1
            return self.asked == 2

        def exception(self) -> Exception:
            self.executor.live.remove(self)
            return RuntimeError("first\nlast")


def test_tasks_that_run_here_are_no_more_than_jobs_at_once(
    plan: SweepPlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan.cluster, plan.jobs, executor = "local", 2, Executor()
    monkeypatch.setattr(slurm, "_executor", lambda sweep: executor)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    slurm.submit(prepare(plan))
    assert max(executor.at_once) == 2
    assert caplog.text.count("task 7 failed: last") == 3


def test_task_is_put_back_into_the_queue_as_often_as_is_said(plan: SweepPlan) -> None:
    plan.cluster = "local"
    assert slurm._executor(prepare(plan))._executor.max_num_timeout == 1000
    plan.slurm = {"slurm_max_num_timeout": 5, "timeout_min": 9}
    assert slurm._executor(prepare(plan))._executor.max_num_timeout == 5
    plan.slurm = {"slurm_max_num_timeout": -1}
    with pytest.raises(ValueError, match=r"slurm\.slurm_max_num_timeout must be at least 0"):
        slurm._executor(prepare(plan))


@pytest.mark.slow
def test_tasks_are_processes_whose_failures_are_told(plan: SweepPlan, tmp_path: Path) -> None:
    # A real command: it is refused before anything slow begins.
    plan.cluster, plan.points, plan.settings = "local", 1, "no_such_key=1"
    with pytest.raises(PointsFailed, match="no_such_key is no setting of this command"):
        run(plan, {})
    assert counts(tmp_path) == {"failed": 1}
    assert missing(prepare(plan)) == 0
    plan.retry = True
    assert missing(prepare(plan)) == 1


def begun(fake: Path) -> None:
    while not starts(fake):
        time.sleep(0.02)


def test_task_that_gets_sigterm_saves_and_ends(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = use_fake(monkeypatch, tmp_path, seconds=60)

    def stop() -> None:
        begun(fake)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted, match="stopped by SIGTERM after 0 of 3 points"):
        PointTask(plan)()
    assert counts(tmp_path) == {"interrupted": 1}
    use_fake(monkeypatch, tmp_path)
    PointTask(plan)()
    assert starts(fake) == ["seed=0", "seed=0"]
    assert counts(tmp_path) == {"finished": 1}


def test_preempted_task_asks_for_the_same_again_once_its_run_has_saved(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = use_fake(monkeypatch, tmp_path, seconds=60)
    task, asked = PointTask(plan), list[Any]()

    def preempted(number: int, frame: Any) -> None:  # As submitit's own handler does.
        asked.append((task.checkpoint(), counts(tmp_path)))

    def preempt() -> None:
        begun(fake)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, preempted)
    try:
        threading.Thread(target=preempt).start()
        with pytest.raises(Interrupted, match="preemption"):
            task()
    finally:
        signal.signal(signal.SIGUSR2, before)
    ((again, status),) = asked
    assert status == {"interrupted": 1}
    assert isinstance(again.function, PointTask)
    use_fake(monkeypatch, tmp_path)
    again.function()
    assert counts(tmp_path) == {"finished": 1}
    assert missing(prepare(plan)) == 2
