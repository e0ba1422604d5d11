"""What wandb's own reader finds in offline runs: pictures, tables, artifacts, resumed curves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from weakseg.tracking.wandb_log import START, whole_length

pytestmark = pytest.mark.slow

KILLED = """
import os, signal, sys
from pathlib import Path
from weakseg.tracking import WandbTracker
tracker = WandbTracker()
tracker.start(Path(sys.argv[1]), name="crf", group="sweep", job_type="stage2", config={})
for step in (10, 20, 30):
    tracker.log({"val/auroc": 0.5 + step / 100}, step)
# wandb has written nothing of it yet: what it was told lies in its own process for seconds.
os.kill(os.getpid(), signal.SIGKILL)
"""

WHOLE = """
import sys
from pathlib import Path
import numpy as np
from weakseg.tracking import Panel, WandbTracker
run, earlier = map(Path, sys.argv[1:])
for folder, name in ((earlier, "cams"), (run, "masks")):
    (folder / name).mkdir()
    (folder / name / "a.png").write_bytes(name.encode())
tracker = WandbTracker()
tracker.start(earlier, name="vit", group=None, job_type="stage1", config={})
tracker.artifact("stage1-vit", "cams", [earlier / "cams"], alias="f1", metadata={"a": 1})
tracker.finish({}, "finished")

tracker = WandbTracker(tags=["mine"])
config = {"cam": {"flip": True}, "tracking": {"group": "sweep", "point": ["refine=crf"]}}
tracker.start(run, name="crf", group="sweep", job_type="stage2", config=config)
tracker.log({"val/auroc": 0.9, "train/loss": 0.5}, 30)
tracker.log({"val/auroc": 0.8, "train/loss": 0.7}, 40)
def panel(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[:4], mask[4:6] = 1, 255
    return Panel(np.full((height, width, 3), 9, np.uint8), {"pseudo-mask": mask}, "a frame")
tracker.images("pictures/smoke", [panel(16, 20), panel(30, 12), panel(1100, 2200)], 40)
rows = [[panel(16, 20), "007", 0.5], [panel(30, 12), "b", float("nan")]]
tracker.table("tables/examples", ["picture", "id", "iou"], rows)
for step in range(150):
    tracker.log({"step/lr": 0.1, "step/gradient_norm": 1.0}, 41 + step)
tracker.made_of([earlier, run / "nowhere"])
tracker.artifact("stage2-crf+sam", "pseudo-masks", [run / "masks"], alias="f2")
tracker.finish({"val/auroc": 0.85, "threshold": 0.25}, "finished")
"""


def run_python(code: str, *words: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def inspected(log_file: Path, *options: str) -> list[Any]:
    """Give what `wandb leet inspect` tells of a run's log."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(log_file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    if options:
        return [json.loads(told.stdout)]
    return [json.loads(line) for line in told.stdout.splitlines()]


def of_type(records: list[Any], kind: str) -> list[Any]:
    return [record[kind] for record in records if record["type"] == kind]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was killed and went on, and the one it was made of."""
    root = tmp_path_factory.mktemp("tracked")
    home, run, earlier = (root / name for name in ("home", "run", "earlier"))
    for folder in (home, run, earlier):
        folder.mkdir()
    assert run_python(KILLED, run, home=home).returncode == -signal.SIGKILL
    done = run_python(WHOLE, run, earlier, home=home)
    assert done.returncode == 0, done.stderr
    # Nothing is warned of, such as pictures of several sizes; and nothing lies elsewhere.
    assert done.stdout + done.stderr == ""
    assert list(home.iterdir()) == []
    return run, earlier


@pytest.fixture(scope="module")
def logs(folders: tuple[Path, Path]) -> list[Path]:
    """The logs of both starts."""
    first, second = sorted(folders[0].glob("wandb/offline-run-*/*.wandb"))
    return [first, second]


@pytest.fixture(scope="module")
def records(logs: list[Path]) -> list[Any]:
    """What the second start told."""
    return inspected(logs[1])


def test_run_that_was_killed_goes_on_as_the_same_run(
    folders: tuple[Path, Path], logs: list[Path], records: list[Any]
) -> None:
    first = inspected(logs[0])
    (run,) = of_type(records, "run")
    assert run["run_id"] == (folders[0] / "wandb_id.txt").read_text().strip()
    assert all(run["run_id"] in one.name for one in logs)
    assert run["resume"] is True
    rows = of_type(first, "history") + of_type(records, "history")
    own = [one["step"]["num"] for one in rows]
    assert own == sorted(set(own))
    assert of_type(records, "history")[0]["step"]["num"] == 3
    curve = {(x["item"]["step"], x["item"].get("val/auroc")) for x in rows if "step" in x["item"]}
    assert curve >= {(10, 0.6), (20, 0.7), (30, 0.8), (30, 0.9), (40, 0.8)}


def test_log_of_a_killed_run_is_cut_where_it_is_whole(
    logs: list[Path], records: list[Any], tmp_path: Path
) -> None:
    assert whole_length(logs[0]) == START  # Killed before anything was written.
    size = logs[1].stat().st_size
    assert whole_length(logs[1]) == size > 2**15  # It is of several blocks.
    content, copy = logs[1].read_bytes(), tmp_path / "cut.wandb"
    for end in (size - 1, 2**15 + 3):
        copy.write_bytes(content[:end])
        length = whole_length(copy)
        assert START < length <= end
        copy.write_bytes(content[:length])
        assert whole_length(copy) == length
        told = inspected(copy)
        assert told == records[: len(told)]
        assert len(told) > 20
    other = tmp_path / "other.wandb"
    other.write_bytes(b"something else")
    assert whole_length(other) == 14


def test_run_is_named_and_found_by_what_it_is(records: list[Any]) -> None:
    (run,) = of_type(records, "run")
    assert (run["display_name"], run["job_type"], run["run_group"]) == ("crf", "stage2", "sweep")
    assert run["tags"] == ["mine", "sweep", "refine=crf"]
    config = run["config"]["update"]
    assert config["cam"] == {"flip": True}
    assert set(config["code"]) == {"version", "git_commit"}


def test_figures_have_goals_and_the_final_ones_are_plain_numbers(logs: list[Path]) -> None:
    metrics = {one.get("name", "*"): one for one in of_type(inspected(logs[1]), "metric")}
    assert metrics["val/auroc"]["summary"] == {"max": True}
    assert metrics["train/loss"]["summary"] == {"min": True}
    assert {one["step_metric"] for one in metrics.values()} == {"step"}
    (told,) = inspected(logs[1], "--summary")
    summary = told["summary"]
    assert told["state"] == "finished"
    assert summary["train/loss"] == {"min": 0.5}
    assert (summary["val/auroc"], summary["threshold"]) == (0.85, 0.25)
    assert summary["status"] == "finished"


def test_system_is_watched(records: list[Any]) -> None:
    assert any("memory_percent" in one["item"] for one in of_type(records, "stats"))


def test_masks_lie_over_pictures_of_one_size_with_class_names(
    logs: list[Path], records: list[Any]
) -> None:
    item = next(
        one["item"] for one in of_type(records, "history") if "pictures/smoke._type" in one["item"]
    )
    shown = {k.removeprefix("pictures/smoke."): v for k, v in item.items()}
    # The frame of 1100 x 2200 is halved, more or less; the others lie on its canvas.
    assert (shown["height"], shown["width"], shown["count"]) == (512, 1024, 3)
    assert shown["captions"] == 3 * ["a frame"]
    files = logs[1].parent / "files"
    for masks in shown["all_masks"]:
        assert (files / masks["pseudo-mask"]["path"]).is_file()
        mask = cv2.imread(str(files / masks["pseudo-mask"]["path"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape[:2] == (512, 1024)
        assert set(np.unique(mask)) >= {0, 1, 255}
    told = of_type(records, "config")[-1]["update"]["_wandb"]["mask/class_labels"]
    (named,) = told.values()
    assert named["key"].startswith("pictures/smoke")
    assert named["value"] == {"0": "background", "1": "smoke", "255": "ignore"}


def test_table_holds_pictures_texts_and_empty_cells(records: list[Any]) -> None:
    (kept,) = (one for one in of_type(records, "artifact") if one["type"] == "run_table")
    contents = {one["path"]: one for one in kept["manifest"]["contents"]}
    table = json.loads(Path(contents["tables/examples.table.json"]["local_path"]).read_text())
    assert table["columns"] == ["picture", "id", "iou"]
    first, second = table["data"]
    assert (first[1:], second[1:]) == (["007", 0.5], ["b", None])
    for row in (first, second):
        assert row[0]["_type"] == "image-file"
        assert row[0]["masks"]["pseudo-mask"]["path"] in contents
        assert row[0]["path"] in contents


def test_artifact_leads_back_to_the_run_it_was_made_of(
    folders: tuple[Path, Path], records: list[Any]
) -> None:
    (earlier_log,) = folders[1].glob("wandb/offline-run-*/*.wandb")
    (made,) = of_type(inspected(earlier_log), "artifact")
    own = {one["name"]: one for one in of_type(records, "artifact")}
    used, kept = own["stage1-vit"], own["stage2-crf_sam"]
    # One name and one digest are one version, whichever run is uploaded first.
    assert used["use_after_commit"] is True
    assert "use_after_commit" not in made
    assert (used["digest"], used["type"]) == (made["digest"], "cams")
    assert set(used["aliases"]) == set(made["aliases"]) == {"latest", "f1"}
    assert json.loads(made["metadata"]) == {"a": 1}
    (entry,) = kept["manifest"]["contents"]
    assert entry["path"] == "masks/a.png"
    assert entry["local_path"] == str(folders[0] / "masks" / "a.png")  # No copy is kept.
    assert set(kept["aliases"]) == {"latest", "f2"}
