"""Start the segmenter of stage 3 from stage 1's classifier, and rebuild a trained one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from weakseg.artifacts import FinishedRun, RunPaths, load_run, read_json, write_json
from weakseg.data import sha256_of
from weakseg.errors import ArtifactError
from weakseg.models import (
    FoSp,
    MaskRcnn,
    SegmentationModel,
    Segmenter,
    TiledInference,
    load_weights,
)
from weakseg.plans import LearningPlan, Stage3Plan
from weakseg.stages.evidence import CLASSIFIER
from weakseg.stages.scores import THRESHOLD
from weakseg.stages.showing import BEST

SEGMENTER: Final = "segmenter.json"
INFERENCE: Final = "inference.json"

CLASSES: Final[dict[str, Callable[..., SegmentationModel]]] = {
    "FoSp": FoSp,
    "MaskRcnn": MaskRcnn,
    "Segmenter": Segmenter,
}
"""What `segmenter.json` may name: a file names a network of ours, never code to import."""

_ENCODER_WITHOUT_CNN: Final = "tu-resnet50"


def starting_segmenter(plan: Stage3Plan, pseudo: FinishedRun | None) -> SegmentationModel:
    """Build the segmenter of stage 3, or take a trained one.

    Args:
        plan: Of stage 3.
        pseudo: The stage-2 run that is learnt from, whose classifier `auto` means; None where
            only real masks are.
    """
    if plan.trained is not None:
        earlier = load_run(Path(plan.trained), kind="stage3")
        trained, _, _ = load_segmenter(earlier)
        trained.weights_sha256 = sha256_of(earlier.path / BEST)
        return trained
    if pseudo is None:
        return new_segmenter(plan, None)
    stage1 = load_run(Path(read_json(pseudo.path / "inputs.json")["stage1"]), kind="stage1")
    return new_segmenter(plan, stage1)


def new_segmenter(plan: LearningPlan, stage1: FinishedRun | None) -> SegmentationModel:
    """Build a segmenter; `auto` takes the network and weights of the classifier where it can.

    After a vision transformer, and without a classifier, `auto` is a ResNet-50 with the weights
    of the hub.
    """
    asked = dict(plan.segmenter.keywords)
    classifier = {"name": "none"} if stage1 is None else read_json(stage1.path / CLASSIFIER)
    is_cnn = not classifier["name"].startswith(("vit", "deit", "none"))
    changes: dict[str, Any] = {}
    if asked.get("encoder") == "auto":
        changes["encoder"] = f"tu-{classifier['name']}" if is_cnn else _ENCODER_WITHOUT_CNN
    encoder = changes.get("encoder", asked.get("encoder"))
    if asked.get("encoder_weights") == "auto":
        is_same = stage1 is not None and encoder == f"tu-{classifier['name']}"
        changes["encoder_weights"] = "hub"
        if stage1 is not None and is_same:
            changes["encoder_weights"] = str(stage1.checkpoints / "best.safetensors")
            changes["stride_in_1x1"] = classifier["stride_in_1x1"]
    segmenter: SegmentationModel = plan.segmenter(**changes)
    return segmenter


def write_segmenter(folder: RunPaths, segmenter: SegmentationModel) -> None:
    """Write what rebuilds the network, but for its weights: its class by name, and settings.

    Raises:
        ValueError: If `CLASSES` does not know the network, so that nothing could rebuild it.
    """
    name = type(segmenter).__name__
    if name not in CLASSES:
        raise ValueError(f"{name} is not among the networks a run can hold: {', '.join(CLASSES)}")
    write_json(folder.path / SEGMENTER, {"class": name, "settings": segmenter.settings()})


def read_segmenter(folder: RunPaths) -> SegmentationModel:
    """Build the network that `write_segmenter` wrote down, with random weights.

    Raises:
        ArtifactError: If the file is missing, or names no network of this version.
    """
    path = folder.path / SEGMENTER
    found = read_json(path)
    if "class" not in found:
        return Segmenter(**found)  # Runs from before there were other networks.
    if found["class"] not in CLASSES:
        raise ArtifactError(
            f"{path} names the network {found['class']!r}, and this version knows "
            f"{', '.join(CLASSES)}: read the run with the version that made it"
        )
    return CLASSES[found["class"]](**found["settings"])


def load_segmenter(run: FinishedRun) -> tuple[SegmentationModel, TiledInference, float]:
    """Rebuild a finished stage-3 run's network, how it reads frames, and its threshold."""
    segmenter = read_segmenter(run)
    load_weights(run.checkpoints / "best.safetensors", segmenter)
    inference = TiledInference(**read_json(run.path / INFERENCE))
    segmenter.to(memory_format=torch.channels_last)
    return segmenter.eval(), inference, float(read_json(run.path / THRESHOLD)["threshold"])
