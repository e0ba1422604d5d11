"""Find where an offline run's log is whole: a `kill -9` leaves a record cut short at its end.

wandb keeps a run in LevelDB's log format: blocks of 32 KiB, records of a checksum (4 bytes), a
length (2), a type (1) and content, which go on in the next block where they do not fit. wandb
uploads a log that is cut short, but calls it failed, for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

START: Final = 7
"""Bytes of the file's own head; a log that is no longer holds nothing."""
_MARK: Final = b":W&B"
_BLOCK: Final = 32_768
_HEAD: Final = 7
_WHOLE: Final = 1
_LAST: Final = 4


def whole_length(log_file: Path) -> int:
    """Give the length up to the end of the last whole record, in bytes.

    Args:
        log_file: `run-ID.wandb`, of a run that is not at work.

    Returns:
        From `START`, if no record is whole, to the size of the file; the size of any other file.
    """
    content = log_file.read_bytes()
    if len(content) < START or not content.startswith(_MARK):
        return len(content)
    at = whole = START
    while at + _HEAD <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEAD:  # No head fits: the rest of the block is empty.
            at += left
            continue
        kind = content[at + 6]
        at += _HEAD + int.from_bytes(content[at + 4 : at + 6], "little")
        if not _WHOLE <= kind <= _LAST or at > len(content):
            break
        if kind in (_WHOLE, _LAST):
            whole = at
    return whole
