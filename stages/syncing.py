"""Upload wandb runs that were written offline: each once, by wandb's own `wandb sync`."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import ArtifactError
from weakseg.artifacts.lock import LOCK, FolderLock
from weakseg.checks import check_positive
from weakseg.errors import WeaksegError
from weakseg.plans import SyncPlan
from weakseg.tracking.wandb import PLACE
from weakseg.tracking.wandb_log import START, whole_length
from weakseg.training import track

log = logging.getLogger(__name__)

_OFFLINE: Final = "offline-run-*"
_MARK: Final = ".wandb.synced"
"""What `wandb sync` leaves beside a log that it has uploaded whole."""
_MEGABYTE: Final = 1e6
_LOOK_SECONDS: Final = 20.0
"""While a run is uploaded, the server is asked that often whether it is still there."""
_LOOKS: Final = 3
"""So often in a row it may not answer."""
_ENDING_SECONDS: Final = 10.0
_OUT_OF_ORDER: Final = 500


class SyncFailed(WeaksegError):
    """Runs could not be uploaded; those that were stay so."""


@dataclass(frozen=True)
class OfflineRun:
    """A run's logs of all its starts, from the first to the last.

    Args:
        folder: That of the run: the one that holds `wandb/`.
        logs: Its `*.wandb` files that are to be uploaded.
    """

    folder: Path
    logs: tuple[Path, ...]

    @property
    def megabytes(self) -> float:
        """What lies beside the logs, too."""
        files = [file for one in self.logs for file in one.parent.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files) / _MEGABYTE


def run(plan: SyncPlan, config: Mapping[str, Any]) -> Path:
    """Upload what lies below `plan.runs`, or say what would be; give that folder.

    Raises:
        ArtifactError: If the folder is not there.
        SyncFailed: If the server cannot be reached; or, at the end, if it has refused runs.
    """
    check_positive(timeout_seconds=plan.timeout_seconds)
    root = Path(plan.runs)
    if not root.is_dir():
        raise ArtifactError(f"{root} does not exist: give runs=FOLDER, such as runs=runs")
    found = offline_runs(root, again=plan.again)
    ready = [one for one in found if not _is_at_work(one.folder)]
    for one in found:
        if one not in ready:
            log.info("%s is still at work: left for later", one.folder)
    if not ready:
        log.info("nothing to upload below %s", root)
        return root
    if plan.dry:
        _tell(ready)
        return root
    address = server()
    require_server(address, timeout_seconds=plan.timeout_seconds)
    options = [
        f"--{key}={getattr(plan, key)}" for key in ("project", "entity") if getattr(plan, key)
    ]
    options += ["--include-synced"] if plan.again else []
    refused: list[str] = []
    for done, one in enumerate(track(ready, what="upload", unit="runs")):
        try:
            require_place(one)
            upload(
                whole(one),
                options,
                look=lambda: require_server(address, timeout_seconds=plan.timeout_seconds),
            )
        except SyncFailed as error:
            require_server(address, timeout_seconds=plan.timeout_seconds, done=done - len(refused))
            refused.append(str(error))
    log.info("%d runs uploaded", len(ready) - len(refused))
    if refused:
        raise SyncFailed(
            f"{len(refused)} of {len(ready)} runs were not uploaded; the others stay so, and the "
            f"same command tries these again: {'; '.join(refused)}"
        )
    return root


def _tell(ready: Sequence[OfflineRun]) -> None:
    count = 0
    for one in ready:
        try:
            require_place(one)
        except SyncFailed as error:
            log.warning("%s", error)
            continue
        log.info("would upload %s (%.1f MB)", one.folder, one.megabytes)
        count += 1
    log.info("%d runs would be uploaded; nothing was", count)


def offline_runs(root: Path, *, again: bool = False) -> list[OfflineRun]:
    """Find the runs below `root` that were written offline and, unless `again`, not uploaded yet.

    The oldest come first, so that what a run was made of is there before it. Logs in which nothing
    was written when their run was killed are left out.
    """
    logs = sorted(
        (one for folder in root.rglob(_OFFLINE) for one in folder.glob("*.wandb")),
        key=lambda one: (one.parent.name, one),
    )
    by_folder: dict[Path, list[Path]] = {}
    for one in logs:
        is_new = again or not one.with_suffix(_MARK).exists()
        if is_new and whole_length(one) > START:
            by_folder.setdefault(one.parent.parent.parent, []).append(one)
    return [OfflineRun(folder, tuple(own)) for folder, own in by_folder.items()]


def whole(run: OfflineRun) -> OfflineRun:
    """Cut off what a `kill -9` left unwritten at the end of a log, which wandb would stumble over.

    The next start of the run has told it again.
    """
    for one in run.logs:
        length = whole_length(one)
        if length < one.stat().st_size:
            os.truncate(one, length)
    return run


def server() -> str:
    """Give the address of the server that wandb is set up for."""
    from wandb.sdk import wandb_setup  # noqa: PLC0415 - its import takes a second

    return str(wandb_setup.singleton().settings.base_url)


def require_server(address: str, *, timeout_seconds: float, done: int = 0) -> None:
    """Make sure that the server answers: without it `wandb sync` would try for ever.

    Args:
        address: Of the server.
        timeout_seconds: How long it may take to answer, > 0.
        done: Runs that were uploaded before, for the message.

    Raises:
        SyncFailed: If it does not, or only says that it is out of order.
    """
    try:
        with urllib.request.urlopen(address, timeout=timeout_seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < _OUT_OF_ORDER:
            return  # It answers.
        reason = f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error))
    told = f"{done} runs were uploaded, the rest were not" if done else "nothing was uploaded"
    raise SyncFailed(
        f"{address} cannot be reached ({reason}): {told}; run the same command where there is a "
        "network and the runs lie under the same path (WANDB_BASE_URL names another server)"
    )


def require_place(run: OfflineRun) -> None:
    """Make sure that a run lies where it was made: its logs name tables and artifacts by path.

    Raises:
        SyncFailed: If it was moved, or copied to a machine where that place is another's.
    """
    for one in run.logs:
        record = one.parent / PLACE
        made_in = Path(record.read_text(encoding="utf-8").strip()) if record.exists() else None
        if made_in is not None and not (made_in / one.relative_to(run.folder)).is_file():
            raise SyncFailed(
                f"{run.folder} was made in {made_in}, where wandb looks for its tables and "
                "artifacts: move it back there, or have that path lead to it by a link"
            )


def upload(
    run: OfflineRun,
    options: Sequence[str],
    *,
    look: Callable[[], None],
    every: float = _LOOK_SECONDS,
) -> None:
    """Upload one run by `wandb sync`, which marks each log that it has uploaded whole.

    Args:
        run: Which.
        options: Of `wandb sync`.
        look: Raises SyncFailed while the server does not answer: `wandb sync` would wait for ever.
        every: Seconds between two looks.

    Raises:
        SyncFailed: With what wandb said last, or if the server went away meanwhile.
    """
    command = [sys.executable, "-m", "wandb", "sync", *options, *map(str, run.logs)]
    with tempfile.TemporaryDirectory() as scratch:  # For the logs of the upload itself.
        told = Path(scratch) / "told.txt"
        with told.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "WANDB_DIR": scratch},
                start_new_session=True,
            )
            try:
                code = _wait(process, look, every)
            except SyncFailed as error:
                raise SyncFailed(
                    f"{run.folder}: the server went away meanwhile; the same command goes on"
                ) from error
            finally:
                _end(process)
        said = told.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in said if line.strip()]
    left = [one for one in run.logs if not one.with_suffix(_MARK).exists()]
    if code or left:
        why = said[-1].removeprefix("Error: ") if said else f"exit code {code}"
        raise SyncFailed(f"{run.folder}: {why}")


def _wait(process: subprocess.Popen[bytes], look: Callable[[], None], every: float) -> int:
    missed = 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=every)
        try:
            look()
            missed = 0
        except SyncFailed:
            missed += 1
            if missed == _LOOKS:
                raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """End an upload and its helpers; one that has ended is left alone."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_ENDING_SECONDS)


def _is_at_work(folder: Path) -> bool:
    """Say whether a run still writes: its log would be uploaded cut short, and marked as done."""
    if not (folder / LOCK).exists():
        return False
    try:
        FolderLock(folder, patience_seconds=0.0).release()
    except ArtifactError:
        return True
    return False
