"""Hash what made an output, and say in words how two sets of settings differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def fingerprint(content: Any) -> str:
    """Return the SHA-256 (hex) of `content` written as canonical JSON.

    Equal settings give equal fingerprints: the order of keys, tuples against lists, numpy
    against Python numbers and 1 against 1.0 make no difference.

    Raises:
        TypeError: If `content` holds something that is no setting (an array, an object).
    """
    text = json.dumps(canonical(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def canonical(content: Any) -> Any:
    """Reduce `content` to dicts with text keys, lists, texts, numbers, booleans and None."""
    if isinstance(content, np.generic):
        content = content.item()
    if content is None or isinstance(content, bool | str | int):
        return content
    if isinstance(content, float | PurePath):
        return _canonical_float(content) if isinstance(content, float) else str(content)
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return canonical(
            {item.name: getattr(content, item.name) for item in dataclasses.fields(content)}
        )
    if isinstance(content, Mapping):
        return {str(key): canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [canonical(value) for value in content]
    raise TypeError(f"settings hold numbers, texts, lists and mappings, got {type(content)}")


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, as "cam.method: was grad_cam, now layer_cam"."""
    old, new = _flatten(canonical(was)), _flatten(canonical(now))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = _shown(old, key), _shown(new, key)
        if before != after:
            lines.append(f"{key}: was {before}, now {after}")
    return lines


def _canonical_float(value: float) -> int | float | str:
    if not math.isfinite(value):
        return repr(value)  # JSON has no infinity
    return int(value) if value.is_integer() else value


def _flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Key every leaf by its dotted path; lists stay whole, so a reordered list is one line."""
    if not isinstance(content, dict) or (not content and prefix):
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else key))
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "absent"
    value = flat[key]
    text = value if isinstance(value, str) and value else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
