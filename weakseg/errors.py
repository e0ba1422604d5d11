"""Name the errors a user can cause; each message is one sentence that says the way out."""

from __future__ import annotations


class WeaksegError(Exception):
    """Base of every error weakseg raises on purpose; its text is meant for the user."""


class DataError(WeaksegError):
    """A bad input file: the message names the path, the line if any, and the way out."""


class ArtifactError(WeaksegError):
    """A run folder that cannot be made, resumed, read or written."""


class WeightsError(WeaksegError):
    """A weights file that is missing or does not fit: names the file, and what was expected."""


class MissingExtraError(WeaksegError):
    """An optional part is not installed: names the extra, as `pip install weakseg[sam]`."""
