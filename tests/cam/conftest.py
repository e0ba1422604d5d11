"""Shared by the tests of CAMs: tiny classifiers with random weights, and pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from weakseg.models import Classifier


@pytest.fixture
def build() -> Callable[..., Classifier]:
    """Build a tiny classifier whose answers are neither tiny nor constant."""

    def make(name: str = "test_resnet", **settings: object) -> Classifier:
        torch.manual_seed(0)
        return Classifier(name, weights=None, **settings).eval()

    return make


@pytest.fixture
def pictures() -> torch.Tensor:
    """(2, 3, 64, 96) float32 in [0, 1]."""
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
