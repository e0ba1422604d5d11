"""Write files whole or not at all: a file that exists is complete, whatever killed its writer."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from weakseg.errors import ArtifactError

PARTIAL = ".partial-"
"""Starts the temporary names, `.partial-<token><suffix>`, which stand beside their target."""

_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: free some space and start the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and start the same command again",
    errno.EFBIG: "the file is larger than the system allows: raise the file-size limit",
    errno.EROFS: "the disk is read-only: choose another output folder",
    errno.EACCES: "permission denied: choose a folder you may write to",
    errno.EPERM: "permission denied: choose a folder you may write to",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another output folder",
    errno.EEXIST: "a file stands where a folder is needed: choose another output folder",
    errno.EISDIR: "a folder stands where the file should go: move it away",
    errno.ENAMETOOLONG: "the name is too long for this disk: shorten the output folder",
}


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target` that becomes `target` when the block ends.

    The temporary file keeps the suffix, so writers that look at it (cv2, torch, numpy) behave.
    If the block raises, `target` is left as it was and the temporary file is removed.

    Raises:
        ArtifactError: If the disk refuses (full, read-only, no permission).
    """
    target = Path(target)
    # Not made from the target's name: an id of 250 characters must still fit.
    temporary = target.with_name(f"{PARTIAL}{secrets.token_hex(6)}{target.suffix}")
    try:
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            os.replace(temporary, target)  # noqa: PTH105 - the one call that must be this one
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(target: Path | str, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path | str, content: str) -> None:
    """Write `content` to `target` atomically, as UTF-8 with the newlines given."""
    write_bytes(target, content.encode("utf-8"))


def write_json(target: Path | str, content: Any) -> None:
    """Write `content` to `target` atomically, indented; not-a-number is refused by ValueError."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(target, text + "\n")


def read_json(path: Path | str) -> Any:
    """Read what `write_json` wrote.

    Raises:
        ArtifactError: If the file is missing or is no JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: run the stage that makes it again") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): run its stage again") from error


def remove_partials(folder: Path | str) -> int:
    """Delete the temporary files that killed writers left below `folder`; return how many."""
    leftovers = [path for path in Path(folder).rglob(f"{PARTIAL}*") if path.is_file()]
    for path in leftovers:
        with disk_errors(path):
            path.unlink(missing_ok=True)
    return len(leftovers)


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn a disk's refusal in the block into an ArtifactError with `path` and the way out."""
    try:
        yield
    except OSError as error:
        reason = _WAYS_OUT.get(error.errno or 0, error.strerror or str(error))
        raise ArtifactError(f"cannot write {path}: {reason}") from error
    except Exception as error:
        # torch and safetensors wrap the disk's refusal in errors of their own; others pass through.
        code = _wrapped_errno(str(error))
        if code is None:
            raise
        raise ArtifactError(f"cannot write {path}: {_WAYS_OUT[code]}") from error


def _wrapped_errno(message: str) -> int | None:
    """Find the disk's refusal in a message of safetensors ("os error 28") or of torch.save."""
    found = re.search(r"os error (\d+)", message)
    if found:
        return int(found[1]) if int(found[1]) in _WAYS_OUT else None
    if "PytorchStreamWriter failed" in message or "inline_container" in message:
        return errno.ENOSPC
    return None


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
