"""The record of a run: what it is, what made it, and how far it came."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts.atomic import write_json
from weakseg.artifacts.fingerprint import canonical, differences, fingerprint
from weakseg.checks import check_one_of
from weakseg.errors import ArtifactError

MANIFEST: Final = "manifest.json"
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
COMPLETE: Final = "complete"
DISCARDED: Final = "discarded"
"""Being overwritten: what is left in the folder counts for nothing."""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Args:
        kind: "stage1", "stage2", "stage3".
        status: "running", "interrupted", "complete" (or "discarded" while being overwritten).
        settings: What changes the output; fingerprinted.
        inputs: Name of each input -> its fingerprint; fingerprinted.
        version: Of weakseg; fingerprinted.
        config: The whole resolved configuration, for the record.
        data: Settings of the frame source, for the record and for the next stage.
        git_commit: Of the source tree, empty outside one.
        started: When the run was first started, ISO 8601 in UTC.
        finished: When it was completed, empty before.
    """

    kind: str
    status: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    git_commit: str = ""
    started: str = ""
    finished: str = ""

    def __post_init__(self) -> None:
        check_one_of((RUNNING, INTERRUPTED, COMPLETE, DISCARDED), status=self.status)

    @property
    def made_by(self) -> dict[str, Any]:
        """All that is fingerprinted."""
        return {
            "kind": self.kind,
            "settings": self.settings,
            "inputs": self.inputs,
            "version": self.version,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what made the run: equal fingerprints, equal products."""
        return fingerprint(self.made_by)

    def differences(self, other: Manifest) -> list[str]:
        """List in words what `other` was made with otherwise."""
        return differences({**self.settings, **_rest(self)}, {**other.settings, **_rest(other)})

    def write(self, folder: Path) -> None:
        """Write the record into `folder`, atomically."""
        content = {"kind": self.kind, "status": self.status, "fingerprint": self.fingerprint}
        write_json(folder / MANIFEST, {**content, **canonical(self)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the record of the run in `folder`.

        Raises:
            ArtifactError: If the file is missing, or is not what weakseg writes.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ArtifactError(f"{folder} is no run folder: it holds no {MANIFEST}") from error
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}): {_START_AGAIN}") from error
        try:
            known = {item.name for item in dataclasses.fields(cls)}
            return cls(**{key: value for key, value in content.items() if key in known})
        except (TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is no manifest of weakseg ({error}): {_START_AGAIN}"
            ) from error


_START_AGAIN: Final = "choose another output folder, or start again with overwrite=true"


def now() -> str:
    """Tell the time, ISO 8601 in UTC; the text sorts as the time does."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def installed_version() -> str:
    """Tell the version of weakseg, "unknown" when it is not installed."""
    try:
        return metadata.version("weakseg")
    except metadata.PackageNotFoundError:
        return "unknown"


def source_commit() -> str:
    """Tell the git commit of the source tree weakseg runs from, empty outside a checkout."""
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():
        return ""
    command = ["git", "-C", str(tree), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _rest(manifest: Manifest) -> dict[str, Any]:
    return {"inputs": manifest.inputs, "kind": manifest.kind, "version": manifest.version}
