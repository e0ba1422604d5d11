"""Build a source of frames from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weakseg.checks import check_one_of
from weakseg.data.folders import FolderSource
from weakseg.data.frames import FrameSource
from weakseg.data.index import IndexSource
from weakseg.data.synthetic import SyntheticSource


def source_from_settings(settings: Mapping[str, Any]) -> FrameSource:
    """Build the source that `settings()` described.

    Raises:
        ValueError: If the kind is unknown.
    """
    values = {name: value for name, value in settings.items() if name != "kind"}
    check_one_of(("index", "folder", "synthetic"), kind=settings.get("kind"))
    if settings["kind"] == "index":
        return IndexSource(**values)
    if settings["kind"] == "synthetic":
        return SyntheticSource(**values)
    return FolderSource(**values)
