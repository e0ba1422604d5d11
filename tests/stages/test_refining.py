"""Refining all frames: phases, batches, frames that fail, and looking again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from doors import Chain, Doors

from weakseg.arrays import FrameArray, Scores
from weakseg.artifacts import (
    FinishedRun,
    load_run,
    read_cam,
    read_json,
    read_mask_ids,
    read_scores,
    write_cam,
)
from weakseg.artifacts.manifest import Manifest
from weakseg.artifacts.paths import RunPaths
from weakseg.cam import CamRecipe
from weakseg.data import Frame
from weakseg.data.quarantine import list_quarantine
from weakseg.errors import ArtifactError, DataError
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import RefinePlan, Stage2Plan
from weakseg.refine import Background, DenseCrf, FrameContext, MultiScale, Step
from weakseg.refine.step import scores_of_smoke
from weakseg.stages.evidence import check_ensemble, ensemble_inputs
from weakseg.stages.refinement import tally as tallies
from weakseg.stages.refinement.frames import LEARNT, phases_of, refine_frames, write_stand_ins
from weakseg.stages.refinement.looking import Looker, check_looks
from weakseg.stages.refinement.tally import QUARANTINE, Tally
from weakseg.stages.scores import SPEED, mask_path, score_path
from weakseg.stages.work import Work, frames_of
from weakseg.tracking import NoTracker
from weakseg.training import StopFlag


@pytest.fixture(scope="module")
def chain(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The chain in a folder of this module's own: its runs must not be the latest for others."""
    root = tmp_path_factory.mktemp("chain_of_its_own")
    shutil.copytree(chain.root / "runs", root / "runs")
    return Chain(root, chain.arguments)


@dataclass
class Halve:
    """Halves the smoke, but fails on the frames in `fails`."""

    fails: Sequence[str] = ()
    learns: bool = False
    name: str = "halve"

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        if context.frame_id in self.fails:
            raise ValueError("this frame is not for me")
        return scores_of_smoke(scores[SMOKE] / 2)

    def settings(self) -> dict[str, Any]:
        return {}


@dataclass
class HalveMany(Halve):
    """The same for batches; remembers how large they were."""

    sizes: tuple[int, ...] = ()

    def many(self, frames: Sequence[FrameArray], scores: Sequence[Scores]) -> list[Scores]:
        self.sizes = (*self.sizes, len(frames))
        return [scores_of_smoke(one[SMOKE] / 2) for one in scores]


@pytest.fixture
def cams(chain: Chain) -> FinishedRun:
    return load_run(chain.run_of("stage1"), kind="stage1")


def refined(
    cams: FinishedRun, folder: Path, steps: dict[str, Step], frames: Sequence[Frame] | None = None
) -> tuple[dict[str, np.ndarray], Tally]:
    """Refine the frames of a stage-1 run in `folder`; give the scores by frame."""
    work = Work(RunPaths(folder), NoTracker(), StopFlag())  # type: ignore[arg-type]
    plan = Stage2Plan(background=Background(), refine=RefinePlan(steps))
    frames = frames_of(cams) if frames is None else frames
    tally = refine_frames(plan, frames, Looker(cams, torch.device("cpu")), work)
    found = {
        frame.id: read_scores(score_path(work.run, frame.id))
        for frame in frames
        if frame.id not in tally.failed
    }
    return found, tally


def with_smoke(cams: FinishedRun, folder: Path) -> list[str]:
    scores, _ = refined(cams, folder, {})
    return [name for name, score in scores.items() if score.max() > 0]


def test_batches_give_what_single_frames_give(cams: FinishedRun, tmp_path: Path) -> None:
    """A step without `many` beside the CRF makes every batch a single frame."""
    batched, tally = refined(cams, tmp_path / "batched", {"crf": DenseCrf()})
    alone, _ = refined(cams, tmp_path / "alone", {"halve": Halve(), "crf": DenseCrf()})
    many, _ = refined(cams, tmp_path / "many", {"halve": HalveMany(), "crf": DenseCrf()})
    assert tally.failed == {}
    assert {name: (alone[name] == many[name]).all() for name in alone} == dict.fromkeys(alone, True)
    assert any((batched[name] != alone[name]).any() for name in alone)


def test_step_for_batches_gets_batches(cams: FinishedRun, tmp_path: Path) -> None:
    step = HalveMany()
    smoky = with_smoke(cams, tmp_path / "before")
    refined(cams, tmp_path / "after", {"halve": step})
    # A batch of one frame with smoke is not worth the name.
    assert sum(step.sizes) <= len(smoky)
    assert max(step.sizes) > 1


def test_steps_never_see_frames_without_evidence(cams: FinishedRun, tmp_path: Path) -> None:
    smoky = set(with_smoke(cams, tmp_path / "before"))
    others = [frame.id for frame in frames_of(cams) if frame.id not in smoky]
    assert others
    _, tally = refined(cams, tmp_path / "after", {"halve": Halve(fails=others)})
    assert tally.failed == {}


def test_frame_that_fails_is_named_and_the_rest_goes_on(cams: FinishedRun, tmp_path: Path) -> None:
    name, *others = with_smoke(cams, tmp_path / "before")
    whole, _ = refined(cams, tmp_path / "whole", {"halve": Halve()})
    scores, tally = refined(cams, tmp_path / "run", {"halve": Halve(fails=[name])})
    assert set(tally.failed) == {name}
    assert all((scores[other] == whole[other]).all() for other in others)
    [row] = list_quarantine(tmp_path / "run" / QUARANTINE)
    assert (row.id, row.reason) == (name, "halve: this frame is not for me")


def test_frame_that_failed_gets_a_mask_that_teaches_nothing(
    cams: FinishedRun, tmp_path: Path
) -> None:
    name, *_ = with_smoke(cams, tmp_path / "before")
    _, tally = refined(cams, tmp_path / "run", {"halve": Halve(fails=[name])})
    run = RunPaths(tmp_path / "run")
    write_stand_ins(tally.failed.values(), run)  # type: ignore[arg-type]
    mask = read_mask_ids(mask_path(run, name))  # type: ignore[arg-type]
    assert mask.shape == (48, 64)
    assert (mask == IGNORE).all()
    # Mended since: the same run tries again, and forgets what stood there.
    scores, tally = refined(cams, tmp_path / "run", {"halve": Halve()})
    assert tally.failed == {}
    assert scores[name].max() > 0
    assert not mask_path(run, name).exists()  # type: ignore[arg-type]


def test_frame_that_cannot_be_read_is_named(cams: FinishedRun, tmp_path: Path) -> None:
    frames = frames_of(cams)
    broken = tmp_path / "broken.png"
    broken.write_bytes(frames[0].path.read_bytes()[:200])
    first = Frame(frames[0].id, broken, 1, frames[0].scene, frames[0].split)
    scores, tally = refined(cams, tmp_path / "run", {"halve": Halve()}, [first, *frames[1:]])
    assert set(tally.failed) == {first.id}
    assert len(scores) == len(frames) - 1


def test_step_that_fails_on_frame_after_frame_stops(
    cams: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames without evidence, which no step touches, stand in between."""
    monkeypatch.setattr(tallies, "_HOPELESS", 3)
    smoky = with_smoke(cams, tmp_path / "before")
    assert 3 <= len(smoky) < len(frames_of(cams))
    with pytest.raises(ValueError, match="this frame is not for me"):
        refined(cams, tmp_path / "run", {"halve": Halve(fails=smoky)})
    # Mended, the same run does them all.
    _, tally = refined(cams, tmp_path / "run", {"halve": Halve()})
    assert tally.failed == {}


def test_step_that_works_on_no_frame_stops(cams: FinishedRun, tmp_path: Path) -> None:
    smoky = with_smoke(cams, tmp_path / "before")
    frames = [f for f in frames_of(cams) if f.id == smoky[0] or f.id not in smoky]
    with pytest.raises(DataError, match=r"no frame can be refined: halve: this frame is not"):
        refined(cams, tmp_path / "run", {"halve": Halve(fails=smoky)}, frames)


def test_known_failures_do_not_stop_a_run_that_goes_on(
    cams: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoky = with_smoke(cams, tmp_path / "before")
    broken = Halve(fails=smoky[:2])
    refined(cams, tmp_path / "run", {"halve": broken})
    monkeypatch.setattr(tallies, "_HOPELESS", 1)
    _, tally = refined(cams, tmp_path / "run", {"halve": broken})
    assert set(tally.failed) == set(smoky[:2])


def test_failures_are_final_once_something_was_learnt_without_them(
    cams: FinishedRun, tmp_path: Path
) -> None:
    name, *_ = with_smoke(cams, tmp_path / "before")
    refined(cams, tmp_path / "run", {"halve": Halve(fails=[name])})
    (tmp_path / "run" / LEARNT).mkdir()
    _, tally = refined(cams, tmp_path / "run", {"halve": Halve()})
    assert set(tally.failed) == {name}


def test_evidence_that_is_not_finite_is_a_failure(
    cams: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(cams)
    looker = Looker(cams, torch.device("cpu"))
    nowhere = np.full((3, 4), np.nan, np.float32)
    monkeypatch.setattr(looker, "evidence", lambda name: (nowhere, 1.0))
    with pytest.raises(DataError, match=f"the evidence of {frames[0].id} is not finite"):
        looker.context(frames[0], np.zeros((48, 64, 3), np.uint8), None)


def test_finished_frames_are_not_refined_again(cams: FinishedRun, tmp_path: Path) -> None:
    first, _ = refined(cams, tmp_path / "run", {"halve": Halve()}, frames_of(cams)[:5])
    step = HalveMany()
    again, _ = refined(cams, tmp_path / "run", {"halve": step})
    assert all((again[name] == first[name]).all() for name in first)
    assert sum(step.sizes) < len(with_smoke(cams, tmp_path / "all"))


def test_speed_is_told_for_every_step(cams: FinishedRun, tmp_path: Path) -> None:
    """And adds up over the starts of a run."""
    frames = frames_of(cams)
    _, tally = refined(cams, tmp_path / "run", {"halve": Halve(), "crf": DenseCrf()}, frames[:9])
    figures = tally.figures(len(frames))
    keys = {"read", "halve", "crf"}
    assert set(figures) == {f"seconds_per_frame/{key}" for key in keys} | {"failed_frames"}
    assert all(tally.seconds[key] > 0 for key in keys)
    assert read_json(tmp_path / "run" / SPEED) == tally.seconds
    _, after = refined(cams, tmp_path / "run", {"halve": Halve(), "crf": DenseCrf()})
    assert all(after.seconds[key] > tally.seconds[key] for key in keys)
    _, last = refined(cams, tmp_path / "run", {"halve": Halve(), "crf": DenseCrf()})
    assert last.seconds == after.seconds


def test_what_steps_note_of_frames_is_told_as_a_mean(cams: FinishedRun, tmp_path: Path) -> None:
    """However many starts it took."""

    @dataclass
    class Noting(Halve):
        def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
            context.notes["halve/share"] = context.probability
            return super().__call__(frame, scores, context)

    smoky = with_smoke(cams, tmp_path / "before")
    first = [frame for frame in frames_of(cams) if frame.id == smoky[0]]
    refined(cams, tmp_path / "run", {"halve": Noting()}, first)
    _, tally = refined(cams, tmp_path / "run", {"halve": Noting()})
    evidence = Looker(cams, torch.device("cpu")).evidence
    mean = np.mean([evidence(name)[1] for name in smoky])
    assert tally.figures(1)["halve/share"] == pytest.approx(mean)


# ---- phases


def test_recipe_is_cut_before_steps_that_learn(tmp_path: Path) -> None:
    steps: dict[str, Step] = {"a": Halve(), "b": Halve(learns=True), "c": Halve()}
    first, second = phases_of(steps, tmp_path)
    assert list(first.steps) == ["a"]
    assert list(second.steps) == ["b", "c"]
    assert (first.source, second.folder) == (None, None)
    assert first.folder == second.source == tmp_path / "phases" / "0"


def test_step_that_learns_may_come_first(tmp_path: Path) -> None:
    first, second = phases_of({"a": Halve(learns=True)}, tmp_path)
    assert (list(first.steps), list(second.steps)) == ([], ["a"])


def test_recipe_without_learning_is_one_phase(tmp_path: Path) -> None:
    [phase] = phases_of({"a": Halve()}, tmp_path)
    assert (phase.folder, phase.source) == (None, None)


# ---- looking again


def test_looking_by_the_runs_own_recipe_gives_its_evidence(
    cams: FinishedRun, tmp_path: Path
) -> None:
    frame = frames_of(cams)[0]
    looker = Looker(cams, torch.device("cpu"))
    own = cams.manifest.config["cam"]
    recipe = CamRecipe(**{key: value for key, value in own.items() if key != "_target_"})
    stored = looker.context(frame, np.zeros((48, 64, 3), np.uint8), None).evidence
    looked = looker.look(frame, 48, 64, recipe)
    assert stored.max() > 0.1
    # CAMs are stored with 11 bits, and come out of batches of other sizes.
    np.testing.assert_allclose(looked, stored, atol=2e-3)


def test_looking_in_windows_reads_the_whole_frame(cams: FinishedRun) -> None:
    frame = frames_of(cams)[0]
    looker = Looker(cams, torch.device("cpu"))
    context = looker.context(frame, np.zeros((48, 64, 3), np.uint8), None)
    assert context.look is not None
    looked = context.look(CamRecipe(method="local", window=32))
    assert looked.shape == (48, 64)
    assert 0 <= looked.min() <= looked.max() <= context.probability + 1e-6


def test_looking_by_another_method_is_refused(cams: FinishedRun) -> None:
    frame = frames_of(cams)[0]
    context = Looker(cams, torch.device("cpu")).context(
        frame, np.zeros((48, 64, 3), np.uint8), None
    )
    assert context.look is not None
    with pytest.raises(ArtifactError, match=r"are by method=local, .* set the step's method=local"):
        context.look(CamRecipe(method="layer_cam"))


def test_steps_that_cannot_look_are_refused_before_any_work() -> None:
    cpu = torch.device("cpu")
    views: dict[str, Step] = {"crf": DenseCrf(), "again": MultiScale(method="local")}

    def check(steps: dict[str, Step], method: str, precision: str) -> dict[str, str]:
        return check_looks(steps, method=method, source="RUN", precision=precision, device=cpu)

    with pytest.raises(ArtifactError, match=r"CAMs of RUN are by method=layer_cam.*set the step's"):
        check(views, "layer_cam", "32")
    with pytest.raises(ValueError, match="precision 16 needs a GPU"):
        check(views, "local", "16")
    assert check({"crf": DenseCrf()}, "layer_cam", "16") == {}


def test_precision_counts_where_a_step_looks_again() -> None:
    def counts(steps: dict[str, Step], precision: str) -> dict[str, str]:
        device = torch.device("cpu")
        return check_looks(steps, method="local", source="RUN", precision=precision, device=device)

    views: dict[str, Step] = {"again": MultiScale(method="local")}
    assert counts(views, "bf16") != counts(views, "32")
    # Runs of the default precision, and those without a second look, are what they were.
    assert counts(views, "auto") == counts({"crf": DenseCrf()}, "bf16") == {}


def test_context_names_the_precision_of_its_look(cams: FinishedRun) -> None:
    frame, pixels = frames_of(cams)[0], np.zeros((48, 64, 3), np.uint8)
    names = {
        Looker(cams, torch.device("cpu"), precision=precision)
        .context(frame, pixels, None)
        .look_precision
        for precision in ("32", "bf16")
    }
    assert len(names) == 2


# ---- ensembles


@dataclass(frozen=True)
class Run:
    """As much of a finished run as tells it from others."""

    path: Path
    fingerprint: str
    frames: str = "same"

    @property
    def manifest(self) -> Any:
        return SimpleNamespace(inputs={"frames": self.frames})


def test_ensemble_refuses_a_run_that_is_there_twice_or_of_other_frames() -> None:
    first, second, copy = Run(Path("a"), "1"), Run(Path("b"), "2"), Run(Path("c"), "1")
    check_ensemble([first, second])  # type: ignore[list-item]
    check_ensemble([])
    with pytest.raises(ArtifactError, match=r"^c is the same run as a, .*out of ensemble"):
        check_ensemble([first, second, copy])  # type: ignore[list-item]
    with pytest.raises(ArtifactError, match=r"^a is the same run as a"):
        check_ensemble([first, Run(Path("a"), "1")])  # type: ignore[list-item]
    with pytest.raises(ArtifactError, match="b was made of other frames than a"):
        check_ensemble([first, Run(Path("b"), "2", "other")])  # type: ignore[list-item]


def test_order_of_an_ensemble_does_not_count() -> None:
    runs = [Run(Path(name), sha) for name, sha in (("a", "2"), ("b", "1"), ("c", "3"))]
    there, back = ensemble_inputs(runs), ensemble_inputs(runs[::-1])  # type: ignore[arg-type]
    assert there == back
    assert set(there.values()) == {"1", "2", "3"}


# ---- the command


def test_command_that_goes_well_quarantines_nothing(
    chain: Chain, doors: Doors, tmp_path: Path
) -> None:
    done = doors.must(
        "stage2",
        "tracker=none",
        "refine=none",
        f"cams={chain.run_of('stage1')}",
        f"output={tmp_path}/stage2/run",
        cwd=chain.root,
    )
    assert "could not be refined" not in done.err + done.out
    run = load_run(tmp_path / "stage2/run", kind="stage2")
    assert list_quarantine(run.path / QUARANTINE) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["refine.steps.multi_scale.method=layer_cam"], "set the step's method=local"),
        (["hardware.precision=16", "hardware.accelerator=cpu"], "precision 16 needs a GPU"),
    ],
)
def test_command_refuses_what_it_cannot_look_at_before_it_starts(
    chain: Chain, doors: Doors, tmp_path: Path, words: list[str], sentence: str
) -> None:
    given = (f"cams={chain.run_of('stage1')}", f"output={tmp_path}/run", "tracker=none")
    done = doors.run("stage2", *given, "refine=multi_scale", *words, cwd=chain.root)
    assert sentence in done.sentence
    assert not (tmp_path / "run").exists()


def test_accelerator_holds_for_every_step(doors: Doors, tmp_path: Path) -> None:
    words = ("refine=sam+clip+affinity", "hardware.accelerator=cpu", "--cfg", "job", "--resolve")
    done = doors.must("stage2", *words, cwd=tmp_path)
    steps = yaml.safe_load(done.out)["refine"]["steps"]
    devices = [steps["sam"]["device"], steps["clip"]["device"]]
    assert [*devices, steps["affinity"]["fit"]["accelerator"]] == ["cpu"] * 3


def test_command_averages_an_ensemble(chain: Chain, doors: Doors, tmp_path: Path) -> None:
    """Beside a run that sees nothing, evidence is halved; beside itself a run is refused."""
    own, other = chain.run_of("stage1"), tmp_path / "other"
    shutil.copytree(own, other)
    manifest = Manifest.read(other)
    replace(manifest, settings={**manifest.settings, "seed": 1}).write(other)
    for path in (other / "cams").iterdir():
        cam = read_cam(path)
        write_cam(path, np.zeros_like(cam.raw), cam.logit)
    words = ("tracker=none", "refine=none", f"cams={own}")
    doors.must("stage2", *words, f"output={tmp_path}/a/alone", cwd=chain.root)
    both = (*words, f"ensemble=[{other}]", f"output={tmp_path}/a/both")
    doors.must("stage2", *both, cwd=chain.root)
    runs = [load_run(tmp_path / "a" / name, kind="stage2") for name in ("alone", "both")]
    assert runs[1].manifest.inputs["ensemble 0"] == load_run(other, kind="stage1").fingerprint
    assert "ensemble 0" not in runs[0].manifest.inputs
    highest = 0.0
    for row, same in zip(runs[0].frames, runs[1].frames, strict=True):
        assert row["probability"] == same["probability"]
        alone, halved = (read_scores(score_path(run, row["id"])) for run in runs)
        np.testing.assert_allclose(halved, alone / 2, atol=1 / 255)
        highest = max(highest, float(alone.max()))
    assert highest > 0.5
    twice = (*words, f"ensemble=[{own}]", f"output={tmp_path}/a/twice")
    refused = doors.run("stage2", *twice, cwd=chain.root)
    assert "is the same run as" in refused.sentence
    assert not (tmp_path / "a/twice").exists()
