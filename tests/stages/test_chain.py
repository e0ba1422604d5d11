"""A chain runs its stages one on the other, and tells what they measured in one summary."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from doors import STAGES, Doors

from weakseg.artifacts import Manifest
from weakseg.launch import _rewrite_arguments
from weakseg.plans import ChainPlan
from weakseg.stages import chain
from weakseg.stages.chain import _turn, links_of
from weakseg.stages.running import Step, StepFailed
from weakseg.targets import ConfigurationError
from weakseg.tracking import NoTracker
from weakseg.training import Interrupted

CONFIG: dict[str, Any] = {
    "hardware": {"threads": 1},
    "tracker": {"mode": "offline", "project": "smoke", "entity": None, "artifacts": True},
    "tracking": {"group": "g", "point": ["stage1.cam=cam", "stage2.refine=crf", "seed=1"]},
}


def plan(**settings: Any) -> ChainPlan:
    return ChainPlan(**{"output": "out", "seed": 1, **settings})


def test_each_stage_starts_from_the_one_before() -> None:
    first, second, measured = links_of(plan(stage2=["refine=crf"], evaluate=["split=val"]), CONFIG)
    assert "output=out/stage1" in first.step.words
    assert second.step.words[0] == "refine=crf"
    assert {"cams=out/stage1", "seed=1", "hardware.threads=1"} <= set(second.step.words)
    assert {"split=val", "run=out/stage2", "name=chain"} <= set(measured.step.words)
    assert not [word for word in measured.step.words if word.startswith(("output=", "track"))]


def test_stages_are_tracked_as_the_chain_is_with_what_bears_on_them() -> None:
    first, second, _ = links_of(plan(), CONFIG)
    assert {"tracker.mode=offline", "tracker.project=smoke", "tracking.group=g"} <= set(
        second.step.words
    )
    assert "tracking.point=['stage1.cam=cam','seed=1']" in first.step.words
    assert "tracking.point=['stage1.cam=cam','stage2.refine=crf','seed=1']" in second.step.words
    assert "tracking.name=stage2-out" in second.step.words
    untracked = links_of(plan(), {**CONFIG, "tracker": {"_target_": "x"}})
    assert "tracker=none" in untracked[0].step.words


def test_words_of_the_user_win() -> None:
    chosen = plan(stage1=["seed=5", "tracker.mode=disabled"], stage2=["cams=mine"])
    first, second, _ = links_of(chosen, CONFIG)
    assert [word for word in first.step.words if word.startswith("seed=")] == ["seed=5"]
    assert "tracker.mode=offline" not in first.step.words
    assert "cams=out/stage1" not in second.step.words


def test_shared_stage_1_is_the_same_for_the_same_settings_alone() -> None:
    def folder(**settings: Any) -> Path:
        return links_of(plan(shared="all", **settings), CONFIG)[0].folder

    assert folder(stage2=["refine=crf"]) == folder(stage2=["refine=none"], output="other")
    assert folder(seed=2) != folder()
    assert folder(stage1=["fit.epochs=3"]) != folder()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stages": []}, "stages must be some of stage1, stage2, stage3, evaluate"),
        ({"stages": ["stage2", "stage1"]}, "in that order"),
        (
            {"stages": ["stage1"], "stage2": ["refine=crf"]},
            "stage2: its settings count for nothing",
        ),
        ({"stages": ["stage2"]}, "stage2 needs the run it starts from: .* stage2.cams=RUN"),
        ({"stages": ["evaluate"]}, "evaluate.run=RUN"),
        ({"stage1": ["output=x"]}, "stage1.output: its run lies in the chain's"),
    ],
)
def test_chain_that_cannot_hold_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        links_of(plan(**settings), CONFIG)


def test_settings_of_a_stage_are_typed_as_its_own() -> None:
    words = ["stage1.data.index=a b.csv", "stage2.refine=crf+sam", "stage1.seed=1", "output=x"]
    assert _rewrite_arguments(words, "chain") == [
        "output=x",
        "stage1=['data.index=a b.csv','seed=1']",
        "stage2=['refine=crf+sam']",
    ]
    with pytest.raises(SystemExit, match="a chain takes no -m"):
        _rewrite_arguments(["-m", "stage2.refine=crf,none"], "chain")


def test_those_who_share_a_run_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with _turn(tmp_path / "turn", is_stopped=lambda: False):
            order.append("second")

    with _turn(tmp_path / "turn", is_stopped=lambda: False):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        with pytest.raises(Interrupted), _turn(tmp_path / "turn", is_stopped=lambda: True):
            pass
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]


class Stages:
    """Stands for the processes of a chain's stages; `refuses` was made otherwise."""

    def __init__(self) -> None:
        self.environment: dict[str, str | None] = {}
        self.started: list[str] = []
        self.refuses = ""

    def __call__(self, environment: dict[str, str | None]) -> Stages:
        self.environment = environment
        return self

    def run(self, step: Step, log_file: Path) -> int:
        folder = next(word[7:] for word in step.words if word.startswith("output="))
        again = ["again"] if "overwrite=true" in step.words else []
        self.started.append(" ".join([step.name, *again]))
        if self.refuses == step.name and not again:
            with log_file.open("a") as said:
                said.write(f"error: {folder} holds a {step.name} run made otherwise (frames: a, ")
                said.write("not b): choose another output folder, or overwrite=true\n")
            return 1
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "summary.json").write_text('{"n": 1}')
        return 0


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    monkeypatch.chdir(tmp_path)
    made = Stages()
    monkeypatch.setattr(chain, "Terminal", made)
    return made


def short(**settings: Any) -> ChainPlan:
    return plan(stages=["stage1", "stage2"], tracker=NoTracker(), **settings)


def test_complete_chain_asks_its_stages_and_leaves_them_as_they_are(stages: Stages) -> None:
    chain.run(short(), CONFIG)
    told = Path("out/summary.json").read_text()
    chain.run(short(), CONFIG)
    assert stages.started == ["stage1", "stage2"] * 2
    assert Path("out/summary.json").read_text() == told
    stages.refuses = "stage1"
    words = r"^stage1: out/stage1 holds .* \(frames: a, not b\): the chain is complete, .*=true$"
    with pytest.raises(StepFailed, match=words):
        chain.run(short(), CONFIG)
    assert stages.started[4:] == ["stage1"]
    assert Manifest.read(Path("out")).status == "complete"


def test_chain_under_way_makes_its_own_again_but_never_what_others_share(stages: Stages) -> None:
    stages.refuses = "stage1"
    with pytest.raises(StepFailed, match=r"\(frames: a, not b\): other chains .* another shared="):
        chain.run(short(shared="shared"), CONFIG)
    assert stages.started == ["stage1"]
    chain.run(short(output="other"), CONFIG)
    assert stages.started[1:] == ["stage1", "stage1 again", "stage2"]


def test_stages_have_a_wandb_service_of_their_own(stages: Stages) -> None:
    chain.run(short(), CONFIG)
    assert stages.environment["WANDB_SERVICE"] is None


@pytest.mark.slow
def test_chain_of_real_stages_ends_in_one_summary(
    doors: Doors, tiny_folder: Path, tmp_path: Path
) -> None:
    words = {
        "stage1": [
            *(word for word in STAGES["stage1"] if not word.startswith("tracker")),
            *("data=index", f"data.index={tiny_folder / 'index.csv'}", "fit.epochs=1"),
        ],
        "stage2": ["refine=none", "threshold=otsu"],
        "evaluate": ["split=val", "resamples=0", "report_frames=0"],
    }
    typed = [f"{stage}.{word}" for stage, own in words.items() for word in own]
    group = ("tracking.group=g", "tracking.point=['seed=3']", "tracker=none", "seed=3")
    doors.must("chain", *typed, *group, "output=out", "hardware.threads=1", cwd=tmp_path)
    run = tmp_path / "out"
    summary = json.loads((run / "summary.json").read_text())
    assert {"stage1/val/auroc", "stage2/threshold", "evaluate/iou_per_image"} <= set(summary)
    for folder in (run, run / "stage1", run / "stage2"):
        manifest = Manifest.read(folder)
        assert manifest.status == "complete"
        if folder == run:
            assert manifest.config["tracking"]["group"] == "g"
            assert manifest.config["tracking"]["point"] == ["seed=3"]
        assert manifest.config["seed"] == 3
    assert 'href="stage2/report.html"' in (run / "report.html").read_text()
