"""Run folders resume what is theirs, refuse the rest, and survive kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weakseg.artifacts import ArtifactError, RunFolder, latest_run, load_run, write_frames
from weakseg.artifacts import write_cam as write_cam_file

SETTINGS = {"cam": {"method": "layer_cam"}, "seed": 0}


def open_run(path: Path, **changes: Any) -> RunFolder:
    arguments: dict[str, Any] = {
        "kind": "stage1",
        "config": {"tracker": "none"},
        "settings": SETTINGS,
        "inputs": {"frames": "abc"},
        "data": {"kind": "index", "index": "/somewhere/index.csv"},
    }
    return RunFolder.open(path, **{**arguments, **changes})


def status(path: Path) -> str:
    return str(json.loads((path / "manifest.json").read_text())["status"])


def test_new_run_is_running_and_records_what_made_it(tmp_path: Path) -> None:
    with open_run(tmp_path / "runs" / "vit") as run:
        record = json.loads((run.path / "manifest.json").read_text())
        assert record["status"] == "running"
        assert record["fingerprint"] == run.fingerprint
        assert record["settings"] == SETTINGS
        assert record["inputs"] == {"frames": "abc"}
        assert record["finished"] == ""


def test_left_by_an_error_the_run_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path) as run:
        (run.path / "done.txt").write_text("kept")
        raise KeyboardInterrupt
    assert status(tmp_path) == "interrupted"
    with open_run(tmp_path) as again:
        assert status(tmp_path) == "running"
        assert not again.is_complete
        assert (again.path / "done.txt").read_text() == "kept"
        assert again.manifest.started == run.manifest.started


def test_finished_run_is_complete_and_stays_so(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.finish({"auroc": np.float32(0.5), "iou": float("nan"), "seeds": (0, 1)})
    before = (tmp_path / "manifest.json").read_bytes()
    with open_run(tmp_path) as again:
        assert again.is_complete
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "auroc": 0.5,
        "iou": None,
        "seeds": [0, 1],
    }


def test_recorded_only_values_do_not_hinder_a_resume(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    with open_run(tmp_path, config={"tracker": "wandb"}, data={"index": "/moved.csv"}) as run:
        assert run.manifest.data == {"index": "/moved.csv"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"cam": {"method": "cam"}, "seed": 0}}, "cam.method: was layer_cam, now cam"),
        ({"inputs": {"frames": "xyz"}}, "inputs.frames: was abc, now xyz"),
        ({"kind": "stage2"}, "kind: was stage1, now stage2"),
    ],
)
def test_other_run_is_refused_with_what_differs_and_the_way_out(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    open_run(tmp_path).close()
    with pytest.raises(ArtifactError) as caught:
        open_run(tmp_path, **changes)
    assert words in str(caught.value)
    assert "choose another output folder" in str(caught.value)
    assert "overwrite=true" in str(caught.value)
    assert "seed" not in str(caught.value)


def test_overwrite_starts_again_but_keeps_what_the_launcher_wrote(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "stage1.log").write_text("log")
    with open_run(tmp_path) as run:
        write_frames(run.frames_csv, [{"id": "a"}])
        run.masks.mkdir()
        run.finish({})
    with open_run(tmp_path, settings={"seed": 1}, overwrite=True) as run:
        assert not run.is_complete
        names = {item.name for item in tmp_path.iterdir()}
        assert names == {".hydra", ".lock", "stage1.log", "manifest.json"}


def test_overwrite_never_deletes_foreign_files_or_another_kind(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "a.jpg"
    photo.parent.mkdir()
    photo.write_text("mine")
    with pytest.raises(ArtifactError, match=r"no run of weakseg made \(a\.jpg\)"):
        open_run(photo.parent, overwrite=True)
    assert photo.read_text() == "mine"
    open_run(tmp_path / "run").close()
    with pytest.raises(ArtifactError, match="which a stage2 run does not overwrite"):
        open_run(tmp_path / "run", kind="stage2", overwrite=True)


def test_damaged_manifest_is_refused_and_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_run(tmp_path)
    with open_run(tmp_path, overwrite=True) as run:
        assert run.manifest.kind == "stage1"


def test_overwriting_that_was_killed_is_taken_up_again(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        write_frames(run.frames_csv, [{"id": "a"}])
    record = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**record, "status": "discarded"}))
    with open_run(tmp_path):
        assert not (tmp_path / "frames.csv").exists()


def test_folder_in_use_is_refused_and_freed_afterwards(tmp_path: Path) -> None:
    with (
        open_run(tmp_path),
        pytest.raises(ArtifactError, match=f"in use by another run .process {os.getpid()}"),
    ):
        open_run(tmp_path)
    open_run(tmp_path).close()


def test_killed_run_frees_its_folder_even_while_its_workers_live(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from weakseg.artifacts import RunFolder\n"
        "run = RunFolder.open(sys.argv[1], kind='stage1', config={}, settings={}, inputs={},"
        " data={})\n"
        "(run.path / '.partial-0123.png').write_text('half')\n"
        "worker = os.fork()\n"
        "if worker == 0:\n"
        "    time.sleep(30)\n"
        "    os._exit(0)\n"
        "print(worker, flush=True)\n"
        "time.sleep(30)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            with pytest.raises(ArtifactError, match=f"process {process.pid}"):
                RunFolder.open(tmp_path, kind="stage1", config={}, settings={}, inputs={}, data={})
            process.kill()
            process.wait()
            began = time.monotonic()
            with RunFolder.open(
                tmp_path, kind="stage1", config={}, settings={}, inputs={}, data={}
            ):
                assert time.monotonic() - began < 10
                assert not (tmp_path / ".partial-0123.png").exists()
        finally:
            os.kill(worker, 9)


def test_full_disk_at_the_end_tells_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match=r"summary\.json: the disk is full"), run:
        monkeypatch.setattr(os, "replace", refuse)
        run.finish({"auroc": 0.9})
    monkeypatch.undo()
    with open_run(tmp_path) as again:
        assert not again.is_complete


def test_finished_run_is_loaded_with_its_frames(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        write_frames(run.frames_csv, [{"id": "b", "label": 1}, {"id": "a", "label": 0}])
        run.finish({})
    loaded = load_run(tmp_path, kind="stage1")
    assert [row["id"] for row in loaded.frames] == ["a", "b"]
    assert loaded.fingerprint == run.fingerprint
    assert loaded.data["index"] == "/somewhere/index.csv"
    assert loaded.cams == tmp_path / "cams"


def test_unfinished_run_is_refused_with_its_progress(tmp_path: Path, rng: Any) -> None:
    with open_run(tmp_path) as run:
        write_frames(run.frames_csv, [{"id": name} for name in "abc"])
        for name in "ab":
            write_cam_file(run.cams / f"{name}.npz", rng.random((2, 2)), 0.5)
    with pytest.raises(ArtifactError) as caught:
        load_run(tmp_path, kind="stage1")
    assert str(caught.value) == (
        f"{tmp_path} holds stage1 CAMs, 2 of 3 frames: finish it with `python -m weakseg.stage1`"
    )


def test_missing_and_foreign_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not exist: run `python -m weakseg\.stage1` first"):
        load_run(tmp_path / "none", kind="stage1")
    with pytest.raises(ArtifactError, match="is no run folder"):
        load_run(tmp_path)
    with open_run(tmp_path) as run:
        run.finish({})
    with pytest.raises(ArtifactError, match="holds stage1 CAMs, where stage2 pseudo-masks are"):
        load_run(tmp_path, kind="stage2")


def test_latest_run_is_the_one_completed_last(tmp_path: Path) -> None:
    for name in ("b", "a"):
        with open_run(tmp_path / "stage1" / name) as run:
            run.finish({})
    open_run(tmp_path / "stage1" / "c").close()
    assert latest_run(tmp_path, "stage1") == tmp_path / "stage1" / "a"
    with pytest.raises(ArtifactError, match=r"run `python -m weakseg\.stage2` first"):
        latest_run(tmp_path, "stage2")


def test_latest_run_leaves_runs_inside_runs_alone(tmp_path: Path) -> None:
    for name in ("stage1/own", "stage2", "stage2/student"):
        kind = "stage2" if name == "stage2" else "stage1"
        with open_run(tmp_path / name, kind=kind) as run:
            run.finish({})
    assert latest_run(tmp_path, "stage1") == tmp_path / "stage1" / "own"
    assert load_run(tmp_path / "stage2" / "student").manifest.kind == "stage1"


def test_latest_run_leaves_the_runs_of_an_ablation_alone(tmp_path: Path) -> None:
    for name in ("stage1/own", "ablation/full/stage1/row/seed0"):
        with open_run(tmp_path / name) as run:
            run.finish({})
    (tmp_path / "ablation" / "full" / "ablation.json").write_text("{}")
    assert latest_run(tmp_path, "stage1") == tmp_path / "stage1" / "own"


def test_latest_run_tells_what_to_finish(tmp_path: Path) -> None:
    open_run(tmp_path / "c").close()
    with pytest.raises(ArtifactError, match=r"c holds stage1 CAMs, unfinished: finish it with"):
        latest_run(tmp_path, "stage1")
