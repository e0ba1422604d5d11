"""What a student cannot follow is refused in one sentence, before anything is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from tiny_consistency import SIDE
from torch import nn

from weakseg.artifacts import FinishedRun, write_json
from weakseg.artifacts.manifest import Manifest
from weakseg.cam import CamRecipe
from weakseg.losses import ClassificationLoss, ConsistencyLoss, EquivarianceLoss
from weakseg.models import Classifier, build_classifier, head_of, save_weights
from weakseg.plans import ConsistencyPlan, Stage1Plan, Stage2Plan
from weakseg.stages.correlation import correlation_is_trained
from weakseg.stages.evidence import CLASSIFIER
from weakseg.stages.refinement.consistency import initial_weights
from weakseg.stages.showing import BEST
from weakseg.training import FitSettings

CONF = Path(__file__).parents[2] / "conf"
SLOTS = {"student": "resnet_to_vit", "teacher_classifier": "cotraining"}
EQUIVARIANCE = {"_target_": "weakseg.losses.EquivarianceLoss", "ecr_weight": 1.0}


def tiny(name: str, **settings: Any) -> Classifier:
    return build_classifier(name, weights=None, image_size=SIDE, **settings)


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., FinishedRun]:
    """Make what a stage-1 run leaves of its classifier; its frames are gone from the disk."""

    def make(loss: dict[str, Any] | None = None, **settings: Any) -> FinishedRun:
        teacher = tiny("test_resnet", **settings)
        (tmp_path / BEST).parent.mkdir(parents=True, exist_ok=True)
        save_weights(tmp_path / BEST, teacher)
        write_json(tmp_path / CLASSIFIER, {**teacher.settings(), "head": head_of(teacher)})
        rows = tuple(
            {
                "id": f"{i}",
                "path": str(tmp_path / "gone.png"),
                "label": f"{i % 2}",
                "scene": "",
                "split": split,
            }
            for i, split in enumerate(("train", "train", "val", "val"))
        )
        manifest = Manifest(
            kind="stage1",
            status="complete",
            settings={},
            inputs={"frames": "hash"},
            version="0",
            config={"loss": loss},
        )
        return FinishedRun(tmp_path, manifest, rows)

    return make


def plan_of(
    mode: str = "frozen", *, loss: dict[str, Any] | None = None, **changes: Any
) -> Stage2Plan:
    values: dict[str, Any] = {
        "student": functools.partial(tiny, "test_vit"),
        "teacher_classifier": functools.partial(tiny, "test_resnet"),
        "loss": ConsistencyLoss(**(loss or {})),
        "classification": ClassificationLoss(),
        "optimizer": torch.optim.AdamW,
        "fit": FitSettings(epochs=1, accelerator="cpu"),
        "cam": CamRecipe(method="local"),
    }
    return Stage2Plan(consistency=ConsistencyPlan(mode=mode, **{**values, **changes}))


PLAIN_VIT = {
    "student": functools.partial(tiny, "test_vit", local=False),
    "cam": CamRecipe(method="layer_cam"),
}


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (plan_of(student=None), "consistency.student is missing"),
        (plan_of("cotraining", teacher_classifier=None), "teacher_classifier is missing"),
        (plan_of(classification=None), "consistency.classification is missing"),
        (plan_of(classification=EquivarianceLoss()), "er and ecr are not computed"),
        (plan_of("cotraining", loss={"target": "pcm"}), "a peer would follow nobody"),
        (plan_of(loss={"lookalike_weight": 0.5}, lookalikes=0), "consistency.lookalikes is 0"),
        (plan_of(cam=CamRecipe(method="pcm")), "does not learn pixel correlation"),
        (plan_of(loss={"of": "evidence"}, **PLAIN_VIT), "of=evidence and the boundary"),
        (plan_of(loss={"boundary_weight": 1.0}, **PLAIN_VIT), "consistency.student.local=true"),
        (plan_of(loss={"target": "pcm"}), "a teacher with a pixel-correlation module"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run_of: Callable[..., FinishedRun], plan: Stage2Plan, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        initial_weights(plan, run_of())


def test_no_loss_at_all_is_said(run_of: Callable[..., FinishedRun]) -> None:
    plan = plan_of()
    plan.consistency.loss = None
    with pytest.raises(ValueError, match=r"consistency\.loss is missing"):
        initial_weights(plan, run_of())


def test_only_a_trained_module_teaches(run_of: Callable[..., FinishedRun]) -> None:
    plan = plan_of(loss={"target": "pcm"})
    untrained = (
        {"_target_": "weakseg.losses.ClassificationLoss"},
        {**EQUIVARIANCE, "ecr_weight": 0},
    )
    for loss in untrained:
        with pytest.raises(ValueError, match="was not trained: give a stage-1 run of"):
            initial_weights(plan, run_of(loss, head="pcm"))
    assert initial_weights(plan, run_of(EQUIVARIANCE, head="pcm")) == {
        "weights of the student": "none"
    }


def test_a_module_that_was_taken_over_is_what_it_was(tmp_path: Path) -> None:
    for name, loss in (("plain", {"_target_": "x"}), ("seam", EQUIVARIANCE)):
        (tmp_path / name).mkdir()
        Manifest(
            kind="stage1",
            status="complete",
            settings={},
            inputs={},
            version="0",
            config={"loss": loss},
        ).write(tmp_path / name)
    other = {"loss": EQUIVARIANCE}
    assert not correlation_is_trained({**other, "trained": str(tmp_path / "plain")})
    assert correlation_is_trained({"loss": None, "trained": str(tmp_path / "seam")})
    assert correlation_is_trained({"loss": None, "trained": str(tmp_path / "gone")})


@pytest.mark.parametrize("mode", ["frozen", "cotraining"])
def test_networks_are_drawn_by_the_seed_and_nothing_else_is(
    run_of: Callable[..., FinishedRun], mode: str
) -> None:
    built: list[nn.Module] = []

    def student() -> Classifier:
        built.append(tiny("test_vit"))
        return built[-1]  # type: ignore[return-value]

    plan, run = plan_of(mode, student=student), run_of()
    before = torch.get_rng_state()
    initial_weights(plan, run)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    initial_weights(plan, run)
    one, two = (list(network.parameters()) for network in built)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("slot", SLOTS)
def test_every_classifier_fits_every_slot(slot: str) -> None:
    ConfigStore.instance().store(name="stage2_plan", node=Stage2Plan)
    names = sorted(path.stem for path in (CONF / "classifier").glob("*.yaml"))
    # It chooses the CAM and the loss of stage 1, and says which one to take elsewhere.
    names.remove("resnet50_pcm")
    assert "resnet50_pcm_network" in names
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        for name in names:
            chosen = [f"consistency={SLOTS[slot]}", f"classifier@consistency.{slot}={name}"]
            found = hydra.compose("stage2", chosen).consistency
            assert found[slot]._target_ == "weakseg.models.build_classifier"
            assert found.cam.method == "local"


def test_pixel_correlation_chooses_its_cam_and_its_loss() -> None:
    ConfigStore.instance().store(name="stage1_plan", node=Stage1Plan)
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        whole = hydra.compose("stage1", ["classifier=resnet50_pcm"])
        other = hydra.compose("stage1", ["classifier=resnet50_pcm", "loss=classification"])
    assert whole.cam.method == "pcm"
    assert whole.loss._target_ == "weakseg.losses.EquivarianceLoss"
    assert other.loss._target_ == "weakseg.losses.ClassificationLoss"
