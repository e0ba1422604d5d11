"""Export the segmenter of a finished stage-3 run as an ONNX file that needs no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts import ArtifactError, FinishedRun, load_run
from weakseg.artifacts.manifest import installed_version
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.models import SegmentationModel, TiledInference
from weakseg.models.onnx import export_onnx
from weakseg.plans import ExportPlan
from weakseg.stages.segmenters import load_segmenter
from weakseg.stages.work import settle_hardware

log = logging.getLogger(__name__)


def run(plan: ExportPlan, config: Mapping[str, Any]) -> Path:
    """Write the ONNX file of `plan.run`, compared with torch at several sizes; give its path."""
    output = Path(plan.output)
    if output.suffix != ".onnx":
        raise ValueError(f"output must end in .onnx, got {output}")
    settle_hardware(plan.hardware, seed=0)
    finished = load_run(Path(plan.run), kind="stage3")
    loaded = load_segmenter(finished)
    segmenter = loaded[0]
    if segmenter.learns_itself:
        raise ArtifactError(
            f"{finished.path} is a {type(segmenter).__name__}, whose instances make no graph of "
            "open size: export a run of another segmenter, such as deeplabv3plus"
        )
    sizes = [(size[0], size[1], size[2]) for size in plan.sizes]
    gap = export_onnx(
        segmenter,
        output,
        metadata=metadata_of(finished, *loaded),
        sizes=sizes,
        tolerance=plan.tolerance,
    )
    log.info(
        "%s: %.1f MB, at most %.1e from torch at %d sizes",
        output,
        output.stat().st_size / 1e6,
        gap,
        len(sizes),
    )
    return output


def metadata_of(
    finished: FinishedRun,
    segmenter: SegmentationModel,
    inference: TiledInference,
    threshold: float,
) -> dict[str, str]:
    """Say in an ONNX file what it is, how it is to be used, and what it was made from."""
    return {
        "producer": "weakseg",
        "version": installed_version(),
        "run": finished.fingerprint,
        "network": json.dumps({"class": type(segmenter).__name__, **segmenter.settings()}),
        "threshold": repr(threshold),
        "inference": json.dumps(inference.settings()),
        "classes": json.dumps({"background": BACKGROUND, "smoke": SMOKE}),
        "input": "images: (batch, 3, height, width) float32, RGB, in [0, 1]; sides of 32 or more",
        "output": "smoke_probability: (batch, 1, height, width) float32, in [0, 1]",
    }
