"""A run's ONNX file gives what the run gives, and says how it is to be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from doors import Chain, Doors

from weakseg.artifacts import load_run
from weakseg.data import read_frame
from weakseg.models.onnx import onnx_session
from weakseg.plans import ExportPlan
from weakseg.stages.segmenters import load_segmenter

pytest.importorskip("onnxruntime")


def test_exported_run_gives_what_the_run_gives(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path
) -> None:
    doors.must("export", f"run={chain.run_of('stage3')}", "output=smoke.onnx", cwd=tmp_path)
    session = onnx_session(tmp_path / "smoke.onnx", threads=1)
    run = load_run(chain.run_of("stage3"), kind="stage3")
    segmenter, inference, threshold = load_segmenter(run)
    pixels = read_frame(tiny_folder / "scene6_0.png")
    images = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None].astype(np.float32) / 255
    with torch.inference_mode():
        wanted = segmenter(torch.from_numpy(images)).softmax(dim=1)[:, 1:].numpy()
    np.testing.assert_allclose(session(images), wanted, atol=1e-4)
    told = session.metadata()
    assert float(told["threshold"]) == threshold
    assert told["run"] == run.fingerprint
    assert json.loads(told["classes"]) == {"background": 0, "smoke": 1}
    assert json.loads(told["inference"]) == inference.settings()


def test_what_cannot_be_kept_leaves_no_file(doors: Doors, chain: Chain, tmp_path: Path) -> None:
    run = f"run={chain.run_of('stage3')}"
    done = doors.run("export", run, "output=a.onnx", "tolerance=1e-12", cwd=tmp_path)
    assert "differs from torch" in done.sentence
    assert "must end in .onnx" in doors.run("export", run, "output=a.pt", cwd=tmp_path).sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [[1, 64], [0, 64, 64], [1, 16, 64]])
def test_impossible_sizes_are_refused(size: list[int]) -> None:
    with pytest.raises(ValueError, match="sizes must be lists of batch"):
        ExportPlan(sizes=[size])
