"""Rounds of self-training take better masks or none, stop without masks, and can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from doors import Accident, Chain, Doors

from weakseg.artifacts import (
    FinishedRun,
    fingerprint,
    load_run,
    read_json,
    read_mask_ids,
    read_scores,
)
from weakseg.labels import SMOKE
from weakseg.plans import SelfTrainingPlan
from weakseg.refine import confidence
from weakseg.stages.refinement.self_training import stop_rule
from weakseg.stages.scores import mask_path
from weakseg.stages.work import what_counts

PERMISSIVE = {"tolerance": 1, "false_alarm_target": 1, "max_growth": 1000, "least_auroc": 0}
"""Tiny networks wander: let them, where a test is not about that."""
ROUNDS = (
    "threshold=fixed",
    "threshold.value=0.3",
    "segmenter@self_training.segmenter=unet",
    "self_training.image_size=32",
    "self_training.fit.batch_size=4",
    "self_training.fit.epochs=2",
    "self_training.fit.checkpoint_seconds=0",
    "self_training.optimizer.lr=0.003",
    "self_training.head_lr_factor=1",
    "self_training.inference.flip=false",
    "self_training.converged=1",
    *(f"self_training.{key}={value}" for key, value in PERMISSIVE.items()),
)
LEVEL = 1 / 255


def ask(chain: Chain, root: Path, *more: str) -> tuple[str, ...]:
    """Give the arguments of a stage 2 with rounds on the chain's CAMs."""
    given = [item for item in chain.arguments["stage2"] if not item.startswith("output=")]
    return (*given, *ROUNDS, f"cams={chain.run_of('stage1')}", f"output={root / 'run'}", *more)


def made(run: Path) -> dict[str, bytes]:
    """Give the bytes of all that a run has made, but for how long it took."""
    patterns = ("scores/*", "masks/*", "threshold.json", "frames.csv", "rounds/**/*")
    files = {path for pattern in patterns for path in run.glob(pattern) if path.is_file()}
    kept = [path for path in sorted(files) if path.name not in ("last.pt", "metrics.jsonl")]
    summary = json.loads((run / "summary.json").read_text())
    figures = {key: value for key, value in summary.items() if "second" not in key}
    contents = {str(path.relative_to(run)): path.read_bytes() for path in kept}
    return contents | {"summary.json": json.dumps(figures).encode()}


def same(run: Path, kind: str, other: Path) -> bool:
    """Tell whether two folders hold the same files of a kind."""
    mine = {path.name: path.read_bytes() for path in (run / kind).iterdir()}
    return mine == {path.name: path.read_bytes() for path in (other / kind).iterdir()}


@pytest.fixture(scope="module")
def two(doors: Doors, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A finished stage 2 with two rounds; in `told` what it said and how many files it renamed."""
    root = tmp_path_factory.mktemp("rounds")
    done = doors.must("stage2", *ask(chain, root, "rounds=2"), cwd=root)
    (root / "told").write_text(json.dumps([done.err, done.renamings]))
    return load_run(root / "run", kind="stage2")


# ---- what rounds leave


def test_the_last_accepted_round_becomes_the_runs_own(two: FinishedRun) -> None:
    told = read_json(two.path / "rounds" / "rounds.json")
    assert (told["accepted"], told["stopped"]) == (2, "all 2 rounds are done")
    assert [each["is_accepted"] for each in told["rounds"]] == [True, True, True]
    taken = two.path / "rounds" / "2"
    assert same(two.path, "masks", taken)
    assert same(two.path, "scores", taken)
    assert (two.path / "threshold.json").read_bytes() == (taken / "threshold.json").read_bytes()
    assert not same(two.path, "scores", two.path / "rounds" / "0")
    for row in two.frames:
        mask = read_mask_ids(mask_path(two, row["id"]))
        assert float(row["smoke_share"]) == pytest.approx((mask == SMOKE).mean(), abs=1e-6)


def test_round_0_is_what_a_run_without_rounds_makes(
    doors: Doors, chain: Chain, two: FinishedRun, tmp_path: Path
) -> None:
    doors.must("stage2", *ask(chain, tmp_path, "rounds=0"), cwd=tmp_path)
    plain = load_run(tmp_path / "run")
    assert same(two.path / "rounds" / "0", "masks", plain.path)
    assert same(two.path / "rounds" / "0", "scores", plain.path)
    assert not (plain.path / "rounds").exists()
    assert "weights of the self-training segmenter" not in plain.manifest.inputs
    assert "round/accepted" not in read_json(plain.summary_path)


def test_figures_go_to_the_summary_and_every_round_is_told(two: FinishedRun) -> None:
    told = read_json(two.path / "rounds" / "rounds.json")
    summary = read_json(two.summary_path)
    for each in told["rounds"]:
        for name, value in each["figures"].items():
            assert summary.get(f"round/{each['round']}/{name}") == value
    said, _ = json.loads((two.path.parent / "told").read_text())
    assert "round 1: learn from 8 frames, 4 with a mask" in said
    assert "round 2/2 accepted" in said
    assert "self-training takes round 2: all 2 rounds are done" in said


def test_figures_are_those_of_the_masks(two: FinishedRun) -> None:
    rows = [row for row in two.frames if row["split"] == "train" and row["label"] == "1"]
    ious, shares = [], []
    for row in rows:
        one = read_mask_ids(two.path / "rounds" / "1" / "masks" / f"{row['id']}.png") == SMOKE
        other = read_mask_ids(two.path / "rounds" / "0" / "masks" / f"{row['id']}.png") == SMOKE
        ious.append((one & other).sum() / (one | other).sum())
        shares.append(one.mean())
    figures = read_json(two.path / "rounds" / "rounds.json")["rounds"][1]["figures"]
    assert figures["agreement"] == pytest.approx(np.mean(ious))
    assert figures["smoke_share"] == pytest.approx(np.mean(shares))


def test_no_score_exceeds_the_classifiers_probability(two: FinishedRun) -> None:
    for row in two.frames:
        for number in ("1", "2"):
            scores = read_scores(two.path / "rounds" / number / "scores" / f"{row['id']}.png")
            assert scores.max() <= float(row["probability"]) + LEVEL


def test_pixels_weigh_by_their_distance_to_the_threshold(two: FinishedRun) -> None:
    paths = sorted((two.path / "rounds" / "1" / "weights").iterdir())
    smoky = [r["id"] for r in two.frames if r["split"] == "train" and r["label"] == "1"]
    assert [path.stem for path in paths] == sorted(smoky)
    for path in paths:
        scores = read_scores(two.path / "rounds" / "0" / "scores" / path.name)
        wanted = confidence(scores, threshold=0.3, floor=0.3)
        np.testing.assert_allclose(read_scores(path), wanted, atol=LEVEL / 2 + 1e-6)


def test_the_page_says_whose_masks_these_are(two: FinishedRun) -> None:
    assert "Self-training took round 2: all 2 rounds are done." in two.report_path.read_text()


def test_starting_weights_are_among_the_inputs(two: FinishedRun) -> None:
    assert len(two.manifest.inputs["weights of the self-training segmenter"]) == 64


# ---- settings


def test_masks_that_stand_still_end_the_rounds_early(
    doors: Doors, chain: Chain, tmp_path: Path
) -> None:
    more = ("rounds=3", "self_training.converged=0", "self_training.fit.epochs=1")
    doors.must("stage2", *ask(chain, tmp_path, *more), cwd=tmp_path)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["round/accepted"] == 1
    assert "converged" in summary["round/stopped"]


def test_scores_can_be_blended_and_refined_again(
    doors: Doors, chain: Chain, tmp_path: Path
) -> None:
    given = [item for item in ask(chain, tmp_path, "rounds=1") if item != "refine=none"]
    more = ("refine=crf", "self_training.blend=0.75", "self_training.refine_again=true")
    doors.must("stage2", *given, *more, "self_training.fit.epochs=1", cwd=tmp_path)
    paths = sorted((tmp_path / "run" / "rounds" / "1" / "scores").iterdir())
    assert len(paths) == 16
    for path in paths:
        before = read_scores(tmp_path / "run" / "rounds" / "0" / "scores" / path.name)
        blended = read_scores(path)
        assert (blended >= 0.75 * before - LEVEL).all()
        assert (blended <= 0.75 * before + 0.25 + LEVEL).all()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("self_training.blend=1", "self_training.blend must be below 1"),
        ("self_training.converged=2", "self_training.converged must lie in [0, 1]"),
        ("rounds=-1", "rounds must be at least 0"),
        ("threshold.value=1", "every pseudo-mask of round 0"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    doors: Doors, chain: Chain, tmp_path: Path, setting: str, words: str
) -> None:
    done = doors.run("stage2", *ask(chain, tmp_path, "rounds=1", setting), cwd=tmp_path)
    assert words in done.sentence


def test_settings_of_rounds_count_only_if_there_are_rounds() -> None:
    def counted(rounds: int, epochs: int, workers: int = 0) -> str:
        fit = {"epochs": epochs, "workers": workers}
        config = {"rounds": rounds, "self_training": {"fit": fit}, "refine": {"steps": {}}}
        return fingerprint(what_counts(config))

    assert counted(0, 1) == counted(0, 2) == fingerprint(what_counts({"refine": {"steps": {}}}))
    assert len({counted(0, 1), counted(1, 1), counted(1, 2), counted(2, 1)}) == 4
    assert counted(2, 1) == counted(2, 1, workers=4)


def test_error_names_the_setting() -> None:
    with pytest.raises(ValueError, match=r"self_training\.tolerance must lie in"):
        stop_rule(SelfTrainingPlan(tolerance=2))


# ---- interruptions


def finished_since(run: Path, name: str) -> int:
    """Count the files of a run that were finished after one of its rounds' files."""
    since = (run / "rounds" / name).stat().st_mtime_ns
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    return sum(path.stat().st_mtime_ns > since for path in files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("since", "later", "signal", "has", "lacks"),
    [
        ("2/learnt.json", -4, "SIGTERM", "2/checkpoints/last.pt", "2/learnt.json"),
        ("2/learnt.json", 8, "SIGKILL", "2/learnt.json", "2/threshold.json"),
        ("rounds.json", 9, "SIGKILL", "rounds.json", ""),
    ],
    ids=["while it learns", "while it looks", "while the round takes its place"],
)
def test_interrupted_rounds_go_on_to_the_same_bytes(
    doors: Doors,
    chain: Chain,
    two: FinishedRun,
    tmp_path: Path,
    since: str,
    later: int,
    signal: str,
    has: str,
    lacks: str,
) -> None:
    _, renamings = json.loads((two.path.parent / "told").read_text())
    given = ask(chain, tmp_path, "rounds=2")
    moment = renamings - finished_since(two.path, since) + later
    accident = Accident(signal, "after", moment)
    done = doors.run("stage2", *given, cwd=tmp_path, accident=accident)
    assert done.code != 0
    rounds = tmp_path / "run" / "rounds"
    assert (rounds / has).exists()
    assert not lacks or not (rounds / lacks).exists()
    assert not (tmp_path / "run" / "frames.csv").exists()
    doors.must("stage2", *given, cwd=tmp_path)
    expected, found = made(two.path), made(tmp_path / "run")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
