"""A stage killed anywhere and started again ends with the bytes of an undisturbed run.

`WEAKSEG_KILLS=10 pytest tests/stages/test_killed.py` kills each stage ten times.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from doors import STAGES, Accident, Chain, Doors

from weakseg.artifacts import Manifest, load_run

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("WEAKSEG_KILLS", "2"))
EPOCHS = 2
DRAWN = 2 + 3 * 12
"""Renamings of the drawing of 12 scenes."""
PRODUCTS = (
    "cams/*.npz",
    "scores/*.png",
    "masks/*.png",
    "frames.csv",
    "calibration.json",
    "classifier.json",
    "threshold.json",
    "segmenter.json",
    "inference.json",
    "checkpoints/best.safetensors",
)
EXTRAS = {
    "stage1": ("data=synthetic", "data.scenes=12", "data.frames_per_scene=2", "data.size=64"),
    "stage2": ("refine=crf", "threshold=fixed", "threshold.value=0.1"),
    "stage3": (),
}


def arguments(stage: str, root: Path) -> tuple[str, ...]:
    given = [item for item in STAGES[stage] if not item.startswith("refine=")]
    given += [*EXTRAS[stage], f"output={root / stage}"]
    if stage == "stage1":
        given += [f"data.folder={root / 'data'}"]
    if stage == "stage2":
        given += [f"cams={root / 'stage1'}"]
    if stage == "stage3":
        given += [f"pseudo_masks={root / 'stage2'}"]
    if stage != "stage2":
        given += [f"fit.epochs={EPOCHS}", "fit.checkpoint_seconds=0"]
    return tuple(given)


def products(run: Path) -> dict[str, bytes]:
    """Give every product's bytes; without where the frames lie, and the time it took."""
    found = [path for pattern in PRODUCTS for path in sorted(run.glob(pattern))]
    files = {str(path.relative_to(run)): path.read_bytes() for path in found}
    files["frames.csv"] = re.sub(rb"[^,]*/data/", b"", files["frames.csv"])
    summary = json.loads((run / "summary.json").read_text())
    timeless = {key: value for key, value in summary.items() if not key.startswith("seconds")}
    return files | {"summary.json": json.dumps(timeless).encode()}


def log_rows(run: Path) -> list[dict[str, float]]:
    if not (run / "metrics.jsonl").exists():
        return []
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(doors: Doors, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The three stages, and in `renamings` how many files each finished."""
    root = tmp_path_factory.mktemp("undisturbed")
    for stage in STAGES:
        done = doors.must(stage, *arguments(stage, root), cwd=root)
        (root / f"{stage}.told").write_text(json.dumps([done.renamings, done.seconds]))
    return Chain(root, {stage: arguments(stage, root) for stage in STAGES})


def before(stage: str, undisturbed: Chain, root: Path) -> Chain:
    """Copy what comes before a stage to `root`, frames included, where their paths still hold."""
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        shutil.copytree(undisturbed.root / earlier, root / earlier)
    given = {name: arguments(name, root) for name in STAGES}
    return Chain(root, given)


def accidents(chance: random.Random, renamings: int, seconds: float) -> list[Accident]:
    """Die while a file is finished, early and late, and at any other time."""
    found = []
    for number in range(KILLS):
        if number % 3 == 2:
            found.append(Accident("SIGKILL", "seconds", chance.uniform(0.05, 0.8 * seconds)))
        else:
            latest = max(3, 2 * renamings // (KILLS + 1))
            at = "after" if number % 3 else "before"
            found.append(Accident("SIGKILL", at, chance.randint(1, latest)))
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_killed_stage_ends_with_the_same_bytes(
    doors: Doors, undisturbed: Chain, tmp_path: Path, stage: str
) -> None:
    chain = before(stage, undisturbed, tmp_path)
    renamings, seconds = json.loads((undisturbed.root / f"{stage}.told").read_text())
    deaths, afresh = 0, ()
    for accident in accidents(random.Random(stage), renamings, seconds):
        given = (*chain.arguments[stage], *afresh)
        done = doors.run(stage, *given, cwd=tmp_path, accident=accident)
        assert done.code in (-9, 0), done.err
        deaths += done.code == -9
        # Finished before its time to die came.
        afresh = ("overwrite=true",) if done.code == 0 else ()
    assert deaths >= KILLS // 2
    doors.must(stage, *chain.arguments[stage], cwd=tmp_path)
    whole, killed = undisturbed.root / stage, tmp_path / stage
    expected = products(whole)
    found = products(killed)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert log_rows(killed) == log_rows(whole)
    assert load_run(killed).manifest.inputs == load_run(whole).manifest.inputs
    assert list(killed.rglob(".partial-*")) == []


@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_saves_and_says_how_to_go_on(
    doors: Doors, undisturbed: Chain, tmp_path: Path, stage: str
) -> None:
    chain = before(stage, undisturbed, tmp_path)
    renamings, _ = json.loads((undisturbed.root / f"{stage}.told").read_text())
    drawn = DRAWN if stage == "stage1" else 0
    for moment in (4 + drawn, renamings // 3):
        done = doors.run(
            stage,
            *chain.arguments[stage],
            cwd=tmp_path,
            accident=Accident("SIGTERM", "after", moment),
        )
        assert "stopped by SIGTERM" in done.sentence
        assert "run the same command again" in done.sentence
        assert Manifest.read(tmp_path / stage).status == "interrupted"
    doors.must(stage, *chain.arguments[stage], cwd=tmp_path)
    assert products(tmp_path / stage) == products(undisturbed.root / stage)


def test_sigterm_before_the_work_ends_in_a_sentence_too(doors: Doors, tmp_path: Path) -> None:
    given = arguments("stage1", tmp_path)
    while_drawing = Accident("SIGTERM", "after", 5)
    done = doors.run("stage1", *given, cwd=tmp_path, accident=while_drawing)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("stopped: run the same command again")
    assert "Traceback" not in done.err


def test_unfinished_run_is_no_input(doors: Doors, undisturbed: Chain, tmp_path: Path) -> None:
    chain = before("stage2", undisturbed, tmp_path)
    doors.run(
        "stage2",
        *chain.arguments["stage2"],
        cwd=tmp_path,
        accident=Accident("SIGKILL", "after", 20),
    )
    done = doors.run("stage3", *chain.arguments["stage3"], cwd=tmp_path)
    assert "unfinished" in done.sentence
    assert "python -m weakseg.stage2" in done.sentence


@pytest.mark.parametrize("stage", STAGES)
def test_full_disk_loses_nothing(
    doors: Doors, undisturbed: Chain, tmp_path: Path, stage: str
) -> None:
    chain = before(stage, undisturbed, tmp_path)
    renamings, _ = json.loads((undisturbed.root / f"{stage}.told").read_text())
    for moment in (2, renamings // 2):
        done = doors.run(
            stage,
            *chain.arguments[stage],
            cwd=tmp_path,
            accident=Accident("ENOSPC", "after", moment),
        )
        assert "the disk is full" in done.sentence
    doors.must(stage, *chain.arguments[stage], cwd=tmp_path)
    assert products(tmp_path / stage) == products(undisturbed.root / stage)
