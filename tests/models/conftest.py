"""Shared by the tests of networks: real weights where there are any, a picture to look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def weights_dir() -> Path:
    """Real pretrained weights, beside the repository or where WEAKSEG_SHARED says; else skip."""
    beside = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("WEAKSEG_SHARED", beside)) / "weights"
    if not folder.is_dir():
        pytest.skip("needs the shared weights: set WEAKSEG_SHARED")
    return folder


@pytest.fixture
def pictures() -> torch.Tensor:
    """(2, 3, 64, 96) float32 in [0, 1]."""
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
