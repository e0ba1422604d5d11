"""A preset says what it repeats and sets what it says; its parts can be built."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from torch import nn

from weakseg import plans
from weakseg.launch import build_plan

FILES = Path(__file__).parents[1] / "conf" / "experiment"
PLANS = {"stage1": plans.Stage1Plan, "stage2": plans.Stage2Plan, "stage3": plans.Stage3Plan}
PRESETS = [
    (stage, name)
    for name in ("thesis", "h2o_smoke", "fosp", "maskrcnn_fire", "smoke_bench")
    for stage in PLANS
    if (FILES / stage / f"{name}.yaml").exists()
]


def build(stage: str, name: str, *overrides: str) -> Any:
    """Build the plan of a preset as its command would, with what only a user can know."""
    given = [f"experiment/{stage}={name}", *overrides]
    if (stage, name) in {("stage1", "thesis")}:
        given.append("data=index")
    ConfigStore.instance().store(name=f"{stage}_plan", node=PLANS[stage])
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        config = hydra.compose(stage, given, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        for key in OmegaConf.missing_keys(config):
            OmegaConf.update(config, key, "given-by-the-user.csv")
        OmegaConf.resolve(config)
    finally:
        HydraConfig.instance().cfg = None
    return build_plan(PLANS[stage], hydra.utils.instantiate(config, _convert_="all"))


def head(stage: str, name: str) -> str:
    """The comment that a preset begins with."""
    lines = (FILES / stage / f"{name}.yaml").read_text().splitlines()[1:]
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def test_every_preset_has_the_stages_it_needs() -> None:
    names = {name for _, name in PRESETS}
    assert names == {"thesis", "h2o_smoke", "fosp", "maskrcnn_fire", "smoke_bench"}
    for name in ("thesis", "smoke_bench"):
        assert {stage for stage, other in PRESETS if other == name} == set(PLANS)


@pytest.mark.parametrize(("stage", "name"), PRESETS)
def test_preset_says_its_command_its_time_and_what_to_expect(stage: str, name: str) -> None:
    told = head(stage, name)
    assert f"python -m weakseg.{stage} experiment={name}" in told
    assert re.search(r"minutes on|neither figures nor time", told)
    assert re.search(r"Not measured here|iou_per_image 0\.\d", told)


@pytest.mark.parametrize(("stage", "name"), PRESETS)
def test_preset_builds(stage: str, name: str) -> None:
    assert type(build(stage, name)) is PLANS[stage]


def test_fosp_learns_pseudo_masks_with_the_words_it_tells() -> None:
    told = re.search(r"(supervision=weak .*?) learns pseudo-masks", head("stage3", "fosp"))
    assert told is not None
    plan = build("stage3", "fosp", *shlex.split(told[1]))
    assert (plan.supervision.mode, plan.data, plan.pseudo_masks) == ("weak", None, "RUN")


@pytest.mark.parametrize(
    "name", [name for stage, name in PRESETS if stage == "stage3" and name != "maskrcnn_fire"]
)
def test_network_and_loss_of_a_preset_learn(name: str) -> None:
    """One step on noise, with random weights; `auto` stands for a ResNet-18."""
    plan = build("stage3", name)
    asked = plan.segmenter.keywords
    told = {"encoder_weights": "none"}
    if asked["encoder"] == "auto":
        told["encoder"] = "resnet18"
    torch.manual_seed(0)
    model: nn.Module = plan.segmenter(**told)
    optimizer = plan.optimizer(list(model.parameters()))
    images, mask = torch.rand(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    mask[0, 20:40, 20:40] = 1
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = plan.loss(model(images), mask, images=images)["loss"]
    loss.backward()
    optimizer.step()
    assert math.isfinite(float(loss.detach()))
    moved = [bool((a != b).any()) for a, b in zip(before, model.parameters(), strict=True)]
    assert any(moved)


def test_h2o_card_is_repeated() -> None:
    plan = build("stage3", "h2o_smoke")
    assert plan.segmenter.keywords["encoder"] == "tu-resnet34"
    assert plan.segmenter.keywords["encoder_weights"] == "hub"
    optimizer = plan.optimizer([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 0)
    fit = plan.fit
    assert (fit.batch_size, fit.epochs, fit.gradient_clip) == (16, 5, None)
    assert (fit.lr_decay, fit.warmup_fraction, plan.head_lr_factor) == ("cosine", 0, 1)
    assert plan.supervision.mode == "full"


def test_maskrcnn_fire_is_repeated_and_learns() -> None:
    plan = build("stage3", "maskrcnn_fire")
    asked = plan.segmenter.keywords
    assert (asked["backbone"], asked["weights"]) == ("resnet50", "coco")
    assert (plan.supervision.mode, plan.selection, plan.inference.flip) == ("full", "val", False)
    torch.manual_seed(0)
    model = plan.segmenter(backbone="test_resnet", weights=None, channels=8, proposals=8)
    optimizer = plan.optimizer(list(model.parameters()))
    mask = torch.zeros(2, 64, 64, dtype=torch.int64)
    mask[0, 20:40, 20:40] = 1
    losses = model(torch.rand(2, 3, 64, 64), mask=mask)
    losses["loss"].backward()
    optimizer.step()
    assert math.isfinite(float(losses["loss"].detach()))


def test_fosp_is_repeated() -> None:
    plan = build("stage3", "fosp")
    keywords = plan.segmenter.keywords
    assert (keywords["encoder"], keywords["channels"], plan.image_size) == ("mit_b3", 256, 512)
    optimizer = plan.optimizer([nn.Parameter(torch.zeros(1))])
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (6e-5, 0.01)
    assert (plan.fit.lr_decay, plan.loss.dice_weight, plan.head_lr_factor) == ("poly", 0, 1)


def test_thesis_is_repeated() -> None:
    teacher = build("stage1", "thesis")
    assert teacher.classifier.keywords["name"] == "resnet50"
    assert teacher.classifier.keywords["head"] == "pcm"
    assert teacher.classifier.keywords["output_stride"] == 16
    assert teacher.cam.method == "pcm"
    assert list(teacher.cam.scales) == [0.5, 1, 1.5, 2]
    student = build("stage2", "thesis")
    following = student.consistency
    assert following.mode == "frozen"
    assert following.student.keywords["name"] == "vit_small_patch16_224"
    loss = following.loss
    assert (loss.alignment, loss.distance, loss.weight) == ("global", "cosine", 1)
    assert list(following.cam.layers) == ["blocks.-1.norm1"]
    assert list(student.refine.steps) == ["crf", "sam"]
    crf, sam = student.refine.steps.values()
    assert (crf.gaussian_sigma_xy_pixels, crf.gaussian_weight, crf.iterations) == (3, 5, 5)
    assert (crf.sigma_xy_pixels, crf.sigma_rgb_levels, crf.bilateral_weight) == (60, 5, 15)
    assert (sam.max_area, sam.acceptance, sam.acceptance_threshold) == (0.5, "iou", 0.4)
    assert sam.combine == "union"
    assert student.threshold.value == 0.3
    segmenter = build("stage3", "thesis")
    assert segmenter.loss.energy.normalisation == "none"
    assert segmenter.loss.energy.weight == 2e-9
