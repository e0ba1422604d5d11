"""A CLIP small enough for tests, known to open_clip by name, with random weights in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from weakseg.models import Clip, save_weights

NAME = "tiny-ViT-8"
WIDTH, PATCH, SIDE = 32, 8, 32

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 2,
        "width": WIDTH,
        "head_width": 16,
        "patch_size": PATCH,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def register(monkeypatch: pytest.MonkeyPatch, **vision: Any) -> str:
    """Make open_clip know the model, with other settings of its vision tower; give its name."""
    open_clip = pytest.importorskip("open_clip")
    config = CONFIG | {"vision_cfg": CONFIG["vision_cfg"] | vision}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, config)
    return NAME


def write_weights(path: Path, seed: int = 0) -> str:
    """Write random weights of the registered model; give the file."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_weights(path, Clip(NAME).clip)
    return str(path)
