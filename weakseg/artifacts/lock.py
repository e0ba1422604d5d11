"""Keep two processes out of one folder; the kernel frees the lock when its holder is killed."""

from __future__ import annotations

import fcntl
import logging
import os
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from weakseg.artifacts.atomic import disk_errors
from weakseg.errors import ArtifactError

log = logging.getLogger(__name__)

LOCK: Final = ".lock"


class FolderLock:
    """Hold `folder` until `release`, the end of the process or the end of this object.

    Args:
        folder: An existing folder.
        patience_seconds: How long to wait for a holder that is just going away.

    Raises:
        ArtifactError: If another process (or another part of this one) holds the folder.
    """

    def __init__(self, folder: Path, *, patience_seconds: float = 2.0) -> None:
        self._path = folder / LOCK
        with disk_errors(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        # weakref.finalize runs its callback once: at release, when collected, or at exit.
        self._close = weakref.finalize(self, _close, descriptor)
        # A forked loader worker would carry the lock beyond a kill -9 of this process.
        alive = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(alive))
        self._take(descriptor, time.monotonic() + patience_seconds)

    def release(self) -> None:
        """Let the folder go; a second call does nothing."""
        self._close()

    def _take(self, descriptor: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
                    self.release()
                    raise ArtifactError(
                        f"{self._path.parent} is in use by another run (process {holder}): "
                        "wait for it to end, or choose another output folder"
                    ) from error
                time.sleep(0.1)
            except OSError as error:  # some network disks know no locks
                log.warning("%s cannot be locked (%s): run it once at a time", self._path, error)
                return
        with disk_errors(self._path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)


def _close(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


def _forget(alive: weakref.ref[FolderLock]) -> None:
    """In a forked child, close the inherited descriptor: the lock stays with the parent."""
    lock = alive()
    if lock is not None:
        lock.release()
