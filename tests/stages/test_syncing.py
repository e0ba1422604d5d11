"""Offline runs are uploaded once, oldest first, and never while they are written."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from weakseg.artifacts.lock import FolderLock
from weakseg.errors import ArtifactError
from weakseg.plans import SyncPlan
from weakseg.stages import syncing
from weakseg.stages.syncing import SyncFailed, offline_runs, require_server, run, upload


def offline(root: Path, name: str, *times: str) -> Path:
    for time in times:
        folder = root / name / "wandb" / f"offline-run-{time}-{name}"
        folder.mkdir(parents=True)
        (folder / f"run-{name}.wandb").write_bytes(b"x" * 2_000_000)
    return root / name


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of wandb, start a program that notes what it gets, and marks it; no network."""
    program = tmp_path / "python"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/uploads
for word in "$@"; do
  case "$word" in
    *broken.wandb) echo "wandb: something"; echo "Error: no such project" >&2; exit 1 ;;
    *.wandb) : > "$word.synced" ;;
  esac
done
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(syncing, "require_server", lambda address, **more: None)
    monkeypatch.setattr(syncing, "server", lambda: "http://server")
    return tmp_path / "uploads"


def test_each_run_is_uploaded_once_the_oldest_first(tmp_path: Path, wandb: Path) -> None:
    root = tmp_path / "runs"
    offline(root, "late", "20260103_000000")
    offline(root, "early", "20260101_000000", "20260102_000000")  # Stopped, and gone on.
    plan = SyncPlan(runs=str(root), project="smoke", entity="team")
    run(plan, {})
    first, second = wandb.read_text().splitlines()
    assert first.startswith("-m wandb sync --project=smoke --entity=team ")
    assert [word.split("/")[-2] for word in first.split()[5:]] == [
        "offline-run-20260101_000000-early",
        "offline-run-20260102_000000-early",
    ]
    assert "late" in second
    run(plan, {})
    assert len(wandb.read_text().splitlines()) == 2
    run(SyncPlan(runs=str(root), again=True), {})
    assert "--include-synced" in wandb.read_text().splitlines()[-1]


def test_run_that_is_refused_keeps_no_other_back(tmp_path: Path, wandb: Path) -> None:
    root = tmp_path / "runs"
    offline(root, "a", "20260101_000000")
    broken = offline(root, "broken", "20260102_000000")
    offline(root, "c", "20260103_000000")
    offline(root, "too-broken", "20260104_000000")
    words = r"2 of 4 runs were not uploaded; .*/broken: no such project; .*/too-broken: no such"
    with pytest.raises(SyncFailed, match=words):
        run(SyncPlan(runs=str(root)), {})
    assert [one.folder.name for one in offline_runs(root)] == ["broken", "too-broken"]
    shutil.rmtree(root / "too-broken")
    (next(broken.rglob("*.wandb"))).rename(broken / "gone")
    run(SyncPlan(runs=str(root)), {})
    assert offline_runs(root) == []


def test_upload_stops_when_the_server_goes_away(
    tmp_path: Path, wandb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    for day, name in enumerate(["a", "broken", "c"], start=1):
        offline(root, name, f"2026010{day}_000000")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(syncing, "server", lambda: address)
    # It answers before the first upload, and no more when one has failed.
    monkeypatch.setattr(
        syncing,
        "require_server",
        lambda address, **more: require_server(address, **more) if "done" in more else None,
    )
    with pytest.raises(SyncFailed, match=r"cannot be reached .*: 1 runs were uploaded, the rest"):
        run(SyncPlan(runs=str(root), timeout_seconds=2.0), {})
    assert [one.folder.name for one in offline_runs(root)] == ["broken", "c"]


@pytest.mark.parametrize("answers", [True, False])
def test_upload_ends_when_the_server_goes_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    offline(tmp_path / "runs", "a", "20260101_000000")
    (one,) = offline_runs(tmp_path / "runs")
    program, process = tmp_path / "python", tmp_path / "process"
    program.write_text(
        f"""#!/bin/sh
echo $$ > {tmp_path}/started
mv {tmp_path}/started {process}
while [ ! -e {tmp_path}/enough ]; do sleep 0.02; done
for word in "$@"; do case "$word" in *.wandb) : > "$word.synced" ;; esac; done
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    looks: list[bool] = []

    def look() -> None:
        if not process.exists():
            return  # The program has yet to begin.
        looks.append(answers or len(looks) == 1)  # One answer in between: it is patient again.
        if len(looks) == 8:
            (tmp_path / "enough").touch()
        if not looks[-1]:
            raise SyncFailed("gone")

    if answers:
        upload(one, [], look=look, every=0.02)
        assert len(looks) >= 8
        assert offline_runs(tmp_path / "runs") == []
        return
    with pytest.raises(SyncFailed, match="runs/a: the server went away meanwhile; the same"):
        upload(one, [], look=look, every=0.1)
    assert looks == [False, True, False, False, False]
    with pytest.raises(ProcessLookupError):
        os.kill(int(process.read_text()), 0)
    assert offline_runs(tmp_path / "runs") == [one]


def test_run_that_was_moved_is_left_where_wandb_would_not_find_its_files(
    tmp_path: Path, wandb: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "runs"
    moved = offline(root, "a", "20260101_000000")
    offline(root, "b", "20260102_000000")
    place = next(moved.rglob("offline-run-*")) / "place.txt"
    place.write_text(f"{tmp_path}/before\n")
    words = rf"1 of 2 runs .*runs/a was made in {tmp_path}/before, .*: move it back .* a link"
    with pytest.raises(SyncFailed, match=words):
        run(SyncPlan(runs=str(root)), {})
    assert [one.folder for one in offline_runs(root)] == [moved]
    run(SyncPlan(runs=str(root), dry=True), {})
    assert "was made in" in caplog.text
    (tmp_path / "before").symlink_to(moved)
    run(SyncPlan(runs=str(root)), {})
    assert offline_runs(root) == []


def test_log_of_a_killed_run_is_uploaded_as_far_as_it_is_whole(tmp_path: Path, wandb: Path) -> None:
    head, record = b":W&B\xbe\xd9\x00", b"sums" + b"\x03\x00" + b"\x01" + b"abc"
    folder = offline(tmp_path / "runs", "a", "20260101_000000", "20260102_000000")
    empty, cut = sorted(folder.rglob("*.wandb"))
    empty.write_bytes(head)
    cut.write_bytes(head + record + record[:8])
    run(SyncPlan(runs=str(tmp_path / "runs")), {})
    assert cut.read_bytes() == head + record
    assert wandb.read_text().split()[3:] == [str(cut)]
    assert offline_runs(tmp_path / "runs") == []


def test_dry_run_says_what_would_be_uploaded(
    tmp_path: Path, wandb: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = offline(tmp_path / "runs", "a", "20260101_000000")
    with caplog.at_level("INFO"):
        run(SyncPlan(runs=str(tmp_path / "runs"), dry=True), {})
    assert f"would upload {folder} (2.0 MB)" in caplog.text
    assert not wandb.exists()


def test_run_that_still_writes_is_left_for_later(
    tmp_path: Path, wandb: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = offline(tmp_path / "runs", "a", "20260101_000000")
    holder = FolderLock(folder)
    with caplog.at_level("INFO"):
        run(SyncPlan(runs=str(tmp_path / "runs")), {})
    assert "is still at work" in caplog.text
    assert not wandb.exists()
    holder.release()
    run(SyncPlan(runs=str(tmp_path / "runs")), {})
    assert wandb.exists()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere does not exist"):
        run(SyncPlan(runs=str(tmp_path / "nowhere")), {})


def test_server_that_does_not_answer_is_told_in_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SyncFailed, match=r"cannot be reached \(.*refused\): nothing was uploaded"):
        require_server(address, timeout_seconds=2.0)


class Answering(BaseHTTPRequestHandler):
    code = 404

    def do_GET(self) -> None:
        self.send_error(self.code)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("code", [404, 401, 503])
def test_any_answer_of_the_server_will_do_but_that_it_is_out_of_order(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(Answering, "code", code)
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        if code == 503:
            with pytest.raises(SyncFailed, match=r"cannot be reached \(503 Service Unavailable\)"):
                require_server(address, timeout_seconds=5.0)
        else:
            require_server(address, timeout_seconds=5.0)
        thread.join(timeout=5)
