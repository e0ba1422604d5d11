"""What changes the products is fingerprinted, and nothing else; frames and labels are checked."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from doors import Chain
from torch import nn

from weakseg.artifacts import RunFolder, fingerprint, load_run
from weakseg.data import DataError, Frame
from weakseg.errors import ArtifactError
from weakseg.plans import HardwarePlan
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.work import (
    find_run,
    frame_of,
    frames_of,
    require_both_labels,
    settle_hardware,
    what_counts,
)

CONFIG: dict[str, Any] = {
    "output": "runs/a",
    "overwrite": False,
    "seed": 0,
    "hardware": {"accelerator": "auto", "workers": 0, "threads": 0},
    "tracker": {"_target_": "weakseg.tracking.WandbTracker", "mode": "offline"},
    "tracking": {"name": ""},
    "report_frames": 4,
    "data": {"_target_": "weakseg.data.FolderSource", "folder": "frames"},
    "cams": "latest",
    "pseudo_masks": "latest",
    "sam_checkpoint": None,
    "trained": None,
    "classifier": {"name": "resnet50", "weights": "hub", "pooling": "avg"},
    "segmenter": {"encoder": "auto", "encoder_weights": "auto"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
    "fit": {"epochs": 6, "precision": "auto", "workers": 0, "log_every": 10, "seed": 0},
    "refine": {"steps": {"crf": {"iterations": 5, "threads": 0}, "sam": {"checkpoint": None}}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, name = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    assert name in node
    node[name] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("output", "elsewhere"),
        ("overwrite", True),
        ("report_frames", 9),
        ("hardware.accelerator", "gpu"),
        ("hardware.workers", 8),
        ("tracker.mode", "online"),
        ("tracking.name", "mine"),
        ("cams", "runs/b"),
        ("pseudo_masks", "runs/b"),
        ("trained", "runs/b"),
        ("sam_checkpoint", "moved/sam.safetensors"),
        ("data.folder", "moved/frames"),
        ("classifier.weights", "moved/resnet50.safetensors"),
        ("segmenter.encoder_weights", "moved/resnet50.safetensors"),
        ("fit.workers", 8),
        ("fit.log_every", 1),
        ("refine.steps.crf.threads", 2),
        ("refine.steps.sam.checkpoint", "moved/sam.safetensors"),
    ],
)
def test_what_cannot_change_products_does_not_count(path: str, value: Any) -> None:
    assert fingerprint(what_counts(changed(path, value))) == fingerprint(what_counts(CONFIG))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("optimizer.lr", 2e-3),
        ("optimizer._target_", "torch.optim.SGD"),
        ("classifier.name", "resnet101"),
        ("classifier.pooling", "gem"),
        ("fit.epochs", 7),
        ("fit.precision", "bf16"),
        ("refine.steps.crf.iterations", 6),
    ],
)
def test_what_changes_products_counts(path: str, value: Any) -> None:
    assert fingerprint(what_counts(changed(path, value))) != fingerprint(what_counts(CONFIG))


def test_order_of_lists_counts() -> None:
    one = what_counts({"inference": {"scales": [1.0, 1.5]}})
    two = what_counts({"inference": {"scales": [1.5, 1.0]}})
    assert fingerprint(one) != fingerprint(two)


# ---- the run before


def test_latest_is_the_newest_run_of_the_kind(chain: Chain) -> None:
    beside = str(chain.root / "runs" / "stage2" / "mine")
    assert find_run("latest", kind="stage1", beside=beside).path == chain.run_of("stage1")


POINTS = {
    "-m": "runs/stage2/crf/refine=crf,seed=1",
    "wandb agent": "runs/sweeps/sweep3/run7",
    "weakseg.sweep": "runs/sweeps/mine/points/refine=crf",
    "of a chain in a sweep": "runs/sweeps/mine/points/refine=crf/stage2",
    "weakseg.sweep elsewhere": "out/points/refine=crf",
    "one folder": "mine",
}


def finished(folder: Path) -> None:
    names = {"settings": {}, "inputs": {"frames": folder.name}, "config": {}, "data": {}}
    with RunFolder.open(folder, kind="stage1", **names) as run:
        run.finish({})


@pytest.mark.parametrize("is_absolute", [False, True])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_latest_of_a_sweeps_point_is_that_of_a_single_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, is_absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "runs" / "stage1" / "vit"
    finished(own)
    # Later ones, of sweeps, are taken by name alone; `out` and `mine` are known by their file.
    for other in ("runs/sweeps/sweep3/run1", "runs/sweeps/mine/shared/stage1-a", "out/points/b"):
        finished(tmp_path / other)
    for sweep in ("runs/sweeps/mine", "out"):
        (tmp_path / sweep / "sweep.json").write_text("{}")
    beside = str(tmp_path / point) if is_absolute else point
    assert find_run("latest", kind="stage1", beside=beside).path.resolve() == own


def test_latest_that_is_not_there_tells_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "elsewhere" / "stage1" / "vit")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = r"^runs/stage2, runs hold no finished stage1 run \(those of sweeps .*: run `python"
    with pytest.raises(ArtifactError, match=words):
        find_run("latest", kind="stage1", beside=POINTS["-m"])


def test_latest_of_a_point_outside_the_working_directory_stays_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    beside = str(tmp_path / "disk" / POINTS["-m"])
    finished(tmp_path / "disk" / "somebody" / "vit")
    with pytest.raises(ArtifactError, match="disk/runs/stage2 holds no finished stage1 run"):
        find_run("latest", kind="stage1", beside=beside)
    own = tmp_path / "disk" / "runs" / "stage1" / "vit"
    finished(own)
    assert find_run("latest", kind="stage1", beside=beside).path == own


def test_named_run_must_be_of_the_kind(chain: Chain) -> None:
    with pytest.raises(ArtifactError, match="stage2"):
        find_run(str(chain.run_of("stage1")), kind="stage2", beside="runs/a/b")


def test_frames_of_a_run_are_those_of_its_source(chain: Chain) -> None:
    frames = frames_of(load_run(chain.run_of("stage2")))
    assert [frame.id for frame in frames] == sorted(frame.id for frame in frames)
    assert {frame.split for frame in frames} == {"train", "val", "test"}
    assert all(frame.path.is_file() for frame in frames)


def test_row_without_a_sequence_is_a_frame_too() -> None:
    row = {"id": "a", "path": "/a.png", "label": "1", "scene": "s", "split": "val"}
    assert frame_of(row) == Frame("a", Path("/a.png"), 1, "s", "val")


@pytest.mark.parametrize(
    ("labels", "words"), [([1, 1], "only smoke f"), ([0], "only smoke-free"), ([], "no frames")]
)
def test_split_with_one_label_is_refused(labels: list[int], words: str) -> None:
    frames = [Frame(f"f{i}", Path("/a"), label, "s", "val") for i, label in enumerate(labels)]
    with pytest.raises(DataError, match=words):
        require_both_labels(frames, "val")


def test_both_labels_are_enough() -> None:
    require_both_labels([Frame(f"f{i}", Path("/a"), i, "s", "val") for i in (0, 1)], "val")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_refused() -> None:
    assert settle_hardware(HardwarePlan(), seed=0).type == "cpu"
    with pytest.raises(ArtifactError, match="hardware"):
        settle_hardware(HardwarePlan(accelerator="gpu"), seed=0)


# ---- learning rates


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.old = nn.Linear(2, 2)
        self.new = nn.Linear(2, 1)

    def new_parameters(self) -> list[nn.Parameter]:
        return list(self.new.parameters())


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


def test_new_parameters_learn_faster_and_keep_their_weight_decay() -> None:
    model = TwoParts()
    matrices = [model.old.weight, model.new.weight]
    vectors = [model.old.bias, model.new.bias]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = with_faster_head(adamw, model, 10)(groups)
    found = {
        id(parameter): (round(group["lr"], 9), group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found[id(model.old.weight)] == (0.01, 0.1)
    assert found[id(model.new.weight)] == (0.1, 0.1)
    assert found[id(model.old.bias)] == (0.01, 0.0)
    assert found[id(model.new.bias)] == (0.1, 0.0)
    assert all("is_new" not in group for group in optimizer.param_groups)


def test_factor_of_one_is_one_rate_for_all() -> None:
    model = TwoParts()
    optimizer = with_faster_head(adamw, model, 1)([{"params": list(model.parameters())}])
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_factor_must_be_positive() -> None:
    with pytest.raises(ValueError, match="head_lr_factor must be above 0, got 0"):
        with_faster_head(adamw, TwoParts(), 0)
