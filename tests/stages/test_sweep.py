"""A sweep makes each point once, whoever is killed meanwhile, and tells what it found."""

from __future__ import annotations

import csv
import datetime
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from doors import Accident, Doors
from fake_python import make_fake_python, starts

from weakseg.errors import ArtifactError, WeaksegError
from weakseg.plans import HardwarePlan, SweepPlan
from weakseg.stages.sweeps.command import PointsFailed, run
from weakseg.targets import ConfigurationError

COMMAND = ["${env}", "${interpreter}", "-m", "weakseg.stage1", "data=synthetic"]
FILE: dict[str, Any] = {
    "name": "demo",
    "method": "grid",
    "metric": {"name": "val/auroc", "goal": "maximize"},
    "parameters": {"cam": {"values": ["bad", "good"]}, "seed": {"values": [0, 1, 2]}},
    "command": [*COMMAND, "${args_no_hyphens}"],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have commands write their runs at once; gives where their starts are noted."""
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(make_fake_python(folder)))
    return folder


def write(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False))
    return str(path)


def sweep(file: str, **settings: Any) -> Path:
    hardware = HardwarePlan(threads=1)
    return run(SweepPlan(file=file, output="out", hardware=hardware, **settings), {})


def told(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "sweep.json").read_text())
    return content


def test_every_point_is_made_and_told(tmp_path: Path, fake: Path) -> None:
    output = sweep(write(tmp_path), jobs=2)
    assert Counter(starts(fake)) == dict.fromkeys(
        [f"cam={cam},seed={seed}" for cam in ("bad", "good") for seed in range(3)], 1
    )
    record = told(output)
    assert (record["name"], record["total"], record["counts"]) == ("demo", 6, {"finished": 6})
    best = record["points"][record["best"]]
    assert best["overrides"] == ["cam=good", "seed=0"]
    assert best["metric"] == best["figures"]["val/auroc"] == 2.0
    assert best["run"] == "points/cam=good,seed=0"
    words = best["command"]
    assert words.startswith("python -m weakseg.stage1 data=synthetic cam=good seed=0 ")
    for word in ("tracking.group=demo", "cam=good", "hardware.threads=1"):
        assert word in words
    assert best["version"]
    rows = list(csv.DictReader((output / "points.csv").read_text().splitlines()))
    assert [row["parameter/seed"] for row in rows] == ["0", "1", "2", "0", "1", "2"]
    assert [row["seed"] for row in rows[:3]] == ["0", "1", "2"]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["frames"] for row in rows} == {"7"}
    # What the run says took 3 s, and what the sweep measured, are two columns.
    assert {row["figure/seconds"] for row in rows} == {"3"}
    assert "3" not in {row["seconds"] for row in rows}


def test_finished_sweep_starts_nothing_and_a_grown_one_only_what_is_new(
    tmp_path: Path, fake: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep(write(tmp_path))
    sweep(write(tmp_path))
    assert len(starts(fake)) == 6
    parameters = {"cam": {"values": ["bad", "good"]}, "seed": {"values": [3, 2, 1]}}
    output = sweep(write(tmp_path, parameters=parameters))
    assert starts(fake)[6:] == ["cam=bad,seed=3", "cam=good,seed=3"]
    assert "6 points by grid, 4 of them finished before" in caplog.text
    # Seed 0 is no longer asked for.
    assert {point["seed"] for point in told(output)["points"]} == {1, 2, 3}


@pytest.mark.slow
def test_killed_twice_by_kill_9_nothing_is_repeated_or_lost(
    doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fake"
    folder.mkdir()
    python = make_fake_python(folder, seconds=0.2)
    words = (f"file={write(tmp_path)}", "output=out", "jobs=2", "hardware.threads=1")
    finished: list[str] = []
    begun_before: Counter[str] = Counter()
    for renamings in (14, 12):
        accident = Accident("SIGKILL", "after", renamings)
        done = doors.run("sweep", *words, cwd=tmp_path, accident=accident, python=python)
        assert done.code == -9, done.err
        points = [json.loads(p.read_text()) for p in tmp_path.glob("out/ledger/*/point.json")]
        again = {name for name in finished if Counter(starts(folder))[name] > begun_before[name]}
        assert again == set(), "a finished point was started again"
        finished = [point["name"] for point in points if point["status"] == "finished"]
        begun_before = Counter(starts(folder))
        assert 0 < len(finished) < 6
    done = doors.run("sweep", *words, cwd=tmp_path, python=python)
    assert done.code == 0, done.err
    count = Counter(starts(folder))
    assert all(count[name] == begun_before[name] for name in finished)
    record = told(tmp_path / "out")
    assert record["counts"] == {"finished": 6}
    assert len({point["name"] for point in record["points"]}) == 6
    # What was under way at a kill may have been started once more, and nothing else was.
    attempts = {point["name"]: point["attempts"] for point in record["points"]}
    assert all(1 <= count[name] <= attempts[name] <= 3 for name in attempts)
    assert sum(attempts.values()) <= 6 + 2 * 2


def test_start_that_was_killed_counts_until_its_command_last_spoke(
    tmp_path: Path, fake: Path
) -> None:
    output = sweep(write(tmp_path))
    record = next(output.glob("ledger/*/point.json"))
    began = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    killed = {"status": "running", "started": began.isoformat(), "seconds": 5.0}
    record.write_text(json.dumps(json.loads(record.read_text()) | killed))
    spoke = began.timestamp() + 60
    os.utime(record.with_name("log.txt"), (spoke, spoke))
    sweep(write(tmp_path))
    again = json.loads(record.read_text())
    assert again["status"] == "finished"
    assert 65 < again["seconds"] < 65 + 60


def test_failed_point_stops_no_other_is_told_and_made_again_on_request(
    tmp_path: Path, fake: Path
) -> None:
    file = write(tmp_path, parameters={"lr": {"values": [-1, 1]}, "seed": {"values": [0, 1]}})
    with pytest.raises(PointsFailed, match=r"2 of 4 points failed: lr=-1,seed=0: stage1: optimi"):
        sweep(file)
    assert told(tmp_path / "out")["counts"] == {"failed": 2, "finished": 2}
    with pytest.raises(PointsFailed, match="retry=true makes them again"):
        sweep(file)
    assert len(starts(fake)) == 4
    with pytest.raises(PointsFailed):
        sweep(file, retry=True)
    assert Counter(starts(fake))["lr=-1,seed=1"] == 2
    failed = [point for point in told(tmp_path / "out")["points"] if point["status"] == "failed"]
    assert [point["attempts"] for point in failed] == [2, 2]
    assert all("lr must be above 0" in point["why"] for point in failed)


def test_search_by_chance_or_bayes_ends_at_its_cap_and_goes_on_when_it_is_raised(
    tmp_path: Path, fake: Path
) -> None:
    for method in ("random", "bayes"):
        if method == "bayes":
            pytest.importorskip("optuna")
        parameters = {"seed": {"min": 0, "max": 50}, "lr": {"min": 0.5, "max": 1.0}}
        file = write(tmp_path, method=method, parameters=parameters)
        with pytest.raises(ConfigurationError, match="give run_cap in the sweep file, or points=N"):
            sweep(file)
        hardware = HardwarePlan(threads=1)
        plan = SweepPlan(file=file, output=method, points=3, hardware=hardware)
        first = [point["parameters"] for point in told(run(plan, {}))["points"]]
        plan.points = 5
        more = [point["parameters"] for point in told(run(plan, {}))["points"]]
        assert more[:3] == first
        assert len(more) == 5
        plan.seed = 1
        with pytest.raises(ArtifactError, match="holds a sweep made otherwise"):
            run(plan, {})
    assert len(starts(fake)) == 10


def test_metric_that_no_run_has_fails_a_search_that_learns_from_it(
    tmp_path: Path, fake: Path
) -> None:
    pytest.importorskip("optuna")
    metric = {"name": "val/iou", "goal": "maximize"}
    file = write(tmp_path, method="bayes", metric=metric, run_cap=1)
    with pytest.raises(PointsFailed, match="the run has no figure val/iou, only val/auroc, frames"):
        sweep(file)
    assert len(starts(fake)) == 1


@pytest.mark.usefixtures("fake")
def test_other_sweeps_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    output = sweep(write(tmp_path))
    with pytest.raises(ArtifactError, match=r"made otherwise \(words: "):
        sweep(write(tmp_path), settings="data=index")
    assert told(output)["counts"] == {"finished": 6}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ArtifactError, match="holds files that no sweep made"):
        run(SweepPlan(file=write(tmp_path), output="mine"), {})


def test_dry_run_writes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        sweep(write(tmp_path), dry=True)
    assert "weakseg.stage1 data=synthetic cam=good seed=2" in caplog.text
    assert "6 points at most; nothing was run" in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, {}, "early_terminate needs"),
        ({}, {"jobs": 0}, "jobs must be at least 1"),
        ({}, {"cluster": "cloud"}, "cluster must be one of"),
        ({}, {"cluster": "slurm"}, "knows no Slurm"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((WeaksegError, ValueError), match=sentence):
        sweep(write(tmp_path, **changes), **settings)
