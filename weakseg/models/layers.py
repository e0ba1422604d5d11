"""Find layers of a network by the names that people type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from torch import nn


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """Give the layer called `name`: dots for sub-modules, numbers (also negative) for list items.

    `layer4`, `blocks.-1.norm1` and `blocks[-1].norm1` are all understood.

    Raises:
        ValueError: If there is no such layer; the message lists close names.
    """
    found = module
    for part in _parts(name):
        found_next = _child(found, part)
        if found_next is None:
            raise ValueError(f"there is no layer {name!r}: {_close(module, name)}")
        found = found_next
    return found


def canonical_name(module: nn.Module, name: str) -> str:
    """Give the name by which `module.named_modules()` knows the layer `name`."""
    layer = find_layer(module, name)
    return next(str(full) for full, candidate in module.named_modules() if candidate is layer)


def has_layer(module: nn.Module, name: str) -> bool:
    """Say whether `find_layer` would find `name`."""
    return _reach(module, _parts(name)) is not None


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("[", ".").replace("]", "").split(".") if part]


def _reach(module: nn.Module | None, parts: Iterable[str]) -> nn.Module | None:
    for part in parts:
        module = _child(module, part) if module is not None else None
    return module


def _child(module: nn.Module, part: str) -> nn.Module | None:
    children = dict(module.named_children())
    if part in children:
        return children[part]
    if part.removeprefix("-").isdigit() and isinstance(module, nn.Sequential | nn.ModuleList):
        items = list(children.values())
        index = int(part)
        return items[index] if -len(items) <= index < len(items) else None
    return None


def _close(module: nn.Module, name: str) -> str:
    names = [full for full, _ in module.named_modules() if full]
    close = difflib.get_close_matches(".".join(_parts(name)), names, n=6, cutoff=0.4)
    listed = close or [full for full, _ in module.named_children()]
    return f"did you mean one of {', '.join(listed)}?"
