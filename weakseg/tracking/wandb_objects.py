"""Turn frames, masks, tables and files into what Weights & Biases shows natively."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from weakseg.artifacts import plain
from weakseg.labels import BACKGROUND, CLASS_NAMES, IGNORE
from weakseg.tracking.tracker import Cell, Panel

LONG_SIDE: Final = 1024
"""Pixels; larger frames are shown smaller."""
_CLASS_LABELS: Final = {**dict(enumerate(CLASS_NAMES)), IGNORE: "ignore"}
_LONGEST_NAME: Final = 128
_LONGEST_TAG: Final = 64


def images(panels: Sequence[Path | Panel]) -> list[Any]:
    """Make a list of pictures; frames of different sizes are laid on one canvas.

    wandb shows a list in one size and distorts whatever has another.
    """
    shown = [panel if isinstance(panel, Path) else shrink(panel) for panel in panels]
    sizes = [panel.frame.shape[:2] for panel in shown if isinstance(panel, Panel)]
    height, width = (max(side) for side in zip(*sizes, strict=True)) if sizes else (0, 0)
    return [
        image(panel if isinstance(panel, Path) else pad(panel, height=height, width=width))
        for panel in shown
    ]


def image(panel: Path | Panel) -> Any:
    """Make a picture, with its masks as layers that the viewer switches on and off by class."""
    import wandb  # noqa: PLC0415

    if isinstance(panel, Path):
        return wandb.Image(str(panel))
    masks = {
        name: {"mask_data": mask, "class_labels": _CLASS_LABELS}
        for name, mask in panel.masks.items()
    }
    return wandb.Image(panel.frame, masks=masks or None, caption=panel.caption or None)


def shrink(panel: Panel) -> Panel:
    """Bring a panel's longer side to at most `LONG_SIDE`."""
    height, width = panel.frame.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return panel
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    frame = cv2.resize(panel.frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    masks = {
        name: cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        for name, mask in panel.masks.items()
    }
    return Panel(frame, masks, panel.caption)


def pad(panel: Panel, *, height: int, width: int) -> Panel:
    """Fill a panel up, to the right and below, with black that is background."""
    down, right = height - panel.frame.shape[0], width - panel.frame.shape[1]
    if not down and not right:
        return panel
    frame = np.pad(panel.frame, ((0, down), (0, right), (0, 0)))
    masks = {
        name: np.pad(mask, ((0, down), (0, right)), constant_values=BACKGROUND)
        for name, mask in panel.masks.items()
    }
    return Panel(frame, masks, panel.caption)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Any:
    """Make a table; what cannot be known is an empty cell, and a panel a picture."""
    import wandb  # noqa: PLC0415

    data = [[image(shrink(c)) if isinstance(c, Panel) else plain(c) for c in row] for row in rows]
    return wandb.Table(columns=list(columns), data=data)


def artifact(name: str, type: str, paths: Sequence[Path], metadata: Mapping[str, Any]) -> Any:
    """List files, and those inside folders, as an artifact; they stay where they are."""
    import wandb  # noqa: PLC0415

    made = wandb.Artifact(artifact_name(name), type=type, metadata=plain(metadata))
    for root in paths:
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in files:
            if path.is_file():
                # Immutable: products are never rewritten, so no second copy is staged.
                relative = path.relative_to(root.parent).as_posix()
                made.add_file(str(path.resolve()), name=relative, policy="immutable")
    return made


def artifact_name(name: str) -> str:
    """Replace what wandb does not take in the name of an artifact: `crf+sam` is `crf_sam`."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST_NAME] or "_"


def tags(own: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Join a run's own tags with the sweep it belongs to and its point there."""
    tracking = config.get("tracking") or {}
    group, point = tracking.get("group") or "", tracking.get("point") or []
    named = [*own, *([group] if group else []), *point]
    return list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in named if tag))
