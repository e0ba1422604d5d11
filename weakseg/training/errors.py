"""Name what can go wrong while a network is trained."""

from __future__ import annotations

from weakseg.errors import WeaksegError


class TrainingError(WeaksegError):
    """Training cannot go on, or cannot be resumed, as it stands."""
