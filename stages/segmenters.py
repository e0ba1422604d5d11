"""Start the segmenter of stage 3 from stage 1's classifier, and rebuild a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from weakseg.artifacts import FinishedRun, load_run, read_json
from weakseg.data import sha256_of
from weakseg.models import Segmenter, TiledInference, load_weights
from weakseg.plans import LearningPlan, Stage3Plan
from weakseg.stages.evidence import CLASSIFIER
from weakseg.stages.scores import THRESHOLD
from weakseg.stages.showing import BEST

SEGMENTER: Final = "segmenter.json"
INFERENCE: Final = "inference.json"


def starting_segmenter(plan: Stage3Plan, pseudo: FinishedRun) -> Segmenter:
    """Build the segmenter of stage 3, or take a trained one."""
    if plan.trained is not None:
        earlier = load_run(Path(plan.trained), kind="stage3")
        trained, _, _ = load_segmenter(earlier)
        trained.weights_sha256 = sha256_of(earlier.path / BEST)
        return trained
    stage1 = load_run(Path(read_json(pseudo.path / "inputs.json")["stage1"]), kind="stage1")
    return new_segmenter(plan, stage1)


def new_segmenter(plan: LearningPlan, stage1: FinishedRun) -> Segmenter:
    """Build a segmenter; `auto` takes the network and weights of the classifier where it can."""
    asked = dict(plan.segmenter.keywords)
    classifier = read_json(stage1.path / CLASSIFIER)
    is_cnn = not classifier["name"].startswith(("vit", "deit"))
    changes: dict[str, Any] = {}
    if asked.get("encoder") == "auto":
        changes["encoder"] = f"tu-{classifier['name']}" if is_cnn else "tu-resnet50"
    encoder = changes.get("encoder", asked.get("encoder"))
    if asked.get("encoder_weights") == "auto":
        is_same = encoder == f"tu-{classifier['name']}"
        best = stage1.checkpoints / "best.safetensors"
        changes["encoder_weights"] = str(best) if is_same else "hub"
        if is_same:
            changes["stride_in_1x1"] = classifier["stride_in_1x1"]
    segmenter: Segmenter = plan.segmenter(**changes)
    return segmenter


def load_segmenter(run: FinishedRun) -> tuple[Segmenter, TiledInference, float]:
    """Rebuild a finished stage-3 run's network, how it reads frames, and its threshold."""
    segmenter = Segmenter(**read_json(run.path / SEGMENTER))
    load_weights(run.checkpoints / "best.safetensors", segmenter)
    inference = TiledInference(**read_json(run.path / INFERENCE))
    segmenter.to(memory_format=torch.channels_last)
    return segmenter.eval(), inference, float(read_json(run.path / THRESHOLD)["threshold"])
