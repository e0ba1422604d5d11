"""Make, resume, finish and find run folders: one folder holds one run, and says what made it."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from weakseg.artifacts.atomic import disk_errors, remove_partials, write_json
from weakseg.artifacts.figures import plain
from weakseg.artifacts.fingerprint import canonical
from weakseg.artifacts.lock import FolderLock
from weakseg.artifacts.manifest import (
    COMPLETE,
    DISCARDED,
    INTERRUPTED,
    MANIFEST,
    RUNNING,
    Manifest,
    installed_version,
    now,
    source_commit,
)
from weakseg.artifacts.metrics_log import MetricsLog
from weakseg.artifacts.paths import RunPaths
from weakseg.errors import ArtifactError

log = logging.getLogger(__name__)

_SHOWN_DIFFERENCES: Final = 8


class RunFolder(RunPaths):
    """A run being made: locked, with its manifest kept true.

    Use it as a context manager: leaving the block by an error marks the run as interrupted, and
    the same command goes on from there.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: FolderLock) -> None:
        super().__init__(path)
        self._manifest = manifest
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        kind: str,
        config: Mapping[str, Any],
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        data: Mapping[str, Any],
        overwrite: bool = False,
    ) -> RunFolder:
        """Make the folder, or resume the run in it when the same things made it.

        Args:
            path: The run's folder; created with its parents.
            kind: "stage1", "stage2" or "stage3".
            config: The resolved configuration, for the record only.
            settings: What changes the output, and nothing else: fingerprinted.
            inputs: Name of each input -> its fingerprint (frames, weights, earlier run).
            data: Settings of the frame source, for the next stage.
            overwrite: Throw away what an earlier run left here, and start again.

        Raises:
            ArtifactError: If the folder holds another run or foreign files, is in use by another
                process, or cannot be written.
        """
        path = Path(path)
        wanted = Manifest(
            kind=kind,
            status=RUNNING,
            settings=canonical(settings),
            inputs=dict(inputs),
            version=installed_version(),
            config=canonical(config),
            data=canonical(data),
            git_commit=source_commit(),
            started=now(),
        )
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(path)
        try:
            manifest = _claim(path, wanted, overwrite=overwrite)
        except BaseException:
            lock.release()
            raise
        return cls(path, manifest, lock)

    @property
    def manifest(self) -> Manifest:
        """The record as it stands."""
        return self._manifest

    @property
    def fingerprint(self) -> str:
        """What the next stage records as its input."""
        return self.manifest.fingerprint

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.manifest.status == COMPLETE

    @property
    def metrics(self) -> MetricsLog:
        """The log behind `metrics_path`."""
        return MetricsLog(self.metrics_path)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, mark the run as complete and let the folder go."""
        write_json(self.summary_path, plain(summary))
        finished = self.manifest.finished or now()
        self._become(status=COMPLETE, finished=finished)
        self.close()

    def interrupted(self) -> None:
        """Mark the run as interrupted and let the folder go; a complete run stays complete."""
        if not self.is_complete:
            self._become(status=INTERRUPTED)
        self.close()

    def close(self) -> None:
        """Let the folder go, whatever its state."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.interrupted()
        except ArtifactError as second:
            # On a full disk the record cannot be changed; the first error is the one to tell.
            log.warning("%s", second)
            self.close()

    def _become(self, **changes: str) -> None:
        manifest = dataclasses.replace(self._manifest, **changes)  # type: ignore[arg-type]
        manifest.write(self.path)
        self._manifest = manifest


def _claim(path: Path, wanted: Manifest, *, overwrite: bool) -> Manifest:
    """Decide what the folder is to the wanted run: new, resumed, overwritten or refused."""
    if not (path / MANIFEST).exists():
        _refuse_foreign_files(path)
        wanted.write(path)
        return wanted
    found = _read_or_none(path) if overwrite else Manifest.read(path)
    if found is not None and overwrite and found.kind != wanted.kind:
        raise ArtifactError(
            f"{path} holds a {found.kind} run, which a {wanted.kind} run does not overwrite: "
            "choose another output folder, or delete it yourself"
        )
    if found is None or overwrite or found.status == DISCARDED:
        _discard(path, wanted)
        wanted.write(path)
        return wanted
    if found.fingerprint != wanted.fingerprint:
        raise ArtifactError(_refusal(path, found, wanted))
    remove_partials(path)
    if found.status == COMPLETE:
        return found
    resumed = dataclasses.replace(
        wanted, started=found.started or wanted.started, git_commit=found.git_commit
    )
    resumed.write(path)
    return resumed


def _read_or_none(path: Path) -> Manifest | None:
    """The record, or None when it is damaged: a damaged run may be overwritten."""
    try:
        return Manifest.read(path)
    except ArtifactError:
        return None


def _refuse_foreign_files(path: Path) -> None:
    foreign = sorted(item.name for item in path.iterdir() if not _is_launch_file(item))
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise ArtifactError(
            f"{path} holds files that no run of weakseg made ({shown}): "
            "choose another output folder, or move them away"
        )


def _is_launch_file(item: Path) -> bool:
    """Tell whether Hydra, the lock or a killed writer made `item`, before the run itself began."""
    return item.name.startswith(".") or item.suffix == ".log"


def _discard(path: Path, wanted: Manifest) -> None:
    """Empty the folder; a kill halfway leaves a record that says so."""
    dataclasses.replace(wanted, status=DISCARDED).write(path)
    remove_partials(path)
    with disk_errors(path):
        for item in sorted(path.iterdir()):
            if item.is_dir() and not item.is_symlink() and not _is_launch_file(item):
                shutil.rmtree(item)
            elif not _is_launch_file(item) and item.name != MANIFEST:
                item.unlink()


def _refusal(path: Path, found: Manifest, wanted: Manifest) -> str:
    lines = found.differences(wanted)
    shown = "; ".join(lines[:_SHOWN_DIFFERENCES])
    if len(lines) > _SHOWN_DIFFERENCES:
        shown += f"; and {len(lines) - _SHOWN_DIFFERENCES} more"
    return (
        f"{path} holds a {found.kind} run made otherwise ({shown}): "
        "choose another output folder, or start again with overwrite=true"
    )
