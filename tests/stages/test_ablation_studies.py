"""Every row of the studies that come with weakseg builds, and so does what the help shows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, cast

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from weakseg.launch import _rewrite_arguments, build_plan
from weakseg.models.encoders import check_encoder
from weakseg.plans import AblationPlan, Stage1Plan, Stage2Plan
from weakseg.stages.ablation.frames import AblationFrames
from weakseg.stages.ablation.study import read_study
from weakseg.stages.ablation.unit_commands import Kitchen
from weakseg.targets import refuse_foreign_code

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("study", ["full", "cpu", "quick"])
def test_every_row_of_a_study_is_a_command_that_builds(study: str, tmp_path: Path) -> None:
    plan = plan_of([f"study={study}", "weights.sam=sam.st", "weights.clip=clip.st"])
    (tmp_path / "index.csv").touch()
    frames = AblationFrames(tmp_path / "index.csv", tmp_path / "truth.csv", tmp_path, {}, [])
    rows = read_study(plan.study, weights=plan.weights, only=[])
    words_of = (f"tracker=none {plan.study.stage1}", ""), (f"tracker=none {plan.study.stage2}", "")
    hardware = ("hardware.threads=1", "hardware.workers=0", "hardware.precision=auto")
    kitchen = Kitchen(rows, tmp_path, frames, *words_of, hardware)
    asked = {}
    for unit in rows.units([0]):
        for step in kitchen.steps(unit):
            varied = [w for w in step.words if not w.startswith(("output=", "cams=", "trained="))]
            asked[(step.command, *varied)] = step
    for (stage, *_), step in asked.items():
        settings = compose(stage, list(step.words))
        refuse_foreign_code(settings)
        built = hydra.utils.instantiate(settings, _convert_="all")
        build_plan({"stage1": Stage1Plan, "stage2": Stage2Plan}[stage], built)
        # What self-training trains is built when the first round begins: too late to learn of it.
        encoder = settings.get("self_training", {}).get("segmenter", {}).get("encoder", "auto")
        if encoder != "auto":
            check_encoder(encoder)


def test_examples_of_the_help_are_commands_that_are_there() -> None:
    places = [ROOT / "conf" / "help" / "ablation.yaml", ROOT / "README.md"]
    lines = [line.strip() for place in places for line in place.read_text().splitlines()]
    start = "python -m weakseg.ablation "
    examples = [line.removeprefix(start) for line in lines if line.startswith(start)]
    assert len(examples) >= 5
    for example in examples:
        plan = plan_of(shlex.split(example, comments=True))
        assert read_study(plan.study, weights=plan.weights, only=plan.only).rows


def plan_of(words: list[str]) -> AblationPlan:
    config = compose("ablation", words)
    return cast(AblationPlan, build_plan(AblationPlan, {**config, "data": None}))


def compose(command: str, words: list[str]) -> dict[str, Any]:
    """Resolve a configuration as the command line would."""
    plans = {"ablation": AblationPlan, "stage1": Stage1Plan, "stage2": Stage2Plan}
    ConfigStore.instance().store(name=f"{command}_plan", node=plans[command])
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        given = _rewrite_arguments(words, command)
        config = hydra.compose(command, given, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        if "data" in OmegaConf.missing_keys(config):
            config.data = {}
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    finally:
        HydraConfig.instance().cfg = None
