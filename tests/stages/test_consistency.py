"""Stage 2 with a student: a run of its own, resumed to the byte, usable like any of stage 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from doors import STAGES, Accident, Chain, Doors

from weakseg.artifacts import FinishedRun, load_run, read_json
from weakseg.models import build_classifier, load_weights
from weakseg.stages.evidence import EvidenceReader, load_classifier
from weakseg.stages.work import frames_of


@pytest.fixture(scope="module")
def chain(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The chain in a folder of this module's own: its runs must not be the latest for others."""
    root = tmp_path_factory.mktemp("chain_of_its_own")
    shutil.copytree(chain.root / "runs", root / "runs")
    return Chain(root, chain.arguments)


STUDENT = (
    *STAGES["stage2"],
    "cams=runs/stage1/tiny",
    "consistency.image_size=64",
    "consistency.fit.batch_size=4",
    "consistency.fit.log_every=1",
    "consistency.fit.epochs=2",
    "consistency.fit.checkpoint_seconds=0",
    "consistency.student.name=test_vit",
    "consistency.student.weights=none",
    "consistency.optimizer.lr=0.003",
)
TWO = (
    "consistency.teacher_classifier.name=test_resnet",
    "consistency.teacher_classifier.weights=none",
)
PRODUCTS = ("cams/*.npz", "classifier.json", "calibration.json", "checkpoints/best.safetensors")


def command(output: str, *more: str, consistency: str = "resnet_to_vit") -> tuple[str, ...]:
    return (*STUDENT, f"consistency={consistency}", f"output={output}", *more)


@pytest.fixture(scope="module")
def finished(doors: Doors, chain: Chain) -> Path:
    """A stage-2 run whose student followed the chain's classifier."""
    doors.must("stage2", *command("runs/stage2/frozen"), cwd=chain.root)
    return chain.root / "runs/stage2/frozen"


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_student_is_a_run_of_stage_1_of_its_own(finished: Path) -> None:
    student = load_run(finished / "student", kind="stage1")
    classifier = load_classifier(student)
    assert classifier.name == "test_vit"
    assert set(student.manifest.inputs) == {"frames", "teacher", "weights of the student"}
    evidence = EvidenceReader(student)
    assert all(evidence(frame.id)[0].max() <= 1 for frame in frames_of(student))
    summary = read_json(student.summary_path)
    assert summary["collapsed"] in (True, False)
    assert {"val/auroc", "collapse", "seconds"} <= set(summary)
    assert student.report_path.exists()


def test_masks_are_made_of_the_student_and_its_figures_are_told(
    chain: Chain, finished: Path
) -> None:
    told = read_json(finished / "inputs.json")
    assert Path(told["stage1"]).name == "student"
    summary = read_json(finished / "summary.json")
    assert {"student/collapsed", "student/val/auroc"} <= set(summary)
    student, teacher = load_run(finished / "student"), load_run(chain.run_of("stage1"))
    probabilities = probabilities_of(load_run(finished))
    assert probabilities == pytest.approx(seen_by(student), abs=1e-5)
    assert probabilities != pytest.approx(seen_by(teacher), abs=1e-3)


def probabilities_of(run: FinishedRun) -> dict[str, float]:
    return {row["id"]: float(row["probability"]) for row in run.frames}


def seen_by(run: FinishedRun) -> dict[str, float]:
    """Give the probability of smoke of every frame as the CAMs of a stage-1 run tell it."""
    evidence = EvidenceReader(run)
    return {row["id"]: evidence(row["id"])[1] for row in run.frames}


def test_every_step_tells_its_terms(finished: Path) -> None:
    steps = [row for row in rows_of(finished / "student") if "step/loss" in row]
    assert len(steps) == 4
    for row in steps:
        total = row["step/classification"] + row["step/consistency"]
        assert row["step/loss"] == pytest.approx(total, rel=1e-5)


def test_the_students_cams_can_be_refined_by_another_run(
    doors: Doors, chain: Chain, finished: Path
) -> None:
    doors.must(
        "stage2",
        *STAGES["stage2"],
        f"cams={finished / 'student'}",
        "output=runs/stage2/again",
        cwd=chain.root,
    )
    again = load_run(chain.root / "runs/stage2/again")
    assert probabilities_of(again) == pytest.approx(
        seen_by(load_run(finished / "student")), abs=1e-5
    )
    for pattern in ("scores/*.png", "masks/*.png"):
        paths = sorted(finished.glob(pattern))
        assert len(paths) == 16
        for path in paths:
            assert (again.path / path.relative_to(finished)).read_bytes() == path.read_bytes()


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    doors: Doors, chain: Chain, finished: Path
) -> None:
    arguments = command("runs/stage2/killed")
    accident = Accident("SIGKILL", "before", 8)  # within the training
    died = doors.run("stage2", *arguments, cwd=chain.root, accident=accident)
    assert died.code == -9
    student, wanted = chain.root / "runs/stage2/killed/student", finished / "student"
    assert (student / "checkpoints/pair/last.pt").exists()
    assert not (student / "checkpoints/best.safetensors").exists()
    doors.must("stage2", *arguments, cwd=chain.root)
    for pattern in PRODUCTS:
        paths = sorted(wanted.glob(pattern))
        assert paths
        for path in paths:
            again = student / path.relative_to(wanted)
            assert again.read_bytes() == path.read_bytes(), path
    assert rows_of(student) == rows_of(wanted)


def test_cotraining_keeps_both_networks(doors: Doors, chain: Chain) -> None:
    more = (*TWO, "consistency.loss.of=evidence", "consistency.loss.background_weight=0.1")
    doors.must(
        "stage2", *command("runs/stage2/both", *more, consistency="cotraining"), cwd=chain.root
    )
    student = load_run(chain.root / "runs/stage2/both/student", kind="stage1")
    assert "teacher" not in student.manifest.inputs
    assert load_classifier(student).name == "test_vit"
    teacher = build_classifier(**read_json(student.path / "teacher.json"))
    load_weights(student.checkpoints / "teacher.safetensors", teacher)
    last = rows_of(student.path)[-1]
    assert {"train/peer_consistency", "train/background", "val/peer_auroc"} <= set(last)


def test_a_provoked_collapse_is_said(doors: Doors, chain: Chain) -> None:
    # Nothing is asked for but silence in smoke-free frames, loudly.
    more = (
        "consistency.loss.weight=0",
        "consistency.loss.background_weight=100000",
        "consistency.fit.gradient_clip=null",
        "consistency.fit.warmup_fraction=0",
        "consistency.optimizer._target_=torch.optim.SGD",
        "~consistency.optimizer.weight_decay",
        "consistency.optimizer.lr=1.0e-3",
        "consistency.collapse_steps=1",
    )
    done = doors.must("stage2", *command("runs/stage2/collapsed", *more), cwd=chain.root)
    assert "the student has collapsed" in done.err
    for folder in ("", "student/"):
        summary = read_json(chain.root / f"runs/stage2/collapsed/{folder}summary.json")
        prefix = "" if folder else "student/"
        assert summary[f"{prefix}collapsed"] is True
        assert "flat" in summary[f"{prefix}collapse"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("cams=runs/stage2/tiny",), "holds stage2 pseudo-masks, where stage1 CAMs are needed"),
        (("consistency.loss.target=pcm",), "a teacher with a pixel-correlation module"),
        (
            (
                "consistency.student.local=false",
                "consistency.cam.method=layer_cam",
                "consistency.loss.of=features",
                "consistency.loss.target=features",
                "consistency.loss.background_weight=1",
            ),
            "terms need a class map, and test_vit",
        ),
        (("consistency.student=null",), "consistency.student is missing"),
        (("consistency.loss=null",), "consistency.loss is missing"),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_run(
    doors: Doors, chain: Chain, more: tuple[str, ...], sentence: str
) -> None:
    done = doors.run("stage2", *command("runs/stage2/refused", *more), cwd=chain.root)
    assert sentence in done.sentence
    assert not (chain.root / "runs/stage2/refused/manifest.json").exists()
