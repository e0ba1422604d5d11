"""Graphs agree with their networks at any size, and are not left when they do not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weakseg.errors import ArtifactError, MissingExtraError
from weakseg.models import Segmenter
from weakseg.models.onnx import export_onnx, onnx_session

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ENCODER = "tu-test_resnet"


class Louder(nn.Module):
    """An untrained network whose answers differ from pixel to pixel as a trained one's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return 50 * self.network(images)


def untrained(build: Any, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = build(**settings)
    return Louder(network).eval()


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "unet", "segformer", "fpn"])
def test_graph_agrees_with_its_network(tmp_path: Path, architecture: str) -> None:
    settings = {"architecture": architecture, "encoder": ENCODER, "encoder_weights": None}
    network = untrained(Segmenter, **settings)
    path = tmp_path / "a.onnx"
    assert export_onnx(network, path, metadata={"threshold": "0.4"}) <= 1e-4
    session = onnx_session(path, threads=1)
    assert session.metadata() == {"threshold": "0.4"}
    # Sizes that the export itself did not compare.
    for batch, height, width in ((1, 32, 200), (4, 65, 63)):
        images = torch.rand(batch, 3, height, width)
        with torch.inference_mode():
            wanted = network(images).softmax(dim=1)[:, 1:].numpy()
        found = session(images.numpy())
        assert found.shape == (batch, 1, height, width)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        # A graph that says the same everywhere would be no proof.
        assert wanted.std() > 0.01


def test_fosp_agrees_with_its_graph(tmp_path: Path) -> None:
    build = pytest.importorskip("weakseg.models.fosp").FoSp
    network = untrained(build, encoder=ENCODER, encoder_weights=None)
    assert export_onnx(network, tmp_path / "a.onnx", metadata={}) <= 1e-4


class DependsOnSize(nn.Module):
    """A graph takes the branch of its example for all."""

    def forward(self, images: Tensor) -> Tensor:
        smoke = images[:, :1] * (1 if images.shape[-1] < 100 else 3)
        return torch.cat([-smoke, smoke], dim=1)


class HasNoGraph(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(images[..., :32, :32])[:, :2]


def test_network_without_a_graph_of_open_size_is_named(tmp_path: Path) -> None:
    # Its pyramid pools to grids of 2, 3 and 6 cells, which ONNX knows for fixed sizes only.
    network = Segmenter("upernet", encoder=ENCODER, encoder_weights=None).eval()
    with pytest.raises(ArtifactError, match="Segmenter has no ONNX graph") as refusal:
        export_onnx(network, tmp_path / "a.onnx", metadata={})
    assert len(str(refusal.value)) < 500
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("network", "words"),
    [(DependsOnSize(), "differs from torch by"), (HasNoGraph(), "HasNoGraph has no ONNX graph")],
)
def test_graph_that_fails_is_not_left(tmp_path: Path, network: nn.Module, words: str) -> None:
    (tmp_path / "a.onnx").write_text("an earlier one")
    with pytest.raises(ArtifactError, match=words):
        export_onnx(network, tmp_path / "a.onnx", metadata={})
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "an earlier one"


def test_what_is_no_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("no graph")
    for name in ("a.onnx", "none.onnx"):
        with pytest.raises(ArtifactError, match=name):
            onnx_session(tmp_path / name)


def test_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install weakseg\[onnx\]"):
        export_onnx(DependsOnSize(), tmp_path / "a.onnx", metadata={})
