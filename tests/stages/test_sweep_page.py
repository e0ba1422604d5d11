"""The page of a sweep holds the curves and the masks of its points, wherever their runs lie."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doors import Chain
from fake_python import make_fake_python

from weakseg.artifacts import read_frames, read_mask_ids, write_cam
from weakseg.data import read_frame
from weakseg.plans import ChainPlan, HardwarePlan, SweepPlan
from weakseg.report import overlay
from weakseg.report.pictures import data_uri
from weakseg.stages.chain import links_of
from weakseg.stages.sweeps import pictures, running
from weakseg.stages.sweeps.command import run
from weakseg.stages.sweeps.file import Metric, SweepFile
from weakseg.stages.sweeps.folders import folders_of
from weakseg.stages.sweeps.ledger import FAILED, FINISHED, Ledger, Point
from weakseg.stages.sweeps.page import write_sweep_page
from weakseg.stages.sweeps.pictures import most_promising

CONFIG: dict[str, Any] = {
    "output": "out",
    "seed": 1,
    "stages": ["stage1", "stage2", "evaluate"],
    "stage1": ["experiment=demo"],
    "hardware": {"threads": 1},
    "tracker": {"_target_": "weakseg.tracking.NoTracker"},
    "tracking": {"group": "g", "point": []},
}
FILE = SweepFile("tiny", "grid", {}, "chain", (), Metric("iou", "maximize"), None, False, "")


def point(number: int, metric: float | None = 0.5, **parameters: Any) -> Point:
    status = FINISHED if metric is not None else FAILED
    named = parameters or {"refine": "none", "seed": number}
    return Point(
        number, f"p{number}", named, (), status=status, metric=metric, run=f"points/{number}"
    )


def write_manifest(folder: Path, **changes: Any) -> None:
    """Write a record, or change fields of the one that is there."""
    path = folder / "manifest.json"
    folder.mkdir(parents=True, exist_ok=True)
    blank = {"kind": "chain", "status": "complete", "settings": {}, "inputs": {}, "version": "1"}
    known = json.loads(path.read_text()) if path.exists() else blank
    path.write_text(json.dumps(known | changes))


@pytest.fixture
def chains(chain: Chain, tmp_path: Path) -> Path:
    """A sweep of two chains that had their stage 1 in common, moved since."""
    output = tmp_path / "sweep"
    shutil.copytree(chain.run_of("stage1"), output / "shared" / "stage1-abc")
    for number in (0, 1):
        own = output / "points" / str(number)
        write_manifest(own, config=CONFIG)
        shutil.copytree(chain.run_of("stage2"), own / "stage2")
        write_manifest(own / "stage2", config={"cams": "/gone/shared/stage1-abc"})
    return output


def told(output: Path, points: list[Point]) -> dict[str, Any]:
    """Write the page and read its data."""
    text = write_sweep_page(output, FILE, points, len(points)).read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_chain_has_its_masks_and_the_curves_of_the_stage_1_it_shares(chains: Path) -> None:
    data = told(chains, [point(0), point(1)])
    logged = (chains / "shared" / "stage1-abc" / "metrics.jsonl").read_text().splitlines()
    expected = [one["val/selection"] for one in map(json.loads, logged) if "val/selection" in one]
    for number in "01":
        assert [value for _, value in data["curves"]["stage1/val/selection"][number]] == expected
    stage2 = chains / "points" / "1" / "stage2"
    rows = {row["id"]: row for row in read_frames(stage2 / "frames.csv")}
    shown = [one["id"] for one in data["pictures"]["frames"]]
    assert [rows[name]["split"] for name in shown] == 3 * ["val"]
    assert [rows[name]["label"] for name in shown] == ["1", "1", "0"]
    masks = [read_mask_ids(stage2 / "masks" / f"{name}.png") for name in shown]
    pixels = [read_frame(rows[name]["path"]) for name in shown]
    drawn = [data_uri(overlay(*one), long_side=176) for one in zip(pixels, masks, strict=True)]
    assert data["pictures"]["of"] == {"0": drawn, "1": drawn}
    assert data["pictures"]["frames"][0]["picture"] == data_uri(pixels[0], long_side=176)


def test_the_page_says_how_a_finished_run_is_made_anew(chains: Path) -> None:
    text = write_sweep_page(chains, FILE, [point(0)], 1).read_text(encoding="utf-8")
    assert "run again" not in text
    assert "A finished run is left as it is: add <code>overwrite=true</code>" in text


def test_each_frame_is_decoded_once(chains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[str] = Counter()

    def count(path: str) -> Any:
        decoded[path] += 1
        return read_frame(path)

    monkeypatch.setattr(pictures, "read_frame", count)
    told(chains, [point(0), point(1)])
    assert len(decoded) == 3 and set(decoded.values()) == {1}


def test_stage_1_is_shown_by_its_evidence_whatever_the_label(chain: Chain, tmp_path: Path) -> None:
    output = tmp_path / "sweep"
    for number in (0, 1):
        shutil.copytree(chain.run_of("stage1"), output / "points" / str(number))
    changed = output / "points" / "1"
    rows = {row["id"]: row for row in read_frames(changed / "frames.csv") if row["split"] == "val"}
    for name, row in rows.items():
        # The network is sure of smoke where the label denies it, and of none where there is some.
        logit = -50.0 if row["label"] == "1" else 50.0
        write_cam(changed / "cams" / f"{name}.npz", np.full((2, 2), 1e4, np.float32), logit)
    data = told(output, [point(0), point(1)])
    assert set(data["curves"]["val/selection"]) == {"0", "1"}
    assert len(data["pictures"]["of"]["0"]) == 3
    for k, frame in enumerate(data["pictures"]["frames"]):
        pixels = read_frame(rows[frame["id"]]["path"])
        mask = np.full(pixels.shape[:2], frame["label"] == "no smoke", np.uint8)
        assert data["pictures"]["of"]["1"][k] == data_uri(overlay(pixels, mask), long_side=176)


def test_what_cannot_be_read_costs_its_own_pictures_alone(chains: Path) -> None:
    write_manifest(chains / "points" / "0" / "stage2", status="interrupted")
    (chains / "shared" / "stage1-abc" / "metrics.jsonl").unlink()
    never = dataclasses.replace(point(2, None), run="")
    data = told(chains, [point(0), point(1), never, point(3, None)])
    assert list(data["pictures"]["of"]) == ["1"]
    assert data["curves"] == {}
    assert folders_of(chains, never) == folders_of(chains, point(3)) == {}


def test_stage_1_of_a_chain_is_found_by_what_was_recorded(chains: Path) -> None:
    shared, own = chains / "shared" / "stage1-abc", chains / "points" / "0"
    assert folders_of(chains, point(0))["stage1"] == shared
    # A chain that was given its CAMs has no stage 1 of its own to tell of.
    write_manifest(own, config={**CONFIG, "stages": ["stage2", "evaluate"]})
    assert "stage1" not in folders_of(chains, point(0))
    # Without a stage 2, or before there is one, the chain's own settings say it.
    config = {**CONFIG, "stages": ["stage1", "evaluate"], "shared": str(chains / "shared")}
    write_manifest(own, config=config)
    shutil.rmtree(own / "stage2")
    plan = ChainPlan(
        output="out", seed=1, stages=config["stages"], stage1=["experiment=demo"], shared="shared"
    )
    name = links_of(plan, config)[0].folder.name
    assert "stage1" not in folders_of(chains, point(0))
    shared.rename(chains / "shared" / name)
    assert folders_of(chains, point(0)) == {"": own, "stage1": chains / "shared" / name}
    (own / "stage1").mkdir()
    assert folders_of(chains, point(0))["stage1"] == own / "stage1"


def test_every_setting_has_its_best_pictured_before_any_has_its_second() -> None:
    best = [point(k, 0.9 - 0.001 * k, refine="crf", seed=k) for k in range(60)]
    others = [
        point(100 + 2 * k + seed, 0.1 * k + 0.01 * seed, refine=f"other{k}", seed=seed)
        for k in range(3)
        for seed in (0, 1)
    ]
    failed = point(200, None, refine="failed", seed=0)
    found = [one.number for one in most_promising([*others, failed, *best], 1.0)]
    assert found[:8] == [0, 105, 103, 101, 1, 104, 102, 100]
    assert found[8:] == list(range(2, 42)) and len(found) == 48
    less = most_promising([*others, *best], -1.0)
    assert [one.number for one in less[:4]] == [100, 102, 104, 59]


def test_the_next_point_is_taken_before_the_page_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake").mkdir()
    monkeypatch.setattr(sys, "executable", str(make_fake_python(tmp_path / "fake")))
    content = {
        "method": "grid",
        "parameters": {"seed": {"values": [0, 1, 2]}},
        "command": ["python", "-m", "weakseg.stage1", "${args_no_hyphens}"],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    known: list[int] = []

    def draw(output: Path, *_: Any) -> None:
        known.append(len(Ledger(output).points()))

    monkeypatch.setattr(running, "write_sweep_page", draw)
    run(SweepPlan(file="mine.yaml", output="out", hardware=HardwarePlan(threads=1)), {})
    # When the folder is made, after each of the three points, and at the end.
    assert known == [0, 2, 3, 3, 3]
