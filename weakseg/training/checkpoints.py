"""Write and read training states so that a file that exists is whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import torch

from weakseg.artifacts.atomic import atomic_path
from weakseg.training.errors import TrainingError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state of tensors and plain values, whole or not at all.

    Raises:
        TrainingError: If it cannot be written, for example on a full disk.
    """
    try:
        # An open file instead of a path: torch would write the temporary name into the archive.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own word for a write that failed
        raise TrainingError(f"cannot write the checkpoint {path}: {error}") from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state onto the CPU, running no code from the file.

    Raises:
        TrainingError: If the file is damaged.
    """
    try:
        return cast("dict[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is no checkpoint of weakseg, or is damaged: "
            "delete it to start this training from the beginning"
        ) from error
