"""Runs of any sweep, of Hydra's `-m` or wandb's agent too, know their group and their point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from weakseg.launch import _rewrite_arguments, _separate_sweep_outputs
from weakseg.plans import Stage2Plan


def launched(overrides: list[str], *, mode: RunMode = RunMode.RUN, dirname: str = "") -> DictConfig:
    """Compose as Hydra does, and let the launcher place the run."""
    ConfigStore.instance().store(name="stage2_plan", node=Stage2Plan)
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        config = hydra.compose("stage2", overrides, return_hydra_config=True)
    with open_dict(config):
        config.hydra.mode = mode
        config.hydra.job.override_dirname = dirname
        config.hydra.job.num = 0
        config.hydra.sweep.dir = "runs/sweeps/today"
    HydraConfig.instance().set_config(config)
    try:
        _separate_sweep_outputs(config)
        chosen = OmegaConf.masked_copy(config, ["output", "tracking", "tracker"])
        OmegaConf.resolve(chosen)
    finally:
        HydraConfig.instance().cfg = None
    return chosen


def test_points_of_hydras_own_sweep_know_what_varies() -> None:
    words = _rewrite_arguments(["-m", "refine=none,crf", "cams=x", "seed=0,1"], "stage2")
    fixed = words[-1]
    config = launched(
        ["refine=crf", "cams=x", "seed=1", fixed],
        mode=RunMode.MULTIRUN,
        dirname="refine=crf,seed=1",
    )
    assert config.output == "runs/stage2/crf/refine=crf,seed=1"
    assert config.tracking.group == "today"
    assert list(config.tracking.point) == ["refine=crf", "seed=1"]
    assert config.tracker.mode == "offline"


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what `wandb agent` sets for a run."""
    config_util = pytest.importorskip("wandb.sdk.lib.config_util")
    chosen = tmp_path / "config-run7.yaml"
    parameters: dict[str, Any] = {"refine": {"value": "crf"}, "fit.epochs": {"value": 3}}
    config_util.save_config_file_from_dict(str(chosen), parameters)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep3")
    monkeypatch.setenv("WANDB_RUN_ID", "run7")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(chosen))


@pytest.mark.usefixtures("agent")
def test_run_of_wandbs_agent_has_a_folder_of_its_own_and_reports_to_the_server() -> None:
    config = launched(["refine=crf", "cams=x"])
    assert config.output == "runs/sweeps/sweep3/run7"
    assert config.tracking.group == "sweep3"
    assert list(config.tracking.point) == ["refine=crf", "fit.epochs=3"]
    assert config.tracker.mode == "online"


@pytest.mark.usefixtures("agent")
def test_words_of_the_user_win_over_the_agents() -> None:
    words = ["output=mine", "tracker.mode=offline", "tracking.group=ours"]
    config = launched(["cams=x", *words])
    assert (config.output, config.tracker.mode, config.tracking.group) == (
        "mine",
        "offline",
        "ours",
    )


def test_single_run_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    config = launched(["refine=crf", "cams=x"])
    assert config.output == "runs/stage2/crf"
    assert list(config.tracking.point) == []
